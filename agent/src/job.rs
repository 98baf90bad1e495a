//! One job from wherever it is to settled.
//!
//! The same path serves a job that was just accepted and one that an earlier process left behind: what is known of it
//! (attempts that started, how they ended, the outcome, who was told) says where it goes on. Its heart is the order of
//! things at the end: the outcome is on disk, then the callback, the audit record and the logs go out side by side,
//! each until it is accepted, none waiting for another. Heartbeats go on until the callback is through.

mod recovery;

use std::sync::Arc;
use std::time::Duration;

use rsqlflow_config::audit::{JobAudit, Status};
use rsqlflow_config::job::{JobError, JobRequest};
use rsqlflow_config::names;
use rsqlflow_supervisor::process::boot_id;
use rsqlflow_supervisor::run_file::{End, RunFile};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::attempt::{Attempt, Began, Found, NotStarted};
use crate::classify::Backoff;
use crate::context::Context;
use crate::interrupt::{Interrupt, Interrupts};
use crate::journal::{Entry, StoredAttempt, StoredJob};
use crate::logs::mark::LogMark;
use crate::logs::ship::Shipper;
use crate::outcome::{AttemptEnd, Outcome};
use crate::queue::Waiting;
use crate::{audit, callback};

/// Takes a job to its end. `recovered`: an earlier process of the agent accepted it.
pub(crate) async fn run(
    context: Arc<Context>,
    job: StoredJob,
    interrupt: watch::Sender<Option<Interrupt>>,
    recovered: bool,
) {
    let span = tracing::info_span!(
        "job",
        workflow_execution_id = job.request.workflow_execution_id,
        job_name = job.request.job_name
    );
    async move {
        if recovered {
            keep_file(&context, &job);
        }
        let mut heart = JoinSet::new();
        let interrupts = Interrupts { job: interrupt.subscribe(), stop: context.stop.clone() };
        // Nobody may wait any more for a request that was under way for long, or whose agent was away.
        let asks = recovered || came_late(&job);
        let (hear, heard) = watch::channel(false);
        if !job.callback_done {
            let told = callback::Told { interrupt, hear };
            let beat = callback::heartbeat(context.clients.sfn.clone(), job.request.clone(), told, asks);
            heart.spawn(beat.in_current_span());
        }
        Run {
            audit: watch::Sender::new(None),
            shippers: JoinSet::new(),
            writers: JoinSet::new(),
            shipped: watch::Sender::new(0),
            placed: false,
            heard: asks.then_some(heard),
            context,
            job,
        }
        .settle(interrupts, heart, recovered)
        .await;
    }
    .instrument(span)
    .await;
}

/// Writes the job's own file, where it is not there.
pub(crate) fn keep_file(context: &Context, job: &StoredJob) {
    if let Err(error) = crate::job_file::write(&context.job_dir(&job.job_id), job) {
        tracing::warn!(
            %error,
            job_id = job.job_id,
            "the job's file cannot be written; should the journal be lost, so is the job"
        );
    }
}

/// Whether the request was under way for so long that its task may have ended: a command that is delivered again, or
/// to a host that was away. Clocks that differ cost a heartbeat and nothing else.
fn came_late(job: &StoredJob) -> bool {
    let sent_at = job.request.sent_at.as_deref().and_then(rsqlflow_config::time::parse);
    let accepted_at = rsqlflow_config::time::parse(&job.accepted_at);
    sent_at.zip(accepted_at).is_some_and(|(sent, accepted)| (accepted - sent).num_seconds() > LATE_SECONDS)
}

/// Commands reach a host within a second or two.
const LATE_SECONDS: i64 = 30;

struct Run {
    context: Arc<Context>,
    job: StoredJob,
    audit: watch::Sender<Option<JobAudit>>,
    writers: JoinSet<()>,
    shippers: JoinSet<()>,
    /// Number of the last attempt that has ended: what it printed is all in its file.
    shipped: watch::Sender<u32>,
    /// Whether it has its place among the jobs that run.
    placed: bool,
    /// For a job of which that is not certain: true once Step Functions has said that it still waits for it.
    heard: Option<watch::Receiver<bool>>,
}

