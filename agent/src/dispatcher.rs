//! The one owner of the truth about jobs.
//!
//! An actor: it alone writes the journal and knows which jobs there are; everyone else (the socket, the jobs' own
//! tasks, whoever embeds the agent) sends it messages. It waits for no network and no flush, so it always answers.
//! What happens at its start, taking up every job the journal has not settled, is what happens after every restart,
//! crash or reboot; there is no other recovery.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsqlflow_config::job::{JobError, JobRequest, RequestError};
use rsqlflow_supervisor::process::boot_id;
use rsqlflow_supervisor::run_file::RunFile;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::context::Context;
use crate::interrupt::Interrupt;
use crate::journal::{Entry, Journal, JournalError, StoredJob};
use crate::logs::mark::LogMark;
use crate::outcome::{AttemptEnd, Outcome};
use crate::protocol::{Accepted, JobInfo};
use crate::queue::{Queue, UnknownPool, Waiting, Why};
use crate::salvage::Addressee;

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

/// Why a job was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It is not a job request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The agent is about to end.
    #[error("the agent is stopping; send the command again")]
    Stopping,
    /// An operator has drained the host.
    #[error("the host is drained: it takes no jobs until `rsqlflow-agent undrain`")]
    Drained,
    /// The disk is as good as full.
    #[error(
        "the disk of {} has {free_mib} MiB free, less than agent.min_free_mib = {min_mib}: free some space; until then \
         no jobs are taken", .data_dir.display()
    )]
    DiskFull {
        /// Where it is.
        data_dir: std::path::PathBuf,
        /// What is free.
        free_mib: u64,
        /// What must be.
        min_mib: u64,
    },
    /// The disk.
    #[error("the job cannot be written to disk")]
    Journal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SubmitError {
    /// In one word, for the metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "invalid",
            Self::Stopping => "stopping",
            Self::Drained => "drained",
            Self::DiskFull { .. } => "disk_full",
            Self::Journal(_) => "journal",
        }
    }
}

/// Why a job was not ended.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// There is none of that name.
    #[error("no job that is not settled is {0}; `rsqlflow-agent jobs` lists them")]
    Unknown(String),
    /// There is more than one.
    #[error("{name} is more than one job: {}", .ids.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The jobs' ids.
        ids: Vec<String>,
    },
    /// Its script has ended.
    #[error("the script of job {0} has ended; the job is being reported")]
    Ended(String),
}

/// The agent as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overview {
    pub drained: bool,
    pub running: usize,
    pub queued: usize,
    pub reporting: usize,
    pub free_bytes: u64,
}

enum Message {
    Submit {
        job: Box<StoredJob>,
        reply: oneshot::Sender<Result<Accepted, SubmitError>>,
    },
    Refused {
        addressee: Addressee,
        error: JobError,
        message: String,
    },
    Launch {
        job: Box<StoredJob>,
        recovered: bool,
    },
    Recover {
        jobs: Vec<StoredJob>,
    },
    TakenUp {
        job_id: String,
    },
    Started {
        job_id: String,
        attempt: u32,
        at: String,
    },
    Adopted {
        job: Waiting,
        attempt: u32,
        since: String,
    },
    Waits {
        job_id: String,
        what: String,
    },
    Acknowledged {
        job_id: String,
        entry: Entry,
    },
    Queue {
        job: Waiting,
        reply: oneshot::Sender<Result<(), UnknownPool>>,
    },
    AttemptEnded {
        job_id: String,
        attempt: u32,
        end: AttemptEnd,
    },
    Outcome {
        job_id: String,
        outcome: Outcome,
        reply: oneshot::Sender<Result<(), JournalError>>,
    },
    LogSending {
        job_id: String,
        attempt: u32,
        mark: LogMark,
        reply: oneshot::Sender<Result<(), JournalError>>,
    },
    LogShipped {
        job_id: String,
        attempt: u32,
        mark: LogMark,
    },
    Settled {
        job_id: String,
    },
    UsesSecret {
        secret_id: String,
        reply: oneshot::Sender<Vec<String>>,
    },
    Jobs {
        reply: oneshot::Sender<Vec<JobInfo>>,
    },
    Kill {
        job: String,
        reply: oneshot::Sender<Result<JobInfo, KillError>>,
    },
    Drain {
        drained: bool,
        reply: oneshot::Sender<std::io::Result<()>>,
    },
    Overview {
        reply: oneshot::Sender<Overview>,
    },
    Stop {
        how: Interrupt,
        reply: oneshot::Sender<()>,
    },
}

/// How to speak to the dispatcher.
#[derive(Clone)]
pub(crate) struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    journal: Journal,
}

/// The receiving end, to be given to [`run`].
pub(crate) struct Mailbox(mpsc::UnboundedReceiver<Message>);

/// A handle and its other end.
pub(crate) fn channel(journal: Journal) -> (Handle, Mailbox) {
    let (messages, mailbox) = mpsc::unbounded_channel();
    (Handle { messages, journal }, Mailbox(mailbox))
}

