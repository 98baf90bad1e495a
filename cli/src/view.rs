//! Records as text: pure functions from what the tables hold to what people read, golden-tested.

mod config;
mod runs;
mod status;

pub(crate) use config::{Difference, difference, items, lines};
pub(crate) use runs::runs;
pub(crate) use status::status;
