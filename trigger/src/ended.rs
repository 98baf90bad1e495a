//! Closing the record of a run whose execution ended without doing so.
//!
//! The state machine closes the record with its last states. An execution that is stopped from outside or passes its
//! time limit runs no state any more, so whoever sees it end does it in its place.

use rsqlflow_config::audit::Status;

use crate::{Trigger, TriggerError};

impl Trigger {
    /// Gives the record of a run that has ended its final status, unless it has one; whether it did.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`].
    pub async fn close_ended(
        &self,
        run_id: &str,
        status: Status,
        message: &str,
    ) -> Result<bool, TriggerError> {
        match self.audit.run(run_id).await? {
            Some(record) if !record.execution_status.is_final() => self.close(&record, status, message).await,
            _ => Ok(false),
        }
    }
}