impl Handle {
    /// Takes a job: answers once it is on disk.
    pub(crate) async fn submit(
        &self,
        word: &str,
        ssm_command_id: Option<String>,
    ) -> Result<Accepted, SubmitError> {
        let request = JobRequest::decode(word).inspect_err(|error| {
            if let Some(addressee) = crate::salvage::addressee(word) {
                let message = error.to_string();
                self.tell(Message::Refused { addressee, error: JobError::InvalidRequest, message });
            }
        })?;
        let job = Box::new(StoredJob {
            job_id: job_id(&request.task_token),
            request,
            ssm_command_id,
            accepted_at: rsqlflow_config::time::now(),
            boot_id: boot_id(),
            attempts: Vec::new(),
            outcome: None,
            callback_done: false,
            audit_done: false,
            logs_done: false,
        });
        self.ask(|reply| Message::Submit { job, reply }).await.unwrap_or(Err(SubmitError::Stopping))
    }

    /// Takes up what an earlier process left. No job is given a place before each has said whether it has one.
    pub(crate) fn recover(&self, jobs: Vec<StoredJob>) {
        self.tell(Message::Recover { jobs });
    }

    /// The job has said where it goes on.
    pub(crate) fn taken_up(&self, job_id: &str) {
        self.tell(Message::TakenUp { job_id: job_id.into() });
    }

    fn launch(&self, job: StoredJob, recovered: bool) {
        self.tell(Message::Launch { job: Box::new(job), recovered });
    }

    pub(crate) fn started(&self, job_id: &str, attempt: u32, at: String) {
        self.tell(Message::Started { job_id: job_id.into(), attempt, at });
    }

    /// An attempt that an earlier process started, and did not come to note.
    pub(crate) fn note_started(&self, job_id: &str, attempt: u32, at: String) {
        self.journal.started(job_id, attempt, at);
    }

    /// The end of one.
    pub(crate) fn note_ended(&self, job_id: &str, attempt: u32, end: &AttemptEnd) {
        self.journal.attempt_ended(job_id, attempt, end);
    }

    /// An attempt that an earlier process started runs on, since then.
    pub(crate) fn adopted(&self, job: Waiting, attempt: u32, since: String) {
        self.tell(Message::Adopted { job, attempt, since });
    }

    /// What a job waits for in the state that it is in, for operators.
    pub(crate) fn waits(&self, job_id: &str, what: String) {
        self.tell(Message::Waits { job_id: job_id.into(), what });
    }

    /// Answers once the job may run. Its place is given back with the end of the attempt, or of the job.
    pub(crate) async fn place(&self, job: Waiting) -> Result<(), UnknownPool> {
        match self.ask(|reply| Message::Queue { job, reply }).await {
            Some(answer) => answer,
            // The agent stops, which the job hears of elsewhere.
            None => std::future::pending().await,
        }
    }

    pub(crate) async fn booted(&self, job_id: &str, boot_id: &str) -> Result<(), JournalError> {
        self.journal.booted(job_id, boot_id.into()).await
    }

    pub(crate) fn attempt_ended(&self, job_id: &str, attempt: u32, end: AttemptEnd) {
        self.tell(Message::AttemptEnded { job_id: job_id.into(), attempt, end });
    }

    /// Answers once the outcome is on disk.
    pub(crate) async fn outcome(&self, job_id: &str, outcome: &Outcome) -> Result<(), JournalError> {
        let (job_id, outcome) = (job_id.into(), outcome.clone());
        self.ask(|reply| Message::Outcome { job_id, outcome, reply })
            .await
            .unwrap_or(Err(JournalError::Closed))
    }

    /// Answers once the journal knows what is about to be sent.
    pub(crate) async fn log_sending(
        &self,
        job_id: &str,
        attempt: u32,
        mark: LogMark,
    ) -> Result<(), JournalError> {
        let job_id = job_id.into();
        self.ask(|reply| Message::LogSending { job_id, attempt, mark, reply })
            .await
            .unwrap_or(Err(JournalError::Closed))
    }

    pub(crate) fn log_shipped(&self, job_id: &str, attempt: u32, mark: LogMark) {
        self.tell(Message::LogShipped { job_id: job_id.into(), attempt, mark });
    }

    pub(crate) async fn acknowledged(&self, job_id: &str, entry: Entry) -> Result<(), JournalError> {
        self.journal.acknowledged(job_id, entry).await?;
        self.tell(Message::Acknowledged { job_id: job_id.into(), entry });
        Ok(())
    }

    /// Everybody was told everything.
    pub(crate) fn settled(&self, job_id: &str) {
        self.tell(Message::Settled { job_id: job_id.into() });
    }

    /// The agent stops; the next one goes on with the job.
    pub(crate) fn left(&self, job_id: &str) {
        self.settled(job_id);
    }

