//! What an agent takes up at its start: its journal and the jobs' own files, compared.
//!
//! The journal may be corrupt, empty, gone, an older copy, or have lost the end of its log, and SQLite calls some of that
//! sound. The files beside it are written independently of it: `job.json` is there from a job's acceptance to its
//! settlement, run files say which attempts there were and how they ended. So at every start the two are compared,
//! whatever the journal says:
//!
//! | the journal | the files | the job |
//! | --- | --- | --- |
//! | unsettled | any | is taken up |
//! | unsettled | logs and nothing of an attempt, in this boot | was settled: it left nothing else |
//! | unsettled, a row that cannot be read | a job | is taken up; its file says what the row does not |
//! | unsettled, a row that cannot be read | none | is lost; its task is told, if the token can be made out |
//! | settled | any but logs | stays settled; the files are removed |
//! | nothing | a job | is taken up |
//! | nothing | an unreadable job | is lost, in the same way |
//! | nothing | run files without a job | is lost; its command does not run again |
//!
//! A script that runs for a job that is lost is ended: nobody could be told how it ends, and its task may be given to
//! another host. That may take a while, and the agent serves meanwhile. What is taken up asks Step Functions whether it is
//! still waited for before it starts anything, so a job that was settled after an old copy of the journal was made does not
//! run again.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rsqlflow_config::job::JobError;
use rsqlflow_supervisor::process::boot_id;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::context::Context;
use crate::job_file::{self, Found};
use crate::journal::{self, Journal, JournalError, StoredJob};
use crate::salvage::Addressee;

/// So many are ended at a time: each looks through the host's processes.
const STRAYS_AT_ONCE: usize = 16;

/// What an earlier agent left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The jobs that are not settled.
    pub jobs: Vec<StoredJob>,
    /// Tasks of jobs that are lost, and what to tell them.
    lost: Vec<(Addressee, String)>,
    /// Directories of jobs that are not taken up, where scripts may run.
    strays: Vec<(String, PathBuf)>,
}

/// Opens the journal and finds what is not settled. A corrupt one is moved aside and made anew.
pub(crate) async fn open(path: &Path, jobs_dir: &Path) -> Result<(Journal, Left), JournalError> {
    let opened = match Journal::open(path) {
        Ok(journal) => compare(&journal, jobs_dir).await.map(|left| (journal, left)),
        Err(error) => Err(error),
    };
    match opened {
        Err(error) if error.is_corruption() => {
            let aside = journal::move_aside(path)?;
            tracing::error!(
                %error,
                "the journal is corrupt; it is kept as {}, and a new one is made from the jobs' own files",
                aside.display()
            );
            let journal = Journal::open(path)?;
            let left = compare(&journal, jobs_dir).await?;
            Ok((journal, left))
        }
        opened => opened,
    }
}

