//! The Amazon States Language (<https://states-language.net/spec.html>), interpreted.
//!
//! * `definition` reads a state machine: checked once, then never interpreted as JSON again.
//! * `jsonata` evaluates expressions; `scope` is what they see. A further query language goes beside it.
//! * `run` is the interpreter: pure. It is told what happened, and answers with what to write and what to do.
//! * `history` are the events operators read; `journal` the rows; `actor` the task that owns one execution;
//!   `engine` all of them.
//! * `integrations` are the resources a Task can name, one small file each.

pub(crate) mod actor;
pub(crate) mod definition;
pub(crate) mod engine;
pub(crate) mod failure;
pub(crate) mod frame;
pub(crate) mod history;
pub(crate) mod integrations;
pub(crate) mod journal;
mod jsonata;
pub(crate) mod limits;
mod orphan;
pub(crate) mod payload;
pub(crate) mod run;
pub(crate) mod scope;
pub(crate) mod time;
pub(crate) mod token;
