//! One job from wherever it is to settled.
//!
//! The same path serves a job that was just accepted and one that an earlier process left behind: what is known of it
//! (attempts that started, how they ended, the outcome, who was told) says where it goes on. Its heart is the order of
//! things at the end: the outcome is on disk, then the callback, the audit record and the logs go out side by side,
//! each until it is accepted, none waiting for another. Heartbeats go on until the callback is through.

use std::sync::Arc;
use std::time::Duration;

use rsqlflow_config::audit::JobAudit;
use rsqlflow_config::job::JobError;
use rsqlflow_config::names;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::attempt::{Attempt, Interrupt, Interrupts};
use crate::classify::Backoff;
use crate::context::Context;
use crate::journal::{Entry, StoredAttempt, StoredJob};
use crate::logs::mark::LogMark;
use crate::logs::ship::Shipper;
use crate::outcome::{AttemptEnd, Outcome};
use crate::process::Tree;
use crate::{audit, callback};

/// Takes a job to its end. `recovered`: an earlier process of the agent accepted it.
pub(crate) async fn run(context: Arc<Context>, job: StoredJob, recovered: bool) {
    let span = tracing::info_span!(
        "job",
        workflow_execution_id = job.request.workflow_execution_id,
        job_name = job.request.job_name
    );
    async move {
        let (gone_sender, gone) = watch::channel(false);
        let mut heart = JoinSet::new();
        if !job.callback_done {
            let beat =
                callback::heartbeat(context.clients.sfn.clone(), job.request.clone(), gone_sender, recovered);
            heart.spawn(beat.in_current_span());
        }
        let interrupts = Interrupts { gone, stopping: context.stopping.clone() };
        Run {
            audit: watch::Sender::new(None),
            shippers: JoinSet::new(),
            writers: JoinSet::new(),
            context,
            job,
        }
        .settle(interrupts, heart, recovered)
        .await;
    }
    .instrument(span)
    .await;
}

struct Run {
    context: Arc<Context>,
    job: StoredJob,
    audit: watch::Sender<Option<JobAudit>>,
    writers: JoinSet<()>,
    shippers: JoinSet<()>,
}

impl Run {
    async fn settle(mut self, mut interrupts: Interrupts, mut heart: JoinSet<()>, recovered: bool) {
        if !self.job.audit_done {
            let (client, table) =
                (self.context.clients.dynamodb.clone(), self.context.config.job_audit_table.clone());
            self.writers.spawn(audit::keep(client, table, self.audit.subscribe()).in_current_span());
        }
        if recovered && !self.job.logs_done {
            self.ship_what_was_left().await;
        }
        let outcome = match self.job.outcome.take() {
            Some(outcome) => outcome,
            None => {
                let Some(outcome) = self.execute(&mut interrupts, recovered).await else {
                    self.context.dispatcher.settled(&self.job.job_id);
                    return;
                };
                self.make_durable(&outcome).await;
                outcome
            }
        };
        self.report(outcome, &mut heart).await;
    }

    /// Attempt after attempt, until one decides. `None` where the agent stops between two: the next start goes on.
    async fn execute(&mut self, interrupts: &mut Interrupts, recovered: bool) -> Option<Outcome> {
        if recovered && let Some(outcome) = self.take_over().await {
            return Some(outcome);
        }
        loop {
            let last = self.job.attempts.last().map_or(0, |last| last.attempt);
            if last > 0 {
                self.pause(interrupts).await;
            }
            match interrupts.now() {
                Some(Interrupt::Gone) => return Some(Outcome { attempt: last, end: Interrupt::Gone.end() }),
                Some(Interrupt::Stopping) => return None,
                None => {}
            }
            let number = last + 1;
            let running = match Attempt::start(&self.context, &self.job.job_id, &self.job.request, number) {
                Ok(running) => running,
                Err(end) => return Some(Outcome { attempt: last, end }),
            };
            let started_at = rsqlflow_config::time::now();
            self.context.dispatcher.started(
                &self.job.job_id,
                number,
                running.process.clone(),
                started_at.clone(),
            );
            tracing::info!(attempt = number, pid = running.process.pid, "the script runs");
            self.job.attempts.push(StoredAttempt {
                attempt: number,
                process: running.process.clone(),
                started_at,
                ended: None,
                log: LogMark::default(),
            });
            self.record(number, None);
            let (ended, end_seen) = watch::channel(false);
            self.ship(number, LogMark::default(), end_seen, false);
            let end = running.finish(&self.context, &self.job.request, interrupts).await;
            ended.send_replace(true);
            if let Some(attempt) = self.job.attempts.last_mut() {
                attempt.ended = Some(end.clone());
            }
            if !self.another_follows(number, &end) {
                return Some(Outcome { attempt: number, end });
            }
            tracing::info!(attempt = number, error = ?end.error, "the attempt failed; another will follow");
            self.context.dispatcher.attempt_ended(&self.job.job_id, number, end);
        }
    }

