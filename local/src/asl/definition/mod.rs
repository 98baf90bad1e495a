//! A state machine's definition, read once and checked whole.
//!
//! Reading collects everything that is wrong, with the place of each, as `ValidateStateMachineDefinition` reports it;
//! a definition that reads without errors never surprises the interpreter with its shape. Names of states are unique
//! in the whole definition, nested ones included, so a state is found by its name alone.

mod fields;
mod flow;
mod issues;
mod reach;
mod read;
mod retry;
mod states;
mod template;

use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use flow::{Exit, Left};
pub(crate) use issues::Diagnostic;
pub(crate) use retry::{Catcher, Retrier};
pub(crate) use template::{QueryError, Template};

use super::integrations::Resource;

/// The name of a state.
pub(crate) type StateName = Arc<str>;

/// A whole, checked definition.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) start_at: StateName,
    pub(crate) states: HashMap<StateName, State>,
    pub(crate) timeout_seconds: Option<u64>,
}

impl Definition {
    /// Reads and checks `text`.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub(crate) fn read(text: &str) -> Result<Self, Vec<Diagnostic>> {
        read::definition(text)
    }
}

/// One state, of any type.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: StateName,
    pub(crate) kind: Kind,
    /// `Arguments`.
    pub(crate) arguments: Option<Template>,
    /// `Assign` and `Output`.
    pub(crate) exit: Exit,
    /// `Next`, or `None` for `End` and for the types that have neither.
    pub(crate) next: Option<StateName>,
    pub(crate) retry: Vec<Retrier>,
    pub(crate) catch: Vec<Catcher>,
}

/// What is particular to a state's type.
#[derive(Debug)]
pub(crate) enum Kind {
    Pass,
    Task(Task),
    Choice { rules: Vec<Rule>, default: Option<StateName> },
    Wait(Wait),
    Succeed,
    Fail { error: Option<Template>, cause: Option<Template> },
    Parallel { branches: Vec<StateName> },
    Map(Box<MapState>),
}

impl Kind {
    /// The word that history event types begin with.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::Task(_) => "Task",
            Self::Choice { .. } => "Choice",
            Self::Wait(_) => "Wait",
            Self::Succeed => "Succeed",
            Self::Fail { .. } => "Fail",
            Self::Parallel { .. } => "Parallel",
            Self::Map(_) => "Map",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) resource: Resource,
    pub(crate) timeout_seconds: Option<Template>,
    pub(crate) heartbeat_seconds: Option<Template>,
}

/// One of a Choice state's `Choices`.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) condition: Template,
    pub(crate) exit: Exit,
    pub(crate) next: StateName,
}

#[derive(Debug)]
pub(crate) enum Wait {
    Seconds(Template),
    Timestamp(Template),
}

#[derive(Debug)]
pub(crate) struct MapState {
    /// The first state of an iteration.
    pub(crate) start_at: StateName,
    pub(crate) items: Option<Template>,
    pub(crate) selector: Option<Template>,
    pub(crate) max_concurrency: Option<Template>,
    pub(crate) tolerated_count: Option<Template>,
    pub(crate) tolerated_percentage: Option<Template>,
    /// `ProcessorConfig.Mode` is `DISTRIBUTED`. It runs in place all the same.
    pub(crate) distributed: bool,
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
