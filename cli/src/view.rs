//! Records as text: pure functions from what the tables hold to what people read, golden-tested.

mod config;
mod hosts;
mod runs;
mod schedules;
mod status;

pub(crate) use config::{Difference, difference, in_order, items, lines};
pub(crate) use hosts::{host_lines, hosts};
pub(crate) use runs::runs;
pub(crate) use schedules::{Row, Standing, drift_json, drift_lines, schedules, schedules_json};
pub(crate) use status::status;
