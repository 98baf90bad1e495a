//! JSONata, as Step Functions speaks it
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html>).
//!
//! The language itself is the `jsonata-core` crate. Here is what Step Functions adds to it (`$states`, variables,
//! the functions in [`functions`]), what it takes away (`$eval`, `$` and `$$` at the top), and what keeps it cheap
//! and safe: an expression is parsed once, only what it mentions is converted for it ([`demand`]), and it runs under
//! limits of time, depth and size.
//!
//! A value inside the evaluator is not `Send`; nothing of it leaves [`Expression::evaluate`].

mod convert;
mod demand;
mod functions;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorOptions};
use jsonata_core::value::JValue;
use serde_json::Value;

use super::limits;
use super::scope::Scope;
use demand::Demands;

/// A parsed expression.
#[derive(Debug)]
pub(crate) struct Expression {
    source: String,
    ast: AstNode,
    demands: Demands,
}

/// Why an expression has no value. `Display` continues "The JSONata expression '...' specified for the field '...'".
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("returned nothing (undefined).")]
    Undefined,
    #[error("threw an error during evaluation. {0}")]
    Threw(String),
    #[error("returned a function, which has no JSON form.")]
    Function,
}

impl Expression {
    /// Parses the text between `{%` and `%}`. The error says what is wrong with it.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let source = source.trim();
        let ast = jsonata_core::parser::parse(source).map_err(|error| error.to_string())?;
        let demands = Demands::of(&ast);
        if demands.eval {
            return Err("the function $eval is not available; use $parse for JSON text".into());
        }
        Ok(Self { source: source.to_owned(), ast, demands })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, Problem> {
        let mut tries = 0;
        loop {
            let began = worked();
            // The evaluator is third-party code that runs whatever a definition says: a panic in it is that
            // expression's failure, not the execution's end.
            let answer = catch_unwind(AssertUnwindSafe(|| self.run(scope)))
                .unwrap_or_else(|_| Err(Problem::Threw("The evaluator failed.".into())));
            tries += 1;
            let late = matches!(&answer, Err(Problem::Threw(why)) if why.starts_with(TOO_LATE));
            // The evaluator counts time that the process stood still, which says nothing of the expression.
            let stood_still =
                worked().saturating_sub(began) < Duration::from_millis(limits::EXPRESSION_MILLIS) / 2;
            if !late || !stood_still || tries == TRIES {
                return answer;
            }
        }
    }

    fn run(&self, scope: &Scope<'_>) -> Result<Value, Problem> {
        let mut context = Context::new();
        for (name, demand) in &self.demands.variables {
            if name == "states" {
                context.bind(name.clone(), convert::states(scope, demand));
            } else if let Some(value) = (scope.variables)(name) {
                context.bind(name.clone(), convert::payload(&value, demand));
            }
        }
        let options = EvaluatorOptions {
            timeout_ms: Some(limits::EXPRESSION_MILLIS),
            max_stack_depth: Some(limits::EXPRESSION_DEPTH),
            max_sequence_length: Some(limits::EXPRESSION_ITEMS),
            ..EvaluatorOptions::default()
        };
        let mut evaluator = Evaluator::with_options(context, options);
        functions::register(&mut evaluator, scope)
            .map_err(|error| Problem::Threw(error.message().to_owned()))?;
        let value = evaluator
            .evaluate(&self.ast, &JValue::Undefined)
            .map_err(|error| Problem::Threw(error.message().to_owned()))?;
        if value.is_undefined() {
            return Err(Problem::Undefined);
        }
        convert::json(&value).ok_or(Problem::Function)
    }
}

/// How the evaluator's word begins that an expression took too long.
const TOO_LATE: &str = "D1012";

/// How often an expression is tried that was late while this process stood still.
const TRIES: u32 = 10;

/// How long this thread has been on a processor.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