    /// What becomes of an attempt that an earlier process of the agent started. Today it is ended: nobody saw how it
    /// ended, or would. (The place where a supervisor that outlived the agent is asked instead.)
    async fn take_over(&mut self) -> Option<Outcome> {
        let last = self.job.attempts.last();
        let (number, group) = match last {
            Some(last) => match &last.ended {
                // Its end is known: it decided, or another attempt follows it.
                Some(end) if !self.another_follows(last.attempt, end) => {
                    return Some(Outcome { attempt: last.attempt, end: end.clone() });
                }
                Some(_) => (last.attempt + 1, None),
                None => (last.attempt, last.process.exists().then_some(last.process.pid)),
            },
            None => (1, None),
        };
        // An attempt that the journal does not know has begun all the same where its log is there: the note of its
        // start is written behind it. After a reboot neither may have reached the disk, so nothing that was accepted
        // before it runs: a script that does not run is seen, one that runs twice is not.
        let known = last.is_some_and(|last| last.attempt == number);
        let rebooted = self.job.boot_id != crate::process::boot_id();
        if !known && !rebooted && !self.context.log_path(&self.job.job_id, number).exists() {
            return None;
        }
        let tree = Tree { group, job_id: self.job.job_id.clone() };
        let ended = tree.end(self.context.config.grace).await;
        let why = if rebooted {
            "the host was started anew since the job was accepted; whether and how its script ended is not known"
        } else {
            "the agent restarted while the script ran; how it would have ended is not known"
        };
        tracing::warn!(?ended, why);
        let end = AttemptEnd::without_process(JobError::HostLost, why);
        Some(Outcome { attempt: number, end })
    }

    fn another_follows(&self, number: u32, end: &AttemptEnd) -> bool {
        let (Some(error), Some(retry)) = (end.error, &self.job.request.retry) else { return false };
        retry.covers(error) && number < retry.max_attempts
    }

    /// Waits for the time of the next attempt, or for an interrupt.
    async fn pause(&self, interrupts: &mut Interrupts) {
        let Some(retry) = &self.job.request.retry else { return };
        let ended = self.job.attempts.len();
        let factor = retry.backoff_rate.powi(i32::try_from(ended.saturating_sub(1)).unwrap_or(i32::MAX));
        let seconds = f64::from(retry.interval_seconds) * factor;
        // A year is longer than any execution may take.
        let pause =
            Duration::from_secs_f64(seconds.min(f64::from(rsqlflow_config::run::TIMEOUT_SECONDS_MAX)));
        tokio::select! {
            biased;
            _ = interrupts.next() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn record(&self, attempt: u32, outcome: Option<&Outcome>) {
        let record = audit::record(&self.job, &self.context.config.instance_id, attempt, outcome);
        self.audit.send_replace(Some(record));
    }

    fn ship(&mut self, attempt: u32, mark: LogMark, ended: watch::Receiver<bool>, recovered: bool) {
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
            created: mark.position > 0,
        };
        // Where an earlier process began the attempt it knew the password that must not be shown, and this one has to
        // ask for it; nothing but the shipping waits for that.
        let context = Arc::clone(&self.context);
        let secret = recovered.then(|| request.secret_id.clone());
        self.shippers.spawn(
            async move {
                if let Some(secret) = secret {
                    context.secrets.warm(&secret).await;
                }
                shipper.run(ended).await;
            }
            .in_current_span(),
        );
    }

    /// Logs of attempts that an earlier process of the agent had not shipped to their end.
    async fn ship_what_was_left(&mut self) {
        let mut left = Vec::new();
        for attempt in &self.job.attempts {
            let path = self.context.log_path(&self.job.job_id, attempt.attempt);
            if std::fs::metadata(path).is_ok_and(|data| !attempt.log.covers(data.len())) {
                left.push((attempt.attempt, attempt.log, attempt.ended.is_some()));
            }
        }
        if left.is_empty() {
            return;
        }
        for (attempt, mark, _ended) in left {
            // The script of an attempt without an end is ended before anything else happens, see `take_over`: what
            // it still prints until then is in the file, which is why the last look comes with the outcome.
            let (ended, end_seen) = watch::channel(false);
            self.ship(attempt, mark, end_seen, true);
            self.shippers.spawn({
                let mut recorded = self.audit.subscribe();
                let known = self.job.outcome.is_some();
                async move {
                    if !known {
                        let _outcome = recorded
                            .wait_for(|record| {
                                record.as_ref().is_some_and(|record| record.execution_status.is_final())
                            })
                            .await;
                    }
                    ended.send_replace(true);
                    ended.closed().await;
                }
            });
        }
    }

    /// Nobody is told before the outcome is on disk, so a disk that is full is waited for.
    async fn make_durable(&self, outcome: &Outcome) {
        let mut backoff = Backoff::default();
        while let Err(error) = self.context.dispatcher.outcome(&self.job.job_id, outcome).await {
            tracing::error!(%error, "the outcome cannot be written to the journal; trying again");
            backoff.pause().await;
        }
        let (attempt, end) = (outcome.attempt, &outcome.end);
        tracing::info!(attempt, status = %outcome.status(), exit_code = end.exit_code, "the job ended");
    }

    /// The outbox: three entries that know nothing of each other.
    async fn report(mut self, outcome: Outcome, heart: &mut JoinSet<()>) {
        let (handle, job_id) = (self.context.dispatcher.clone(), self.job.job_id.clone());
        self.record(outcome.attempt, Some(&outcome));
        let callback = async {
            if !self.job.callback_done {
                let answer = callback::report(&self.context.clients.sfn, &self.job.request, &outcome).await;
                self.context.metrics.callback(answer);
                heart.abort_all();
                handle.acknowledged(&job_id, Entry::Callback);
            }
        };
        let audit = async {
            if !self.job.audit_done {
                while self.writers.join_next().await.is_some() {}
                handle.acknowledged(&job_id, Entry::Audit);
            }
        };
        let logs = async {
            if !self.job.logs_done {
                while self.shippers.join_next().await.is_some() {}
                handle.acknowledged(&job_id, Entry::Logs);
            }
        };
        tokio::join!(callback, audit, logs);
        handle.settled(&job_id);
    }
}
