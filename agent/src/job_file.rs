//! What of a job survives the loss of the journal: `job.json` in the job's directory.
//!
//! The journal is the truth. Should it be found corrupt, it is moved aside and written anew from these files and from
//! the run files beside them, so that scripts which run are adopted and reported. The file holds the task token, so
//! only its owner reads it, and it is removed with the job's settlement. It is not flushed: after a power cut there is
//! nothing left to adopt, and tasks that nobody tells end by their missing heartbeats.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rsqlflow_config::job::JobRequest;
use serde::{Deserialize, Serialize};

use crate::journal::StoredJob;

const NAME: &str = "job.json";

#[derive(Serialize, Deserialize)]
struct JobFile {
    request: JobRequest,
    ssm_command_id: Option<String>,
    accepted_at: String,
    boot_id: String,
}

/// Makes the job's directory.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o750).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Makes the job's directory and file; a whole one that is there stays.
pub(crate) fn write(directory: &Path, job: &StoredJob) -> io::Result<()> {
    make_directory(directory)?;
    let path = directory.join(NAME);
    if path.exists() && read(directory).is_some() {
        return Ok(());
    }
    let file = JobFile {
        request: job.request.clone(),
        ssm_command_id: job.ssm_command_id.clone(),
        accepted_at: job.accepted_at.clone(),
        boot_id: job.boot_id.clone(),
    };
    let fresh = directory.join(format!("{NAME}.new"));
    let text = serde_json::to_vec(&file)?;
    let written = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&fresh, &path));
    if written.is_err() {
        // What a full disk left of it says nothing.
        let _ = fs::remove_file(&fresh);
        let _ = fs::remove_dir(directory);
    }
    written
}

/// Forgets what a settled job was asked to do; its logs stay.
pub(crate) fn forget(directory: &Path, attempts: u32) {
    // What is not there is forgotten.
    let _ = fs::remove_file(directory.join(NAME));
    crate::handed_out::forget(directory);
    for attempt in 1..=attempts {
        let _ = fs::remove_file(directory.join(format!("{attempt}.run")));
    }
    // A job that never printed leaves nothing.
    let _ = fs::remove_dir(directory);
}

/// Every job below `jobs_dir` that has not been forgotten; its attempts are known by their run files.
pub(crate) fn all(jobs_dir: &Path) -> Vec<StoredJob> {
    let Ok(entries) = fs::read_dir(jobs_dir) else { return Vec::new() };
    entries.filter_map(|entry| read(&entry.ok()?.path())).collect()
}

fn read(directory: &Path) -> Option<StoredJob> {
    let job_id = directory.file_name()?.to_str()?.to_owned();
    let text = fs::read(directory.join(NAME)).ok()?;
    let file: JobFile = match serde_json::from_slice(&text) {
        Ok(file) => file,
        Err(error) => {
            tracing::error!(job_id, %error, "a job's file cannot be read; the job is given up");
            return None;
        }
    };
    Some(StoredJob {
        job_id,
        request: file.request,
        ssm_command_id: file.ssm_command_id,
        accepted_at: file.accepted_at,
        boot_id: file.boot_id,
        attempts: Vec::new(),
        outcome: None,
        callback_done: false,
        audit_done: false,
        logs_done: false,
    })
}