impl Run {
    async fn settle(mut self, mut interrupts: Interrupts, mut heart: JoinSet<()>, recovered: bool) {
        if !self.job.audit_done {
            let config = &self.context.config;
            let table = audit::Table {
                client: self.context.clients.dynamodb.clone(),
                name: config.job_audit_table.clone(),
                days: config.audit_days,
            };
            self.writers.spawn(audit::keep(table, self.audit.subscribe()).in_current_span());
        }
        if recovered {
            self.complete_attempts().await;
        }
        let outcome = match self.job.outcome.take() {
            Some(outcome) => {
                self.context.dispatcher.taken_up(&self.job.job_id);
                self.ship_what_was_left();
                outcome
            }
            None => {
                let Some(outcome) = self.execute(&mut interrupts, recovered).await else {
                    self.context.dispatcher.left(&self.job.job_id);
                    return;
                };
                self.make_durable(&outcome).await;
                outcome
            }
        };
        self.shipped.send_replace(u32::MAX);
        self.report(outcome, &mut heart).await;
    }

    /// Attempt after attempt, until one decides. `None` where the agent stops meanwhile: the next one goes on.
    async fn execute(&mut self, interrupts: &mut Interrupts, recovered: bool) -> Option<Outcome> {
        let mut found = if recovered { self.find().await } else { None };
        if recovered {
            self.context.dispatcher.taken_up(&self.job.job_id);
            self.ship_what_was_left();
        }
        loop {
            let last = self.last_attempt();
            let (number, end) = match found.take() {
                Some(Found::Running(attempt)) => (last, self.attend(attempt, last, interrupts).await?),
                Some(Found::Ended(end) | Found::Lost(end)) => (last, end),
                Some(Found::Never) => {
                    let why = "its supervisor ended before it could start the script";
                    let end = AttemptEnd::without_process(JobError::NotStarted, why);
                    return Some(Outcome { attempt: last, end });
                }
                None => {
                    if !self.job.attempts.is_empty() {
                        self.pause(interrupts).await;
                    }
                    if let Some(interrupt) = interrupts.now() {
                        return interrupt.end().map(|end| Outcome { attempt: last, end });
                    }
                    if let Err(end) = self.check() {
                        return Some(Outcome { attempt: last, end });
                    }
                    match self.place(interrupts).await {
                        Ok(true) => {}
                        Ok(false) => continue,
                        Err(end) => return Some(Outcome { attempt: last, end }),
                    }
                    match self.start(last + 1).await {
                        Ok(started) => found = Some(started),
                        Err(NotStarted::Never(end)) => return Some(Outcome { attempt: last, end }),
                        Err(NotStarted::NotYet(reason)) => {
                            tracing::error!(reason, "the script waits for room on the host");
                            self.waits(&format!("room on the host: {reason}"));
                            tokio::select! {
                                biased;
                                _ = interrupts.next() => {}
                                () = tokio::time::sleep(NO_ROOM_PAUSE) => {}
                            }
                        }
                    }
                    continue;
                }
            };
            self.shipped.send_replace(number);
            if let Some(attempt) = self.job.attempts.last_mut() {
                attempt.ended = Some(end.clone());
            }
            if !self.another_follows(number, &end) {
                return Some(Outcome { attempt: number, end });
            }
            tracing::info!(attempt = number, error = ?end.error, "the attempt failed; another will follow");
            self.context.dispatcher.attempt_ended(&self.job.job_id, number, end);
            self.placed = false;
        }
    }