async fn compare(journal: &Journal, jobs_dir: &Path) -> Result<Left, JournalError> {
    let known = journal.known().await?;
    let directories: HashMap<String, PathBuf> = job_file::all(jobs_dir).into_iter().collect();
    let mut left = Left::default();
    let mut closed = Vec::new();
    // Rows that are not settled, whether or not they can be read.
    let mut open = HashSet::new();
    for row in journal.rows().await? {
        open.insert(row.job_id.clone());
        let directory = directories.get(&row.job_id);
        if row.problems.is_empty() {
            let Ok(job) = row.job(None) else { continue };
            if job.boot_id == boot_id()
                && directory.is_some_and(|directory| job_file::is_forgotten(directory))
            {
                info!(
                    job_id = job.job_id,
                    "the journal takes a job for unsettled whose files say that it is settled"
                );
                closed.push(job.job_id);
            } else {
                left.jobs.push(job);
            }
            continue;
        }
        let (problems, file) =
            (row.problems.join("; "), directory.map(|directory| job_file::read(directory)));
        let file = match file {
            Some(Found::Job(job)) => Some(*job),
            Some(Found::Unreadable { .. } | Found::Nothing) | None => None,
        };
        match row.job(file) {
            Ok(job) => {
                warn!(
                    job_id = job.job_id,
                    problems, "the journal's row of a job cannot be read; its files are believed"
                );
                journal.repair(&job).await?;
                left.jobs.push(job);
            }
            Err(unreadable) => {
                let job_id = unreadable.job_id;
                left.lose(
                    &job_id,
                    &format!("its row in the journal ({})", unreadable.problems),
                    unreadable.addressee,
                );
                closed.push(job_id);
            }
        }
    }
    let taken: HashSet<String> = left.jobs.iter().map(|job| job.job_id.clone()).collect();
    for (job_id, directory) in directories {
        if taken.contains(&job_id) || job_file::has_only_logs(&directory) {
            continue;
        }
        if known.contains(&job_id) && !open.contains(&job_id) || closed.contains(&job_id) {
            left.strays.push((job_id, directory));
            continue;
        }
        match job_file::read(&directory) {
            Found::Job(job) => {
                let job_name = &job.request.job_name;
                warn!(job_id, job_name, "the journal does not know a job; it is taken up from its own file");
                journal.accept(&job).await?;
                left.jobs.push(*job);
                continue;
            }
            Found::Unreadable { path, why, addressee } => {
                left.lose(&job_id, &format!("its file {} ({why})", path.display()), addressee);
                closed.push(job_id.clone());
            }
            // Its command may be delivered again, and its script has run.
            Found::Nothing if !job_file::run_files(&directory).is_empty() => closed.push(job_id.clone()),
            // Its acceptance was on its way, and whoever brought the command brings it again.
            Found::Nothing => {}
        }
        left.strays.push((job_id, directory));
    }
    if !closed.is_empty() {
        journal.close(closed).await?;
    }
    left.jobs.sort_by(|a, b| (&a.accepted_at, &a.job_id).cmp(&(&b.accepted_at, &b.job_id)));
    Ok(left)
}

impl Left {
    fn lose(&mut self, job_id: &str, what: &str, addressee: Option<Addressee>) {
        let told =
            if addressee.is_some() { "its task is told" } else { "its task ends by its missing heartbeats" };
        tracing::error!(
            job_id,
            "a job is lost, because {what} cannot be read: {told}, and a script of it that runs is ended"
        );
        let message = format!(
            "the agent cannot read {what}, as after a fault of its disk; whether and how the script ended is not known"
        );
        self.lost.extend(addressee.map(|addressee| (addressee, message)));
    }

    /// Has jobs taken up and tasks told, and removes what is left of jobs that never ran. Answers what is still to be
    /// ended.
    pub(crate) fn take_up(self, context: &Context) -> Strays {
        let known: HashSet<&str> = self.jobs.iter().map(|job| job.job_id.as_str()).collect();
        context.started.keep_only(|job_id| known.contains(job_id));
        if !self.jobs.is_empty() {
            info!(jobs = self.jobs.len(), "taking up jobs that are not settled");
        }
        context.dispatcher.recover(self.jobs);
        for (addressee, message) in self.lost {
            context.dispatcher.refuse(addressee, JobError::HostLost, message);
        }
        let (ran, never): (Vec<_>, Vec<_>) =
            self.strays.into_iter().partition(|(_, directory)| !job_file::run_files(directory).is_empty());
        for (_, directory) in never {
            job_file::forget(&directory);
        }
        Strays(ran)
    }
}

/// Directories of jobs that are not taken up and have run. The journal has all of them as settled, so their commands may
/// come again meanwhile: they do not run again.
#[must_use]
pub(crate) struct Strays(Vec<(String, PathBuf)>);

impl Strays {
    /// Ends their scripts, each of which may take as long as `agent.grace_seconds` says, and removes what must not stay.
    pub(crate) async fn end(self, context: &Arc<Context>) {
        let mut ending = JoinSet::new();
        for (job_id, directory) in self.0 {
            if ending.len() >= STRAYS_AT_ONCE {
                ending.join_next().await;
            }
            let context = Arc::clone(context);
            ending.spawn(async move {
                for path in job_file::run_files(&directory) {
                    if !crate::attempt::end_stray(&context, &job_id, &path).await {
                        return;
                    }
                }
                job_file::forget(&directory);
            });
        }
        while ending.join_next().await.is_some() {}
    }
}
