//! From a config item to a run.
//!
//! [`Items`] keeps the config table; [`Trigger`] reads an item, checks it whole, records the run and starts the state
//! machine; [`Audit`] reads what runs and jobs left behind. Everything goes through the AWS SDK clients it is given,
//! so the Lambda, the operators' command and the embedded default are the same code.

mod audit;
mod cancel;
mod ended;
mod error;
mod items;
mod plan;
mod schedules;
mod start;

pub use audit::{Audit, JOBS_BY_RUN, RUNS_BY_WORKFLOW};
pub use cancel::Cancelled;
pub use error::TriggerError;
pub use items::{Items, Put};
pub use plan::plan;
pub use schedules::{
    Definition, Difference, Drift, EVENT_SOURCE, KeptSchedule, Reconciled, ScheduleSettings, Schedules,
    is_over,
};
pub use start::{StartRequest, Started, Trigger, TriggerSettings};
