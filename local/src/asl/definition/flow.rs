//! How data leaves a state: what it assigns and what it passes on.
//!
//! All expressions see the variables as they were on entry: `Assign` and `Output` are evaluated side by side and
//! only then do assignments take effect
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html>).

use super::template::{QueryError, Template};
use crate::asl::payload::Payload;
use crate::asl::scope::Scope;

/// `Assign` and `Output` of a state, a choice rule or a catcher.
#[derive(Debug, Default)]
pub(crate) struct Exit {
    pub(crate) assign: Vec<(String, Template)>,
    pub(crate) output: Option<Template>,
}

/// What left.
pub(crate) struct Left {
    pub(crate) output: Payload,
    pub(crate) assigned: Vec<(String, Payload)>,
}

impl Exit {
    /// Evaluates both; `unless_told` is the output of a state without `Output`.
    pub(crate) fn leave(&self, scope: &Scope<'_>, unless_told: &Payload) -> Result<Left, QueryError> {
        let assigned = self
            .assign
            .iter()
            .map(|(name, template)| {
                let value = template.evaluate(scope, &format!("Assign/{name}"))?;
                Ok((name.clone(), Payload::new(value)))
            })
            .collect::<Result<_, _>>()?;
        let output = match &self.output {
            Some(template) => Payload::new(template.evaluate(scope, "Output")?),
            None => unless_told.clone(),
        };
        Ok(Left { output, assigned })
    }
}