    /// Ends a job: its id, the beginning of its id, or RUN/JOB.
    pub(crate) async fn kill(&self, job: &str) -> Result<JobInfo, KillError> {
        let unknown = || KillError::Unknown(job.into());
        self.ask(|reply| Message::Kill { job: job.into(), reply }).await.unwrap_or_else(|| Err(unknown()))
    }

    /// Takes no jobs any more, or again. Answers once that is on disk.
    pub(crate) async fn drain(&self, drained: bool) -> std::io::Result<()> {
        let gone = || Err(std::io::Error::other("the agent is stopping"));
        self.ask(|reply| Message::Drain { drained, reply }).await.unwrap_or_else(gone)
    }

    pub(crate) async fn overview(&self) -> Option<Overview> {
        self.ask(|reply| Message::Overview { reply }).await
    }

    /// The jobs that were given the secret and may still ask for it.
    pub(crate) async fn uses_secret(&self, secret_id: &str) -> Vec<String> {
        let secret_id = secret_id.into();
        self.ask(|reply| Message::UsesSecret { secret_id, reply }).await.unwrap_or_default()
    }

    pub(crate) async fn jobs(&self) -> Vec<JobInfo> {
        self.ask(|reply| Message::Jobs { reply }).await.unwrap_or_default()
    }

    /// How many jobs there are, or nothing when the dispatcher has ended.
    pub(crate) async fn ping(&self) -> Option<usize> {
        self.overview().await.map(|overview| overview.running + overview.queued + overview.reporting)
    }

    /// Leaves or ends every script, reports what can be reported soon, and ends the dispatcher.
    pub(crate) async fn stop(&self, how: Interrupt) {
        let _stopped = self.ask(|reply| Message::Stop { how, reply }).await;
    }

    fn tell(&self, message: Message) {
        // Nobody listens any more when the agent is gone; the journal knows what matters.
        let _ = self.messages.send(message);
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.messages.send(message(reply)).ok()?;
        answer.await.ok()
    }
}

/// The same token is the same job. A digest, because tokens are secrets and ids are shown.
fn job_id(task_token: &str) -> String {
    Sha256::digest(task_token.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

struct Known {
    info: JobInfo,
    secret_id: String,
    /// Who has still to hear how it ended.
    untold: Vec<Entry>,
    interrupt: watch::Sender<Option<Interrupt>>,
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
            Message::LogSending { job_id, attempt, mark, reply } => {
                let journal = self.journal.clone();
                self.commits.spawn(async move {
                    let _ = reply.send(journal.log_sending(&job_id, attempt, mark).await);
                });
            }
            Message::LogShipped { job_id, attempt, mark } => {
                self.journal.log_shipped(&job_id, attempt, mark);
            }
            Message::Settled { job_id } => {
                self.known.remove(&job_id);
                self.recovering.remove(&job_id);
                self.give_back(&job_id);
                self.prune();
            }
            Message::UsesSecret { secret_id, reply } => {
                let uses = self
                    .known
                    .values()
                    .filter(|known| known.secret_id == secret_id && known.info.state != "reporting");
                let _ = reply.send(uses.map(|known| known.info.job_id.clone()).collect());
            }
            Message::Jobs { reply } => {
                let mut jobs: Vec<JobInfo> = self.known.values().map(|known| self.info(known)).collect();
                jobs.sort_by(|a, b| (&a.accepted_at, &a.job_id).cmp(&(&b.accepted_at, &b.job_id)));
                let _ = reply.send(jobs);
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
                    context.metrics.job_accepted();
                    context.dispatcher.launch(*job, false);
                    Ok(Accepted { job_id, duplicate: false })
                }
                Ok(false) => Ok(Accepted { job_id, duplicate: true }),
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
        let named = |known: &&Known| {
            let info = &known.info;
            (!job.is_empty() && info.job_id.starts_with(job))
                || job
                    .strip_prefix(info.workflow_execution_id.as_str())
                    .and_then(|rest| rest.strip_prefix('/'))
                    == Some(info.job_name.as_str())
        };
        let found: Vec<&Known> = self.known.values().filter(named).collect();
        match found.as_slice() {
            [] => Err(KillError::Unknown(job.into())),
            [known] if known.info.state == "reporting" => Err(KillError::Ended(known.info.job_id.clone())),
            [known] => {
                tracing::info!(job_id = known.info.job_id, "an operator ends the job");
                // Whoever came first says why.
                known.interrupt.send_if_modified(|interrupt| {
                    let first = interrupt.is_none();
                    interrupt.get_or_insert(Interrupt::Killed);
                    first
                });
                Ok(self.info(known))
            }
            several => Err(KillError::Ambiguous {
                name: job.into(),
                ids: several.iter().map(|known| known.info.job_id.clone()).collect(),
            }),
        }
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
        let known = Known { info, secret_id, untold, interrupt: interrupt.clone() };
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
