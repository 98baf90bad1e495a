//! What operators write and every part of rsqlflow shares.
//!
//! * [`workflow`]: the config item, in both script forms; [`validate`] finds every problem of one at once.
//! * [`retry`]: which failures another attempt may follow.
//! * [`run`]: what the trigger hands the state machine, and how a run and its jobs are named.
//! * [`job`]: the request that travels to the host, and the outcome that travels back.
//! * [`audit`]: the records of runs and jobs, their statuses and times.
//! * [`settings`]: `rsqlflow.toml` and the environment.
//! * [`visible`]: what is shown of texts that others wrote, and what names must not have.
//!
//! Nothing here speaks to AWS or touches a process: it is data and the rules data must keep.

pub mod audit;
pub mod host;
pub mod job;
pub mod names;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod time;
pub mod validate;
pub mod visible;
mod whole;
pub mod workflow;