    /// Whether the host's settings let the job start. They may have changed since it was accepted, and an earlier version
    /// of the agent may have accepted it by other rules.
    fn check(&self) -> Result<(), AttemptEnd> {
        let config = &self.context.config;
        self.job
            .request
            .check_parameters(&config.parameter_names)
            .map_err(|error| AttemptEnd::without_process(JobError::InvalidRequest, error.to_string()))?;
        let JobRequest { workflow_id, secret_id, .. } = &self.job.request;
        match config.secrets.problem(workflow_id, secret_id) {
            Some(problem) => Err(AttemptEnd::without_process(JobError::NotStarted, problem)),
            None => Ok(()),
        }
    }

    /// Waits until the job may run; false where it is interrupted.
    async fn place(&mut self, interrupts: &mut Interrupts) -> Result<bool, AttemptEnd> {
        if let Some(mut heard) = self.heard.take() {
            tracing::info!("asking whether the job is still waited for");
            self.waits("Step Functions to say that the job is still waited for");
            tokio::select! {
                biased;
                _ = interrupts.next() => return Ok(false),
                // Whoever would say so ends only with the job.
                _ = heard.wait_for(|heard| *heard) => {}
            }
        }
        if self.placed {
            return Ok(true);
        }
        // What the audit trail says of a job that waits for longer than a moment.
        if self.job.attempts.is_empty() {
            let last = self.last_attempt();
            let record = audit::record(&self.job, &self.context.config.instance_id, last, None);
            self.audit.send_replace(Some(JobAudit { execution_status: Status::Triggered, ..record }));
        }
        tokio::select! {
            biased;
            _ = interrupts.next() => Ok(false),
            placed = self.context.dispatcher.place(self.wanted()) => {
                placed.map_err(|unknown| {
                    AttemptEnd::without_process(JobError::InvalidRequest, unknown.to_string())
                })?;
                self.placed = true;
                Ok(true)
            }
        }
    }

    fn wanted(&self) -> Waiting {
        Waiting {
            job_id: self.job.job_id.clone(),
            run: self.job.request.workflow_execution_id.clone(),
            pool: self.job.request.pool.clone(),
            priority: self.job.request.priority,
        }
    }

    /// Starts an attempt; how it stands by then may be any of what is found.
    async fn start(&mut self, number: u32) -> Result<Found, NotStarted> {
        if self.job.boot_id != boot_id() {
            self.keep_for_this_boot().await;
        }
        let started_at = rsqlflow_config::time::now();
        // Scripts may be on a file system that is far away, and heartbeats must not wait for that.
        let (context, job) = (Arc::clone(&self.context), self.job.clone());
        let at = started_at.clone();
        let start = tokio::task::spawn_blocking(move || {
            // A disk that took no job's file when the job was accepted may take it now.
            keep_file(&context, &job);
            Attempt::start(&context, &job.job_id, &job.request, number, &at)
        });
        not_panicked(start.await).unwrap_or(Ok(()))?;
        let job_id = self.job.job_id.clone();
        let found = Attempt::adopt(&self.context, &job_id, &self.job.request, number, Began::Here).await;
        if matches!(found, Found::Never) {
            // It says nothing, and nobody would look for it.
            self.context.started.take_back(&job_id, number);
            let _ = std::fs::remove_file(self.context.run_path(&job_id, number));
            return Ok(found);
        }
        self.context.dispatcher.started(&job_id, number, started_at.clone());
        tracing::info!(attempt = number, "the script runs");
        self.push(number, started_at);
        self.record(number, None);
        self.ship(number, LogMark::default(), false);
        Ok(found)
    }

    /// Number of the last attempt, or of the last that another host may have made.
    fn last_attempt(&self) -> u32 {
        self.job.attempts.last().map_or(self.job.request.first_attempt - 1, |last| last.attempt)
    }

    fn push(&mut self, attempt: u32, started_at: String) {
        let log = LogMark::default();
        self.job.attempts.push(StoredAttempt { attempt, started_at, ended: None, log });
    }

    async fn attend(&self, attempt: Attempt, number: u32, interrupts: &mut Interrupts) -> Option<AttemptEnd> {
        attempt.finish(&self.context, &self.job.job_id, &self.job.request, number, interrupts).await
    }

