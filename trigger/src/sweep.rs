//! Making up for events that never came.
//!
//! In an account every end of an execution is an event, delivered at least once. On one machine the process that hears of
//! ends may be the one that is killed, so the next one looks at everything that is open. It does what the events would
//! have done, and nothing where there is nothing left to do.

use std::collections::BTreeSet;

use crate::standing::Standing;
use crate::{Trigger, TriggerError};

/// How many runs are looked through.
const RUNS_LOOKED_AT: usize = 1_000;

impl Trigger {
    /// Closes the records of runs that have ended unseen, and starts those whose turn has come.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`]; the same call again goes on.
    pub async fn sweep(&self) -> Result<(), TriggerError> {
        let mut workflows = BTreeSet::new();
        for record in self.audit.runs(None, RUNS_LOOKED_AT).await? {
            if record.execution_status.is_final() {
                continue;
            }
            if self.standing(&record).await? == Standing::Ended {
                tracing::info!(run = record.workflow_execution_id, "the run had ended unseen");
            }
            workflows.insert(record.workflow_id);
        }
        for workflow in workflows {
            self.advance(&workflow).await?;
        }
        Ok(())
    }
}
