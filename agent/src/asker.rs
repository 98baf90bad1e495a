//! Whose script asks: a client of the socket and the job that it belongs to.
//!
//! The kernel says which process is at the other end. A script's processes stay below their supervisor, and the run file
//! of an attempt names its supervisor, so a process is one of a job exactly where that job's supervisor is above it. The
//! environment is not asked: a script may write into it what it likes.
//!
//! That keeps jobs apart which mean no harm, and what items can make scripts ask for. Scripts and agent are one user,
//! and one that wants to can read the memory and the files of the others: see docs/install.md.

use std::path::{Path, PathBuf};

use rsqlflow_supervisor::process::{ProcessMark, ancestors};
use rsqlflow_supervisor::run_file::RunFile;

/// A job whose script may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    pub job_id: String,
    pub workflow_id: String,
    pub workflow_execution_id: String,
    pub job_name: String,
    /// The secret that it was given.
    pub secret_id: String,
}

/// Which of the jobs the process belongs to.
pub(crate) fn find(process: u32, jobs: Vec<Asker>, jobs_dir: &Path) -> Option<Asker> {
    let above = ancestors(process);
    let is_below = |asker: &Asker| {
        run_files(&jobs_dir.join(&asker.job_id)).iter().any(|path| {
            let supervisor = RunFile::open(path).ok().and_then(|file| Some(file.mark()?.supervisor));
            supervisor.is_some_and(|supervisor: ProcessMark| above.contains(&supervisor))
        })
    };
    jobs.into_iter().find(is_below)
}

fn run_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "run")).collect()
}
