//! From a config item to a run.
//!
//! [`Items`] keeps the config table; [`Trigger`] reads an item, checks it whole, records the run and starts the state
//! machine; [`Audit`] reads what runs and jobs left behind; [`Schedules`] keeps EventBridge Scheduler to what the items
//! say; [`events`] is what the Lambda function does. Everything goes through the AWS SDK clients it is given, so the
//! Lambda, the operators' command and the embedded default are the same code.

mod audit;
mod cancel;
mod choice;
mod ended;
mod error;
pub mod events;
mod execution;
mod hosts;
mod items;
mod late_jobs;
mod notify;
mod overlap;
mod plan;
mod record;
mod restart;
mod schedules;
mod standing;
mod start;
mod sweep;
mod turn;

pub use audit::{Audit, JOBS_BY_RUN, OPEN_RUNS, RUNS_BY_WORKFLOW};
pub use cancel::Cancelled;
pub use choice::Choice;
pub use error::TriggerError;
pub use hosts::hosts;
pub use items::{Items, Put};
pub use overlap::Scheduled;
pub use plan::plan;
pub use restart::Restart;
pub use schedules::{
    Definition, Difference, Drift, EVENT_SOURCE, KeptSchedule, Reconciled, ScheduleSettings, Schedules,
    is_over,
};
pub use start::{StartRequest, Started, Trigger, TriggerSettings};
pub use sweep::SWEEP_EVERY;
