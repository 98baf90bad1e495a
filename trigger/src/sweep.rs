//! Making up for events that never came.
//!
//! Every end of an execution is an event. In an account it is delivered at least once, unless the trigger fails on it for
//! hours; on one machine the process that hears of ends may be the one that is killed. And whoever dies between
//! recording a run and starting it leaves a record that no event will ever speak of. So now and then everything that is
//! open is looked at. This does what the events would have done, and nothing where there is nothing left to do.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::standing::Standing;
use crate::{Trigger, TriggerError};

/// How often it is worth while. The rule in deploy/template.yaml says the same.
pub const SWEEP_EVERY: Duration = Duration::from_secs(15 * 60);

impl Trigger {
    /// Closes the records of runs that have ended unseen or were never started, and starts those whose turn has come;
    /// gives the names of what was started.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`]; the same call again goes on.
    pub async fn sweep(&self) -> Result<Vec<String>, TriggerError> {
        let mut workflows = BTreeSet::new();
        let mut late = JoinSet::new();
        for seen in self.audit.open_runs(None).await? {
            workflows.insert(seen.workflow_id);
            // The index may lag.
            let Some(record) = self.audit.run(&seen.workflow_execution_id).await? else { continue };
            if record.execution_status.is_final() {
                continue;
            }
            match self.standing(&record).await? {
                Standing::Ended(status) => {
                    tracing::info!(run = record.workflow_execution_id, "the run had ended unseen");
                    let trigger = self.clone();
                    late.spawn(
                        async move { trigger.close_jobs(&record.workflow_execution_id, status).await },
                    );
                }
                Standing::NotStarted => drop(self.close_orphan(&record).await?),
                Standing::GoingOn => {}
            }
        }
        while let Some(closed) = late.join_next().await {
            closed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        }
        let mut started = Vec::new();
        for workflow in workflows {
            started.extend(self.advance(&workflow).await?);
        }
        Ok(started)
    }
}
