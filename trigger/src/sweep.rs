//! Making up for events that never came.
//!
//! Every end of an execution is an event. In an account it is delivered at least once, unless the trigger fails on it for
//! hours; on one machine the process that hears of ends may be the one that is killed. And whoever dies between
//! recording a run and starting it leaves a record that no event will ever speak of. So now and then everything that is
//! open is looked at. This does what the events would have done, and nothing where there is nothing left to do.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::audit::OpenRun;
use crate::standing::Standing;
use crate::{Trigger, TriggerError};

/// How often it is worth while. The rule in deploy/template.yaml says the same.
pub const SWEEP_EVERY: Duration = Duration::from_secs(15 * 60);

impl Trigger {
    /// Closes the records of runs that have ended unseen or were never started, does what follows from their ends, and
    /// starts those whose turn has come; gives the names of what was started. What goes wrong with one run or workflow
    /// keeps no other from it.
    ///
    /// # Errors
    /// The first there was, of [`TriggerError::Aws`], [`TriggerError::Record`] or [`TriggerError::Contended`]; the same
    /// call again goes on.
    pub async fn sweep(&self) -> Result<Vec<String>, TriggerError> {
        let mut wrong = None;
        let mut note = |error: TriggerError| {
            tracing::warn!(%error, "something stays open");
            wrong.get_or_insert(error);
        };
        let mut workflows = BTreeSet::new();
        let mut looking = JoinSet::new();
        for seen in self.audit.open_runs(None).await? {
            workflows.insert(seen.workflow_id.clone());
            let trigger = self.clone();
            // Hosts have some time to tell how jobs ended, and no run waits for those of another.
            looking.spawn(async move { trigger.look_at(&seen).await });
        }
        while let Some(looked) = looking.join_next().await {
            looked
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
                .unwrap_or_else(&mut note);
        }
        let mut started = Vec::new();
        for workflow in workflows {
            match self.advance(&workflow).await {
                Ok(more) => started.extend(more),
                Err(error) => note(error),
            }
        }
        wrong.map_or(Ok(started), Err)
    }

    async fn look_at(&self, seen: &OpenRun) -> Result<(), TriggerError> {
        let run_id = &seen.workflow_execution_id;
        // The index may lag.
        let Some(record) = self.audit.run(run_id).await? else { return Ok(()) };
        match self.standing(&record).await? {
            Standing::Ended(status) => {
                if !record.execution_status.is_final() {
                    tracing::info!(run = run_id, "the run had ended unseen");
                }
                self.follow_up(&record, status).await.map(|_| ())
            }
            Standing::GoingOn => Ok(()),
            Standing::NotStarted => {
                let turn = self.turn(&seen.workflow_id).await?;
                if !turn.waits(run_id) && !turn.is_of(run_id) {
                    self.close_orphan(&record).await?;
                }
                Ok(())
            }
        }
    }
}
