//! What is wrong with a definition, and where.

use std::cell::RefCell;

/// One finding, as `ValidateStateMachineDefinition` reports it. All are errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// A JSON pointer, for instance `/States/Load/Next`.
    pub(crate) location: String,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if !self.location.is_empty() {
            write!(f, " at {}", self.location)?;
        }
        Ok(())
    }
}

/// The findings so far.
#[derive(Debug, Default)]
pub(crate) struct Issues(RefCell<Vec<Diagnostic>>);

impl Issues {
    /// The definition does not have the shape it should.
    pub(crate) fn schema(&self, at: &str, message: impl Into<String>) {
        self.add("SCHEMA_VALIDATION_FAILED", at, message);
    }

    /// A transition leads nowhere, or a state cannot be reached.
    pub(crate) fn target(&self, at: &str, message: impl Into<String>) {
        self.add("MISSING_TRANSITION_TARGET", at, message);
    }

    pub(crate) fn add(&self, code: &'static str, at: &str, message: impl Into<String>) {
        self.0.borrow_mut().push(Diagnostic { code, message: message.into(), location: at.to_owned() });
    }

    pub(crate) fn into_vec(self) -> Vec<Diagnostic> {
        self.0.into_inner()
    }
}