    fn another_follows(&self, number: u32, end: &AttemptEnd) -> bool {
        let (Some(error), Some(retry)) = (end.error, &self.job.request.retry) else { return false };
        retry.covers(error) && number + 1 - self.job.request.first_attempt < retry.max_attempts
    }

    /// Waits for the time of the next attempt, which counts from the end of the last, or for an interrupt.
    async fn pause(&self, interrupts: &mut Interrupts) {
        let Some(retry) = &self.job.request.retry else { return };
        let ended = self.job.attempts.len();
        let factor = retry.backoff_rate.powi(i32::try_from(ended.saturating_sub(1)).unwrap_or(i32::MAX));
        let seconds = f64::from(retry.interval_seconds) * factor;
        // A year is longer than any execution may take.
        let pause =
            Duration::from_secs_f64(seconds.min(f64::from(rsqlflow_config::run::TIMEOUT_SECONDS_MAX)));
        let last = self.job.attempts.last().and_then(|last| last.ended.as_ref());
        let since = last.and_then(|end| rsqlflow_config::time::parse(&end.ended_at)).map(|ended_at| {
            // A clock that was set back makes nobody wait for longer.
            (chrono::Utc::now() - ended_at.to_utc()).to_std().unwrap_or_default()
        });
        let pause = pause.saturating_sub(since.unwrap_or_default());
        let at = chrono::Utc::now() + pause;
        self.waits(&format!("attempt {} at {}", ended + 1, at.format("%Y-%m-%dT%H:%M:%SZ")));
        tokio::select! {
            biased;
            _ = interrupts.next() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// What it waits for, where that is not the queue, for operators.
    fn waits(&self, what: &str) {
        self.context.dispatcher.waits(&self.job.job_id, what.into());
    }

    fn record(&self, attempt: u32, outcome: Option<&Outcome>) {
        let record = audit::record(&self.job, &self.context.config.instance_id, attempt, outcome);
        self.audit.send_replace(Some(record));
    }

    /// Ships what an attempt prints, and once it has ended the rest.
    fn ship(&mut self, attempt: u32, mark: LogMark, recovered: bool) {
        let request = &self.job.request;
        let shipper = Shipper {
            context: Arc::clone(&self.context),
            job_id: self.job.job_id.clone(),
            attempt,
            stream: names::log_stream(&request.workflow_execution_id, &request.job_name, attempt),
            path: self.context.log_path(&self.job.job_id, attempt),
            mark,
            task_token: request.task_token.clone(),
            secret_id: request.secret_id.clone(),
            recovered,
        };
        let (ended, end_seen) = watch::channel(false);
        let mut shipped = self.shipped.subscribe();
        self.shippers.spawn(
            async move {
                let tell = async {
                    if shipped.wait_for(|last| *last >= attempt).await.is_ok() {
                        ended.send_replace(true);
                        std::future::pending::<()>().await;
                    }
                    // The job is left to the next process, and with it the rest of its output.
                };
                tokio::select! {
                    () = shipper.run(end_seen) => {}
                    () = tell => {}
                }
            }
            .in_current_span(),
        );
    }

    /// Logs of attempts that an earlier process of the agent had not shipped to their end.
    fn ship_what_was_left(&mut self) {
        if self.job.logs_done {
            return;
        }
        let attempts: Vec<_> =
            self.job.attempts.iter().map(|attempt| (attempt.attempt, attempt.log)).collect();
        for (attempt, in_journal) in attempts {
            // An earlier version of the agent wrote it to the journal.
            let mark =
                LogMark::read(&self.context.mark_path(&self.job.job_id, attempt)).unwrap_or(in_journal);
            let length = std::fs::metadata(self.context.log_path(&self.job.job_id, attempt));
            // One that runs may be silent for now.
            let runs =
                self.job.attempts.last().is_some_and(|last| last.attempt == attempt && last.ended.is_none());
            if length.is_ok_and(|data| runs || !mark.covers(data.len())) {
                self.ship(attempt, mark, true);
            }
        }
    }

    /// Nobody is told before the outcome is on disk. Where the journal cannot be written, for instance because the disk
    /// is full, the supervisor's own record of the end will do once it is flushed: it can be read again.
    async fn make_durable(&self, outcome: &Outcome) {
        let (attempt, end) = (outcome.attempt, &outcome.end);
        let mut backoff = Backoff::default();
        while let Err(error) = self.context.dispatcher.outcome(&self.job.job_id, outcome).await {
            // The attempt's own end, and not that of an earlier one whose job was ended before the next began.
            let is_this = |own: &End| rsqlflow_config::time::of_millis(own.at_ms) == end.ended_at;
            let recorded = RunFile::open(&self.context.run_path(&self.job.job_id, attempt))
                .is_ok_and(|file| file.end().as_ref().is_some_and(is_this) && file.flush().is_ok());
            tracing::error!(%error, recorded, "the outcome cannot be written to the journal; trying again");
            if recorded {
                let (context, job_id, outcome) =
                    (Arc::clone(&self.context), self.job.job_id.clone(), outcome.clone());
                tokio::spawn(async move {
                    while context.dispatcher.outcome(&job_id, &outcome).await.is_err() {
                        backoff.pause().await;
                    }
                });
                break;
            }
            backoff.pause().await;
        }
        let error = end.error.map(JobError::as_str);
        tracing::info!(attempt, status = %outcome.status(), exit_code = end.exit_code, error, "the job ended");
        // Something of this host's, most likely, and no output of a script's.
        if end.error == Some(JobError::NotStarted) {
            tracing::warn!("{}", end.message);
        }
    }

    /// The outbox: three entries that know nothing of each other.
    async fn report(mut self, outcome: Outcome, heart: &mut JoinSet<()>) {
        let handle = self.context.dispatcher.clone();
        let job_id = self.job.job_id.clone();
        self.record(outcome.attempt, Some(&outcome));
        let callback = async {
            if !self.job.callback_done {
                let _waits = self.context.metrics.waits("callback");
                let answer = callback::report(&self.context.clients.sfn, &self.job.request, &outcome).await;
                self.context.metrics.callback(answer);
                heart.abort_all();
                note(&self.context, &job_id, Entry::Callback).await;
            }
        };
        let audit = async {
            if !self.job.audit_done {
                let _waits = self.context.metrics.waits("audit");
                all_done(&mut self.writers).await;
                note(&self.context, &job_id, Entry::Audit).await;
            }
        };
        let logs = async {
            if !self.job.logs_done {
                let _waits = self.context.metrics.waits("logs");
                all_done(&mut self.shippers).await;
                note(&self.context, &job_id, Entry::Logs).await;
            }
        };
        tokio::join!(callback, audit, logs);
        crate::job_file::forget(&self.context.job_dir(&job_id));
        self.context.started.forget(&job_id, self.job.request.first_attempt);
        handle.settled(&job_id);
    }
}

/// How long a script that may start waits for room on the host before it is tried again.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(2);

/// Waits for tasks of the job. One that panicked takes the job's own task with it, which is then taken up again.
async fn all_done(tasks: &mut JoinSet<()>) {
    while let Some(done) = tasks.join_next().await {
        not_panicked(done);
    }
}

/// What a task answered; nothing where it was cut off with the agent.
fn not_panicked<T>(done: Result<T, tokio::task::JoinError>) -> Option<T> {
    done.map_err(|error| {
        if let Ok(panic) = error.try_into_panic() {
            std::panic::resume_unwind(panic);
        }
    })
    .ok()
}

/// Notes that an entry of the outbox was delivered, however long the journal takes.
async fn note(context: &Context, job_id: &str, entry: Entry) {
    let mut backoff = Backoff::default();
    while let Err(error) = context.dispatcher.acknowledged(job_id, entry).await {
        if backoff.worth_telling() {
            tracing::warn!(%error, ?entry, "the journal cannot be written; trying again");
        }
        backoff.pause().await;
    }
}
