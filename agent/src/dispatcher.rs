//! The one owner of the truth about jobs.
//!
//! An actor: it alone writes the journal and knows which jobs there are; everyone else (the socket, the jobs' own
//! tasks, whoever embeds the agent) sends it messages. It waits for no network and no flush, so it always answers.
//! What happens at its start, taking up every job the journal has not settled, is what happens after every restart,
//! crash or reboot; there is no other recovery.

mod handle;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsqlflow_config::job::JobError;
use rsqlflow_supervisor::run_file::RunFile;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::asker::Asker;
use crate::context::Context;
use crate::interrupt::Interrupt;
use crate::journal::{Entry, Journal, StoredJob};
use crate::protocol::{Accepted, JobInfo};
use crate::queue::{Queue, UnknownPool, Waiting, Why};
use crate::salvage::Addressee;

use handle::Message;
pub(crate) use handle::job_id;
pub(crate) use handle::{Handle, Mailbox, Overview, channel};
pub use handle::{KillError, SubmitError};

/// When the agent stops, what it can still report has so long.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// The file in the data directory that says that the host is drained.
const DRAINED: &str = "drained";

const MIB: u64 = 1024 * 1024;

/// What an unprivileged user may still write there.
fn free_bytes(directory: &std::path::Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

struct Known {
    info: JobInfo,
    workflow_id: String,
    secret_id: String,
    /// Who has still to hear how it ended.
    untold: Vec<Entry>,
    interrupt: watch::Sender<Option<Interrupt>>,
}

impl Known {
    fn asker(&self) -> Asker {
        Asker {
            job_id: self.info.job_id.clone(),
            workflow_id: self.workflow_id.clone(),
            workflow_execution_id: self.info.workflow_execution_id.clone(),
            job_name: self.info.job_name.clone(),
            secret_id: self.secret_id.clone(),
        }
    }
}

struct Dispatcher {
    context: Arc<Context>,
    journal: Journal,
    known: HashMap<String, Known>,
    queue: Queue,
    /// Jobs that wait for a place.
    waiting: HashMap<String, oneshot::Sender<Result<(), UnknownPool>>>,
    /// The jobs' own tasks.
    jobs: JoinSet<()>,
    /// Whose they are.
    tasks: HashMap<tokio::task::Id, String>,
    /// Jobs of an earlier process that have not said yet where they go on.
    recovering: HashSet<String>,
    /// Commits on their way.
    commits: JoinSet<()>,
    stop: watch::Sender<Option<Interrupt>>,
    drained: bool,
    pruned: Option<Instant>,
}

/// Runs the dispatcher until it is told to stop.
pub(crate) async fn run(
    context: Arc<Context>,
    journal: Journal,
    mailbox: Mailbox,
    stop: watch::Sender<Option<Interrupt>>,
) {
    let mut mailbox = mailbox.0;
    let mut dispatcher = Dispatcher {
        drained: context.config.data_dir.join(DRAINED).exists(),
        queue: Queue::new(context.config.max_running_jobs, &context.config.pools),
        waiting: HashMap::new(),
        context,
        journal,
        known: HashMap::new(),
        jobs: JoinSet::new(),
        tasks: HashMap::new(),
        recovering: HashSet::new(),
        commits: JoinSet::new(),
        stop,
        pruned: None,
    };
    let mut stop: Option<(oneshot::Sender<()>, tokio::time::Instant)> = None;
    loop {
        // With nobody left to wait for, or no time left to wait, it is over.
        let settled = dispatcher.known.is_empty() && dispatcher.commits.is_empty();
        let over = async {
            match &stop {
                Some(_) if settled => {}
                Some((_, deadline)) => tokio::time::sleep_until(*deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(done) = dispatcher.commits.join_next() => look(done),
            Some(done) = dispatcher.jobs.join_next_with_id() => dispatcher.look_at_job(done),
            message = mailbox.recv() => match message {
                Some(Message::Stop { how, reply }) => {
                    dispatcher.stop.send_replace(Some(how));
                    let ends = how == Interrupt::Stopping
                        && dispatcher.known.values().any(|job| job.info.state != "reporting");
                    let grace = if ends { dispatcher.context.config.grace } else { Duration::ZERO };
                    stop = Some((reply, tokio::time::Instant::now() + grace + REPORT_PATIENCE));
                }
                Some(message) => dispatcher.handle(message),
                None => return,
            },
            () = over => break,
        }
    }
    if let Some((reply, _)) = stop {
        let _ = reply.send(());
    }
}

/// How long a job whose task failed is left alone.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Tasks end by themselves.
fn look(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        tracing::error!(%error, "a task failed");
    }
}

impl Dispatcher {
    /// A job whose task failed is taken up again, as after a restart.
    fn look_at_job(&mut self, done: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = done.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
        let job_id = self.tasks.remove(&id);
        let Err(error) = done else { return };
        if !error.is_panic() {
            return;
        }
        tracing::error!(%error, job_id, "the task of a job failed; the job is taken up again");
        let Some(job_id) = job_id else { return };
        self.recovering.remove(&job_id);
        self.give_back(&job_id);
        let (journal, handle) = (self.journal.clone(), self.context.dispatcher.clone());
        self.commits.spawn(async move {
            tokio::time::sleep(FAILED_PAUSE).await;
            match journal.unsettled().await {
                Ok(jobs) => {
                    let job = jobs.into_iter().find(|job| job.job_id == job_id);
                    job.into_iter().for_each(|job| handle.launch(job, true));
                }
                Err(error) => {
                    tracing::error!(%error, job_id, "the job waits for the next start of the agent")
                }
            }
        });
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Submit { job, reply } => self.submit(job, reply),
            Message::Refused { addressee, error, message } => self.refuse(addressee, error, message),
            Message::Launch { job, recovered } => self.launch(*job, recovered),
            Message::Started { job_id, attempt, at } => {
                self.runs(&job_id, attempt, &at);
                self.context.metrics.attempt_started();
                self.journal.started(&job_id, attempt, at);
            }
            Message::Recover { jobs } => {
                self.recovering = jobs.iter().map(|job| job.job_id.clone()).collect();
                jobs.into_iter().for_each(|job| self.launch(job, true));
            }
            Message::TakenUp { job_id } => {
                self.recovering.remove(&job_id);
                self.admit();
            }
            Message::Adopted { job, attempt, since } => {
                self.runs(&job.job_id, attempt, &since);
                self.queue.adopt(job);
            }
            Message::Waits { job_id, what } => {
                if let Some(known) = self.known.get_mut(&job_id) {
                    known.info.waits_for = Some(what);
                }
            }
            Message::Acknowledged { job_id, entry } => {
                if let Some(known) = self.known.get_mut(&job_id) {
                    known.untold.retain(|untold| *untold != entry);
                }
            }
            Message::Queue { job, reply } => self.queue(job, reply),
            Message::AttemptEnded { job_id, attempt, end } => {
                if let Some(known) = self.known.get_mut(&job_id) {
                    known.info.enter("waiting", &end.ended_at);
                }
                self.give_back(&job_id);
                self.context.metrics.process_ended(end.reason());
                self.journal.attempt_ended(&job_id, attempt, &end);
            }
            Message::Outcome { job_id, outcome, reply } => {
                if let Some(known) = self.known.get_mut(&job_id) {
                    known.info.enter("reporting", &outcome.end.ended_at);
                }
                self.give_back(&job_id);
                let (journal, context) = (self.journal.clone(), Arc::clone(&self.context));
                self.commits.spawn(async move {
                    let written = journal.outcome(&job_id, &outcome).await;
                    if written.is_ok() {
                        context.metrics.job_ended(outcome.status());
                        if outcome.attempt > 0 {
                            context.metrics.process_ended(outcome.end.reason());
                        }
                    }
                    // Whoever waits for it may have been ended with the agent.
                    let _ = reply.send(written);
                });
            }
            Message::Settled { job_id } => {
                self.known.remove(&job_id);
                self.recovering.remove(&job_id);
                self.give_back(&job_id);
                self.prune();
            }
            Message::Askers { reply } => {
                let askers = self.known.values().filter(|known| known.info.state != "reporting");
                let _ = reply.send(self.stays().then(|| askers.map(Known::asker).collect()));
            }
            Message::Jobs { reply } => {
                let mut jobs: Vec<JobInfo> = self.known.values().map(|known| self.info(known)).collect();
                jobs.sort_by(|a, b| (&a.accepted_at, &a.job_id).cmp(&(&b.accepted_at, &b.job_id)));
                let _ = reply.send(self.stays().then_some(jobs));
            }
            Message::Kill { job, reply } => {
                let _ = reply.send(self.kill(&job));
            }
            Message::Drain { drained, reply } => {
                let _ = reply.send(self.drain(drained));
            }
            Message::Overview { reply } => {
                let count =
                    |state: &str| self.known.values().filter(|known| known.info.state == state).count();
                let _ = reply.send(Overview {
                    drained: self.drained,
                    running: count("running"),
                    queued: count("queued") + count("waiting"),
                    reporting: count("reporting"),
                    free_bytes: free_bytes(&self.context.config.data_dir).unwrap_or(u64::MAX),
                });
            }
            // Taken by the loop.
            Message::Stop { .. } => {}
        }
    }

    /// False once it leaves its jobs to the next agent and forgets them: then only that one can say which there are.
    fn stays(&self) -> bool {
        *self.stop.borrow() != Some(Interrupt::Leaving)
    }

    fn queue(&mut self, job: Waiting, reply: oneshot::Sender<Result<(), UnknownPool>>) {
        let job_id = job.job_id.clone();
        if let Err(unknown) = self.queue.push(job) {
            let _ = reply.send(Err(unknown));
            return;
        }
        if let Some(known) = self.known.get_mut(&job_id) {
            known.info.enter("queued", &rsqlflow_config::time::now());
            known.info.waits_for = None;
        }
        self.waiting.insert(job_id, reply);
        self.admit();
    }

    /// A job needs its place no more, or no longer wants one.
    fn give_back(&mut self, job_id: &str) {
        self.waiting.remove(job_id);
        if self.queue.finished(job_id) || self.queue.remove(job_id) {
            self.admit();
        }
    }

    /// Lets everybody go on who may.
    fn admit(&mut self) {
        if !self.recovering.is_empty() {
            return;
        }
        while let Some(job_id) = self.queue.next() {
            let told = self.waiting.remove(&job_id).is_some_and(|reply| reply.send(Ok(())).is_ok());
            if !told {
                // It went away while it waited.
                self.queue.finished(&job_id);
            }
        }
    }

    fn runs(&mut self, job_id: &str, attempt: u32, since: &str) {
        if let Some(known) = self.known.get_mut(job_id) {
            known.info.attempt = attempt;
            known.info.enter("running", since);
        }
    }

    /// What is told of a job; its process is known to the supervisor.
    fn info(&self, known: &Known) -> JobInfo {
        let mut info = known.info.clone();
        if let Some(why) = self.queue.why(&info.job_id).filter(|_| info.state == "queued") {
            info.waits_for = Some(match why {
                Why::Host => "a place on the host (agent.max_running_jobs)".to_owned(),
                Why::Pool(pool) => format!("a place in pool {pool}"),
            });
        }
        if info.state == "reporting" {
            let untold: Vec<&str> = known.untold.iter().map(|entry| entry.as_str()).collect();
            info.waits_for = (!untold.is_empty()).then(|| untold.join(", "));
        }
        if info.state == "running" {
            let file = RunFile::open(&self.context.run_path(&info.job_id, info.attempt));
            info.pid = file.ok().and_then(|file| file.mark()?.script).map(|script| script.pid);
        }
        info
    }

    fn refuse(&mut self, addressee: Addressee, error: JobError, message: String) {
        // Another version of the agent took the very job, which runs.
        if self.known.contains_key(&job_id(&addressee.task_token)) {
            return;
        }
        let client = self.context.clients.sfn.clone();
        self.jobs.spawn(async move { crate::callback::refuse(&client, &addressee, error, message).await });
    }

    /// Why no job is taken now.
    fn unavailable(&self) -> Option<SubmitError> {
        if self.drained {
            return Some(SubmitError::Drained);
        }
        let (data_dir, min) = (&self.context.config.data_dir, self.context.config.min_free_bytes);
        let free = free_bytes(data_dir).unwrap_or(u64::MAX);
        (free < min).then(|| SubmitError::DiskFull {
            data_dir: data_dir.to_owned(),
            free_mib: free / MIB,
            min_mib: min / MIB,
        })
    }

    fn submit(&mut self, job: Box<StoredJob>, reply: oneshot::Sender<Result<Accepted, SubmitError>>) {
        if self.stop.borrow().is_some() {
            let _ = reply.send(Err(SubmitError::Stopping));
            return;
        }
        if self.known.contains_key(&job.job_id) {
            let _ = reply.send(Ok(Accepted { job_id: job.job_id, duplicate: true }));
            return;
        }
        let addressee =
            Addressee { task_token: job.request.task_token.clone(), job_name: job.request.job_name.clone() };
        if let Some(error) = self.unavailable() {
            tracing::warn!(job_name = job.request.job_name, "refused a job: {error}");
            self.refuse(addressee, JobError::HostUnavailable, error.to_string());
            let _ = reply.send(Err(error));
            return;
        }
        let (journal, context) = (self.journal.clone(), Arc::clone(&self.context));
        self.commits.spawn(async move {
            let job_id = job.job_id.clone();
            let answer = match journal.accept(&job).await {
                Ok(true) => {
                    // Before anyone hears that the job is taken: the journal may be lost at any time.
                    crate::job::keep_file(&context, &job);
                    context.metrics.job_accepted();
                    context.dispatcher.launch(*job, false);
                    Ok(Accepted { job_id, duplicate: false })
                }
                Ok(false) => Ok(Accepted { job_id, duplicate: true }),
                // The next agent takes it, and it comes in a moment.
                Err(_) if journal.has_failed() => Err(SubmitError::Stopping),
                Err(error) => {
                    tracing::error!(%error, job_name = job.request.job_name, "a job cannot be accepted");
                    let error = SubmitError::Journal(Box::new(error));
                    let message = crate::socket::sources(&error);
                    let code = JobError::HostUnavailable;
                    context.dispatcher.tell(Message::Refused { addressee, error: code, message });
                    Err(error)
                }
            };
            let _ = reply.send(answer);
        });
    }

    fn kill(&self, job: &str) -> Result<JobInfo, KillError> {
        let Some(known) = self.known.get(job) else { return Err(KillError::Unknown(job.into())) };
        if known.info.state == "reporting" {
            return Err(KillError::Ended(job.into()));
        }
        tracing::info!(job_id = job, "an operator ends the job");
        // Whoever came first says why.
        known.interrupt.send_if_modified(|interrupt| {
            let first = interrupt.is_none();
            interrupt.get_or_insert(Interrupt::Killed);
            first
        });
        Ok(self.info(known))
    }

    fn drain(&mut self, drained: bool) -> std::io::Result<()> {
        let path = self.context.config.data_dir.join(DRAINED);
        if drained {
            std::fs::OpenOptions::new().create(true).append(true).open(path)?.sync_all()?;
        } else {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::File::open(&self.context.config.data_dir)?.sync_all()?;
        tracing::info!(drained, "an operator decides whether the host takes jobs");
        self.drained = drained;
        self.context.host_changed.notify_one();
        Ok(())
    }

    fn launch(&mut self, job: StoredJob, recovered: bool) {
        let last = job.attempts.last();
        let info = JobInfo {
            job_id: job.job_id.clone(),
            workflow_execution_id: job.request.workflow_execution_id.clone(),
            job_name: job.request.job_name.clone(),
            accepted_at: job.accepted_at.clone(),
            attempt: last.map_or(0, |last| last.attempt),
            pid: None,
            state: if job.outcome.is_some() { "reporting" } else { "queued" }.into(),
            since: job.outcome.as_ref().map_or(&job.accepted_at, |outcome| &outcome.end.ended_at).clone(),
            pool: job.request.pool.clone(),
            waits_for: None,
        };
        let secret_id = job.request.secret_id.clone();
        let interrupt = watch::Sender::new(None);
        let told = [
            (Entry::Callback, job.callback_done),
            (Entry::Audit, job.audit_done),
            (Entry::Logs, job.logs_done),
        ];
        let untold = told.into_iter().filter(|(_, done)| !done).map(|(entry, _)| entry).collect();
        let workflow_id = job.request.workflow_id.clone();
        let known = Known { info, workflow_id, secret_id, untold, interrupt: interrupt.clone() };
        self.known.insert(job.job_id.clone(), known);
        let job_id = job.job_id.clone();
        let task = self.jobs.spawn(crate::job::run(Arc::clone(&self.context), job, interrupt, recovered));
        self.tasks.insert(task.id(), job_id);
    }

    /// Forgets what is old, and its files.
    fn prune(&mut self) {
        if self.pruned.is_some_and(|at| at.elapsed() < crate::retention::EVERY) {
            return;
        }
        self.pruned = Some(Instant::now());
        let (journal, context) = (self.journal.clone(), Arc::clone(&self.context));
        self.commits.spawn(async move { crate::retention::enforce(&journal, &context).await });
    }
}
