//! How everyone speaks to the dispatcher: its messages, the handle that sends them, and its refusals.

use std::sync::Arc;

use rsqlflow_config::job::{JobError, JobRequest, RequestError};
use rsqlflow_config::names::ParameterNames;
use rsqlflow_supervisor::process::boot_id;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::asker::Asker;
use crate::interrupt::Interrupt;
use crate::journal::{Entry, Journal, JournalError, StoredJob};
use crate::outcome::{AttemptEnd, Outcome};
use crate::protocol::{Accepted, JobInfo};
use crate::queue::{UnknownPool, Waiting};
use crate::salvage::Addressee;

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
    /// There is none of that id.
    #[error("no job that is not settled is {0}; `rsqlflow-agent jobs` lists them")]
    Unknown(String),
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

pub(super) enum Message {
    Submit { job: Box<StoredJob>, reply: oneshot::Sender<Result<Accepted, SubmitError>> },
    Refused { addressee: Addressee, error: JobError, message: String },
    Launch { job: Box<StoredJob>, recovered: bool },
    Recover { jobs: Vec<StoredJob> },
    TakenUp { job_id: String },
    Started { job_id: String, attempt: u32, at: String },
    Adopted { job: Waiting, attempt: u32, since: String },
    Waits { job_id: String, what: String },
    Acknowledged { job_id: String, entry: Entry },
    Queue { job: Waiting, reply: oneshot::Sender<Result<(), UnknownPool>> },
    AttemptEnded { job_id: String, attempt: u32, end: AttemptEnd },
    Outcome { job_id: String, outcome: Outcome, reply: oneshot::Sender<Result<(), JournalError>> },
    Settled { job_id: String },
    Askers { reply: oneshot::Sender<Option<Vec<Asker>>> },
    Jobs { reply: oneshot::Sender<Option<Vec<JobInfo>>> },
    Kill { job: String, reply: oneshot::Sender<Result<JobInfo, KillError>> },
    Drain { drained: bool, reply: oneshot::Sender<std::io::Result<()>> },
    Overview { reply: oneshot::Sender<Overview> },
    Stop { how: Interrupt, reply: oneshot::Sender<()> },
}

/// How to speak to the dispatcher.
#[derive(Clone)]
pub(crate) struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    journal: Journal,
    parameter_names: Arc<ParameterNames>,
}

/// The receiving end, to be given to [`run`].
pub(crate) struct Mailbox(pub(super) mpsc::UnboundedReceiver<Message>);

/// A handle and its other end.
pub(crate) fn channel(journal: Journal, parameter_names: ParameterNames) -> (Handle, Mailbox) {
    let (messages, mailbox) = mpsc::unbounded_channel();
    (Handle { messages, journal, parameter_names: Arc::new(parameter_names) }, Mailbox(mailbox))
}

impl Handle {
    /// Takes a job: answers once it is on disk.
    pub(crate) async fn submit(
        &self,
        word: &str,
        ssm_command_id: Option<String>,
    ) -> Result<Accepted, SubmitError> {
        let request = JobRequest::decode(word, &self.parameter_names).inspect_err(|error| {
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

    /// Tells a task that its job cannot be taken up.
    pub(crate) fn refuse(&self, addressee: Addressee, error: JobError, message: String) {
        self.tell(Message::Refused { addressee, error, message });
    }

    /// The job has said where it goes on.
    pub(crate) fn taken_up(&self, job_id: &str) {
        self.tell(Message::TakenUp { job_id: job_id.into() });
    }

    pub(super) fn launch(&self, job: StoredJob, recovered: bool) {
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

    /// Ends a job, by its id.
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

    /// The jobs whose scripts may ask for something; nothing where the agent stops, and the next one is to be asked.
    pub(crate) async fn askers(&self) -> Option<Vec<Asker>> {
        self.ask(|reply| Message::Askers { reply }).await.flatten()
    }

    /// The jobs that are not settled; nothing where the agent stops, and the next one is to be asked.
    pub(crate) async fn jobs(&self) -> Option<Vec<JobInfo>> {
        self.ask(|reply| Message::Jobs { reply }).await.flatten()
    }

    /// How many jobs there are, or nothing when the dispatcher has ended.
    pub(crate) async fn ping(&self) -> Option<usize> {
        self.overview().await.map(|overview| overview.running + overview.queued + overview.reporting)
    }

    /// Leaves or ends every script, reports what can be reported soon, and ends the dispatcher.
    pub(crate) async fn stop(&self, how: Interrupt) {
        let _stopped = self.ask(|reply| Message::Stop { how, reply }).await;
    }

    pub(super) fn tell(&self, message: Message) {
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
pub(crate) fn job_id(task_token: &str) -> String {
    Sha256::digest(task_token.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
