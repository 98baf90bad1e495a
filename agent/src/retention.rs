//! How long the files of settled jobs are kept: by age, and by what they take on the disk.
//!
//! Past `agent.log_retention_days` a job is forgotten with its files. When the files of settled jobs together pass
//! `agent.log_retention_mib`, those of the jobs settled first go; the jobs themselves stay known, so that a command that
//! is delivered again is known for what it is. Files of jobs that are not settled are never touched.

use std::path::Path;
use std::time::Duration;

use crate::context::Context;
use crate::journal::{Journal, JournalError};

/// How often the disk is looked at; only ever when a job is settled. The cost is that of a look at every directory.
pub(crate) const EVERY: Duration = Duration::from_secs(5 * 60);

/// Removes what is too old or too much.
pub(crate) async fn enforce(journal: &Journal, context: &Context) {
    if let Err(error) = by_age(journal, context).await {
        tracing::warn!(%error, "old jobs could not be forgotten");
    }
    if let Err(error) = by_size(journal, context).await {
        tracing::warn!(%error, "the logs of settled jobs could not be looked at");
    }
}

async fn by_age(journal: &Journal, context: &Context) -> Result<(), JournalError> {
    let before = chrono::Utc::now() - context.config.log_retention;
    for job_id in journal.prune(rsqlflow_config::time::format(before)).await? {
        // One that never printed has none.
        let _ = std::fs::remove_dir_all(context.job_dir(&job_id));
    }
    Ok(())
}

async fn by_size(journal: &Journal, context: &Context) -> Result<(), JournalError> {
    let limit = match context.config.log_retention_bytes {
        0 => return Ok(()),
        limit => limit,
    };
    let mut kept = 0;
    // The newest are kept, until they are too much.
    for job_id in journal.settled().await?.into_iter().rev() {
        let directory = context.job_dir(&job_id);
        kept += size(&directory);
        if kept > limit && directory.exists() {
            tracing::info!(job_id, "the local logs of a settled job make room (agent.log_retention_mib)");
            // What is left is found the next time.
            let _ = std::fs::remove_dir_all(directory);
        }
    }
    Ok(())
}

fn size(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}
