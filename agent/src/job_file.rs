//! What of a job survives the loss of the journal: `job.json` in the job's directory.
//!
//! It is there before the job's acceptance is answered, and it is removed with the job's settlement. An agent that starts
//! compares these files with its journal, whatever that says (see [`crate::reconcile`]); with the run files beside them
//! they are enough to adopt a script and to report it. The file holds the task token, so only its owner reads it. It is
//! not flushed: after a power cut there is nothing left to adopt, and tasks that nobody tells end by their missing
//! heartbeats.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rsqlflow_config::job::JobRequest;
use serde::{Deserialize, Serialize};

use crate::dispatcher::job_id;
use crate::journal::StoredJob;
use crate::salvage::{self, Addressee};

const NAME: &str = "job.json";

#[derive(Serialize, Deserialize)]
struct JobFile {
    request: JobRequest,
    ssm_command_id: Option<String>,
    accepted_at: String,
    boot_id: String,
}

/// What a job's directory says of it.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its file.
    Job(Box<StoredJob>),
    /// A file that cannot be read: where it is, why, and who waits for the job, as far as that can be made out.
    Unreadable { path: PathBuf, why: String, addressee: Option<Addressee> },
    /// No file.
    Nothing,
}

/// Makes the job's directory, and those above it: somebody may have removed them.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)
}

/// Makes the job's directory and file; a whole one that is there stays.
pub(crate) fn write(directory: &Path, job: &StoredJob) -> io::Result<()> {
    make_directory(directory)?;
    if matches!(read(directory), Found::Job(_)) {
        return Ok(());
    }
    let path = directory.join(NAME);
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

/// Forgets what a settled job was asked to do; its logs stay. What makes it a job goes first, and how far its logs are
/// shipped last: an end in between leaves nothing that would be done again.
pub(crate) fn forget(directory: &Path) {
    let mut paths = paths(directory);
    paths.sort_by_key(|path| (!path.ends_with(NAME), !has_extension(path, "run")));
    for path in paths.iter().filter(|path| !has_extension(path, "log")) {
        // One that cannot be removed now is looked for by the next agent.
        let _ = fs::remove_file(path);
    }
    // A job that never printed leaves nothing.
    let _ = fs::remove_dir(directory);
}

/// Whether there are logs, and nothing of a job or an attempt any more: a settled job leaves that, and no other does,
/// because an attempt has its run file before its log.
pub(crate) fn is_forgotten(directory: &Path) -> bool {
    let paths = paths(directory);
    paths.iter().any(|path| has_extension(path, "log"))
        && !paths.iter().any(|path| path.ends_with(NAME) || has_extension(path, "run"))
}

/// Whether there is nothing but logs.
pub(crate) fn has_only_logs(directory: &Path) -> bool {
    let paths = paths(directory);
    !paths.is_empty() && paths.iter().all(|path| has_extension(path, "log"))
}

/// The run files of a job's attempts.
pub(crate) fn run_files(directory: &Path) -> Vec<PathBuf> {
    paths(directory).into_iter().filter(|path| has_extension(path, "run")).collect()
}

fn paths(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own == extension)
}

/// The directories of all jobs, by their ids.
pub(crate) fn all(jobs_dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(jobs_dir).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path()))).collect()
}

/// What a directory says of its job; the attempts are known by their run files.
pub(crate) fn read(directory: &Path) -> Found {
    let (path, own_id) = (directory.join(NAME), directory.file_name().unwrap_or_default().to_string_lossy());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Unreadable { path, why: error.to_string(), addressee: None },
    };
    let why = match serde_json::from_str::<JobFile>(&text) {
        Ok(file) if job_id(&file.request.task_token) == own_id => {
            return Found::Job(Box::new(StoredJob {
                job_id: own_id.into_owned(),
                request: file.request,
                ssm_command_id: file.ssm_command_id,
                accepted_at: file.accepted_at,
                boot_id: file.boot_id,
                attempts: Vec::new(),
                outcome: None,
                callback_done: false,
                audit_done: false,
                logs_done: false,
            }));
        }
        Ok(_) => "it is the file of another job".to_owned(),
        // Its words may quote the file, which holds a token.
        Err(error) => {
            format!("it is no job's file, as line {}, column {} shows", error.line(), error.column())
        }
    };
    Found::Unreadable { path, why, addressee: salvage::addressee_of(&text, &own_id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        dir
    }

    #[test]
    fn a_settled_job_leaves_its_logs_and_one_that_is_not_settled_is_told_from_it() {
        let all = ["job.json", "job.json.new", "1.run", "2.run", "1.log", "2.log", "1.shipped", "handed-out"];
        let dir = directory(&all);
        assert!(!is_forgotten(dir.path()) && !has_only_logs(dir.path()));
        assert_eq!(run_files(dir.path()).len(), 2);
        forget(dir.path());
        assert!(is_forgotten(dir.path()) && has_only_logs(dir.path()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);

        let half_forgotten = directory(&["1.log", "1.shipped"]);
        assert!(is_forgotten(half_forgotten.path()) && !has_only_logs(half_forgotten.path()));
        for unsettled in [&["1.log", "1.run"][..], &["1.log", "job.json"], &["1.shipped"], &[]] {
            assert!(!is_forgotten(directory(unsettled).path()), "{unsettled:?}");
        }
        let silent = directory(&["job.json"]);
        forget(silent.path());
        assert!(!silent.path().exists());
    }
}
