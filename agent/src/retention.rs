//! How long the files of settled jobs are kept: by age, and by what they take on the disk.
//!
//! Past `agent.log_retention_days` a job is forgotten with its files. When the files of settled jobs together pass
//! `agent.log_retention_mib`, those of the jobs settled first go; the jobs themselves stay known, so that a command that
//! is delivered again is known for what it is. The job that was settled last keeps its files however large they are, and
//! they do not count: a log beyond the limit does not take all others with it. Files of jobs that are not settled are
//! never touched.
//!
//! What the journal does not know of is judged by its own age: directories of jobs that were forgotten by an agent that
//! then was killed, or whose journal was corrupt, and journals that were moved aside for that.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::context::Context;
use crate::journal::{ASIDE, Journal, JournalError};

/// How often the disk is looked at; only ever when a job is settled. The cost is that of a look at every directory.
pub(crate) const EVERY: Duration = Duration::from_secs(5 * 60);

/// Removes what is too old or too much.
pub(crate) async fn enforce(journal: &Journal, context: &Context) {
    if let Err(error) = try_enforce(journal, context).await {
        tracing::warn!(%error, "old jobs could not be forgotten");
    }
}

async fn try_enforce(journal: &Journal, context: &Context) -> Result<(), JournalError> {
    let config = &context.config;
    let age = chrono::TimeDelta::from_std(config.log_retention).ok();
    let before = age.and_then(|age| chrono::Utc::now().checked_sub_signed(age));
    let forgotten = match before {
        Some(before) => journal.prune(rsqlflow_config::time::format(before)).await?,
        // Longer ago than there is time.
        None => Vec::new(),
    };
    // Read before the directories are: one that is made meanwhile is too young to be judged.
    let (known, mut settled) = (journal.known().await?, journal.settled().await?);
    let (jobs_dir, data_dir) = (context.jobs_dir.clone(), config.data_dir.clone());
    let (age_max, bytes_max) = (config.log_retention, config.log_retention_bytes);
    let removing = tokio::task::spawn_blocking(move || {
        for job_id in forgotten {
            remove(&jobs_dir.join(job_id));
        }
        let orphan = |name: &str| !known.contains(name);
        remove_old(&jobs_dir, age_max, orphan);
        remove_old(&data_dir, age_max, |name| name.starts_with(ASIDE));
        settled.reverse();
        by_size(settled.iter().map(|job_id| jobs_dir.join(job_id)), bytes_max);
    });
    if let Err(error) = removing.await {
        tracing::warn!(%error, "the files of settled jobs could not be looked at");
    }
    Ok(())
}

/// Removes what is named so and has not changed for so long.
fn remove_old(directory: &Path, age_max: Duration, is_meant: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(&is_meant) && age(&entry.path()) > Some(age_max) {
            tracing::info!("{} belongs to no job any more and is removed", entry.path().display());
            remove(&entry.path());
        }
    }
}

/// Newest first: the first one stays, and of the others what fits in.
fn by_size(mut directories: impl Iterator<Item = PathBuf>, bytes_max: u64) {
    if bytes_max == 0 {
        return;
    }
    directories.by_ref().find(|directory| directory.exists());
    let mut kept: u64 = 0;
    for directory in directories {
        let size = size(&directory);
        if kept.saturating_add(size) <= bytes_max {
            kept += size;
        } else {
            tracing::info!("the local logs in {} make room (agent.log_retention_mib)", directory.display());
            remove(&directory);
        }
    }
}

/// One that never printed has none; what is left is found the next time.
fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn size(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

/// For how long a file, or a directory and what is in it, has not changed. Nothing where that cannot be told.
fn age(path: &Path) -> Option<Duration> {
    let changed = |path: &Path| {
        let data = fs::symlink_metadata(path).ok()?;
        // The inode's own time: a file that was moved aside has been there since then.
        let inode = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(data.ctime()).ok()?);
        Some(data.modified().ok()?.max(inode))
    };
    let within =
        fs::read_dir(path).into_iter().flatten().flatten().filter_map(|entry| changed(&entry.path()));
    changed(path).into_iter().chain(within).max()?.elapsed().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(jobs_dir: &Path, name: &str, size: usize) -> PathBuf {
        let directory = jobs_dir.join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("1.log"), vec![b'x'; size]).unwrap();
        directory
    }

    #[test]
    fn a_large_log_makes_no_room_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = [5000, 100, 5000, 100, 950, 800];
        let newest_first: Vec<PathBuf> =
            sizes.iter().enumerate().map(|(at, size)| job(dir.path(), &at.to_string(), *size)).collect();
        by_size(newest_first.clone().into_iter(), 0);
        by_size(newest_first.clone().into_iter(), 1000);
        let left: Vec<usize> = (0..sizes.len()).filter(|at| newest_first[*at].exists()).collect();
        assert_eq!(left, [0, 1, 3, 5], "the newest, and what fits into 1000 bytes besides it");
    }

    #[test]
    fn what_belongs_to_nobody_goes_with_age() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, orphan) = (job(dir.path(), "ours", 1), job(dir.path(), "orphan", 1));
        let aside = dir.path().join(format!("{ASIDE}20261121T000000000-wal"));
        fs::write(&aside, "").unwrap();
        let meant = |name: &str| name != "ours";
        remove_old(dir.path(), Duration::from_secs(1000), meant);
        assert!(ours.exists() && orphan.exists() && aside.exists());
        remove_old(dir.path(), Duration::ZERO, meant);
        assert!(ours.exists() && !orphan.exists() && !aside.exists());
    }
}
