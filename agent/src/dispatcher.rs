//! The one owner of the truth about jobs.
//!
//! An actor: it alone writes the journal and knows which jobs there are; everyone else (the socket, the jobs' own
//! tasks, whoever embeds the agent) sends it messages. It never waits for a disk or a network, so it always answers.
//! What happens at its start, taking up every job the journal has not settled, is what happens after every restart,
//! crash or reboot; there is no other recovery.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsqlflow_config::job::{JobRequest, RequestError};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::context::Context;
use crate::journal::{Entry, Journal, JournalError, StoredJob};
use crate::logs::mark::LogMark;
use crate::outcome::{AttemptEnd, Outcome};
use crate::process::ProcessMark;
use crate::protocol::{Accepted, JobInfo};
use crate::salvage::Addressee;

/// When the agent stops, scripts are ended first; then their reports have so long.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// How often settled jobs that are old enough are forgotten; only ever when a job is settled.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

/// Why a job was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It is not a job request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The agent is about to end.
    #[error("the agent is stopping; send the command again")]
    Stopping,
    /// The disk.
    #[error("the job cannot be written to the journal")]
    Journal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

enum Message {
    Submit {
        job: Box<StoredJob>,
        reply: oneshot::Sender<Result<Accepted, SubmitError>>,
    },
    Refused {
        addressee: Addressee,
        message: String,
    },
    Launch {
        job: Box<StoredJob>,
        recovered: bool,
    },
    Started {
        job_id: String,
        attempt: u32,
        process: ProcessMark,
        at: String,
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
    Acknowledged {
        job_id: String,
        entry: Entry,
    },
    Settled {
        job_id: String,
    },
    UsesSecret {
        secret_id: String,
        reply: oneshot::Sender<bool>,
    },
    Jobs {
        reply: oneshot::Sender<Vec<JobInfo>>,
    },
    Stop {
        reply: oneshot::Sender<()>,
    },
}

/// How to speak to the dispatcher.
#[derive(Clone)]
pub(crate) struct Handle {
    messages: mpsc::UnboundedSender<Message>,
}

/// The receiving end, to be given to [`run`].
pub(crate) struct Mailbox(mpsc::UnboundedReceiver<Message>);

/// A handle and its other end.
pub(crate) fn channel() -> (Handle, Mailbox) {
    let (messages, mailbox) = mpsc::unbounded_channel();
    (Handle { messages }, Mailbox(mailbox))
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
                self.tell(Message::Refused { addressee, message: error.to_string() });
            }
        })?;
        let job = Box::new(StoredJob {
            job_id: job_id(&request.task_token),
            request,
            ssm_command_id,
            accepted_at: rsqlflow_config::time::now(),
            boot_id: crate::process::boot_id(),
            attempts: Vec::new(),
            outcome: None,
            callback_done: false,
            audit_done: false,
            logs_done: false,
        });
        self.ask(|reply| Message::Submit { job, reply }).await.unwrap_or(Err(SubmitError::Stopping))
    }

    pub(crate) fn launch(&self, job: StoredJob, recovered: bool) {
        self.tell(Message::Launch { job: Box::new(job), recovered });
    }

    pub(crate) fn started(&self, job_id: &str, attempt: u32, process: ProcessMark, at: String) {
        self.tell(Message::Started { job_id: job_id.into(), attempt, process, at });
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
    #[expect(dead_code, reason = "the shipper does not say yet what it is about to send")]
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

    pub(crate) fn acknowledged(&self, job_id: &str, entry: Entry) {
        self.tell(Message::Acknowledged { job_id: job_id.into(), entry });
    }

    /// The job's task has ended: all is told, or the rest is left to the next start.
    pub(crate) fn settled(&self, job_id: &str) {
        self.tell(Message::Settled { job_id: job_id.into() });
    }

    /// Whether a job that may still ask was given the secret.
    pub(crate) async fn uses_secret(&self, secret_id: &str) -> bool {
        let secret_id = secret_id.into();
        self.ask(|reply| Message::UsesSecret { secret_id, reply }).await.unwrap_or(false)
    }

    pub(crate) async fn jobs(&self) -> Vec<JobInfo> {
        self.ask(|reply| Message::Jobs { reply }).await.unwrap_or_default()
    }

    /// How many jobs there are, or nothing when the dispatcher has ended.
    pub(crate) async fn ping(&self) -> Option<usize> {
        self.ask(|reply| Message::Jobs { reply }).await.map(|jobs| jobs.len())
    }

    /// Ends every script, reports what can be reported soon, and ends the dispatcher.
    pub(crate) async fn stop(&self) {
        let _stopped = self.ask(|reply| Message::Stop { reply }).await;
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
}

struct Dispatcher {
    context: Arc<Context>,
    journal: Journal,
    known: HashMap<String, Known>,
    /// The jobs' own tasks.
    jobs: JoinSet<()>,
    /// Commits on their way.
    commits: JoinSet<()>,
    stopping: watch::Sender<bool>,
    pruned: Option<Instant>,
}

/// Runs the dispatcher until it is told to stop.
pub(crate) async fn run(
    context: Arc<Context>,
    journal: Journal,
    mailbox: Mailbox,
    stopping: watch::Sender<bool>,
) {
    let mut mailbox = mailbox.0;
    let mut dispatcher = Dispatcher {
        context,
        journal,
        known: HashMap::new(),
        jobs: JoinSet::new(),
        commits: JoinSet::new(),
        stopping,
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
            Some(done) = dispatcher.commits.join_next() => dispatcher.look(done),
            Some(done) = dispatcher.jobs.join_next() => dispatcher.look(done),
            message = mailbox.recv() => match message {
                Some(Message::Stop { reply }) => {
                    dispatcher.stopping.send_replace(true);
                    let runs = dispatcher.known.values().any(|job| job.info.state != "reporting");
                    let grace = if runs { dispatcher.context.config.grace } else { Duration::ZERO };
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

impl Dispatcher {
    /// Tasks end by themselves; one that panicked leaves its job to the next start.
    #[expect(clippy::unused_self, reason = "reads as the dispatcher's own act")]
    fn look(&self, done: Result<(), tokio::task::JoinError>) {
        if let Err(error) = done
            && error.is_panic()
        {
            tracing::error!(%error, "a task failed; its job is taken up again at the next start");
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Submit { job, reply } => self.submit(job, reply),
            Message::Refused { addressee, message } => {
                let client = self.context.clients.sfn.clone();
                self.jobs.spawn(async move { crate::callback::refuse(&client, &addressee, message).await });
            }
            Message::Launch { job, recovered } => self.launch(*job, recovered),
            Message::Started { job_id, attempt, process, at } => {
                if let Some(known) = self.known.get_mut(&job_id) {
                    known.info.attempt = attempt;
                    known.info.pid = Some(process.pid);
                    known.info.state = "running".into();
                }
                self.journal.started(&job_id, attempt, process, at);
            }
            Message::AttemptEnded { job_id, attempt, end } => {
                if let Some(known) = self.known.get_mut(&job_id) {
                    known.info.pid = None;
                    known.info.state = "waiting".into();
                }
                self.journal.attempt_ended(&job_id, attempt, &end);
            }
            Message::Outcome { job_id, outcome, reply } => {
                if let Some(known) = self.known.get_mut(&job_id) {
                    known.info.pid = None;
                    known.info.state = "reporting".into();
                }
                let journal = self.journal.clone();
                self.commits.spawn(async move {
                    // Whoever waits for it may have been ended with the agent.
                    let _ = reply.send(journal.outcome(&job_id, &outcome).await);
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
            Message::Acknowledged { job_id, entry } => self.journal.acknowledged(&job_id, entry),
            Message::Settled { job_id } => {
                self.known.remove(&job_id);
                self.prune();
            }
            Message::UsesSecret { secret_id, reply } => {
                let uses = self
                    .known
                    .values()
                    .any(|known| known.secret_id == secret_id && known.info.state != "reporting");
                let _ = reply.send(uses);
            }
            Message::Jobs { reply } => {
                let mut jobs: Vec<JobInfo> = self.known.values().map(|known| known.info.clone()).collect();
                jobs.sort_by(|a, b| (&a.accepted_at, &a.job_id).cmp(&(&b.accepted_at, &b.job_id)));
                let _ = reply.send(jobs);
            }
            // Taken by the loop.
            Message::Stop { .. } => {}
        }
    }

    fn submit(&mut self, job: Box<StoredJob>, reply: oneshot::Sender<Result<Accepted, SubmitError>>) {
        if *self.stopping.borrow() {
            let _ = reply.send(Err(SubmitError::Stopping));
            return;
        }
        let (journal, handle) = (self.journal.clone(), self.context.dispatcher.clone());
        self.commits.spawn(async move {
            let job_id = job.job_id.clone();
            let answer = match journal.accept(&job).await {
                Ok(true) => {
                    handle.launch(*job, false);
                    Ok(Accepted { job_id, duplicate: false })
                }
                Ok(false) => Ok(Accepted { job_id, duplicate: true }),
                Err(error) => Err(SubmitError::Journal(Box::new(error))),
            };
            let _ = reply.send(answer);
        });
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
            state: if job.outcome.is_some() { "reporting" } else { "accepted" }.into(),
        };
        let secret_id = job.request.secret_id.clone();
        self.known.insert(job.job_id.clone(), Known { info, secret_id });
        self.jobs.spawn(crate::job::run(Arc::clone(&self.context), job, recovered));
    }

    /// Forgets what is old, and its files.
    fn prune(&mut self) {
        if self.pruned.is_some_and(|at| at.elapsed() < PRUNE_EVERY) {
            return;
        }
        self.pruned = Some(Instant::now());
        let (journal, context) = (self.journal.clone(), Arc::clone(&self.context));
        self.commits.spawn(async move {
            let before = chrono::Utc::now() - context.config.log_retention;
            match journal.prune(rsqlflow_config::time::format(before)).await {
                Ok(gone) => {
                    for job_id in gone {
                        // Attempts are numbered without gaps.
                        (1..)
                            .take_while(|n| std::fs::remove_file(context.log_path(&job_id, *n)).is_ok())
                            .count();
                    }
                }
                Err(error) => tracing::warn!(%error, "old jobs could not be forgotten"),
            }
        });
    }
}
