//! Where a job goes on that an earlier process of the agent had accepted.
//!
//! The journal is not enough: notes are lost with a process that is killed, or on a full disk. What an attempt's run file
//! says is certain, because it is there before the attempt starts, and so the run files decide. Where one is gone although
//! its attempt was started in this boot, its file system has failed: what runs of the attempt is ended, and the job is
//! lost. A script that runs twice is worse than one that does not run.

use rsqlflow_config::job::JobError;
use rsqlflow_supervisor::process::boot_id;

use super::Run;
use crate::attempt::{Attempt, Began, Found, end_unfiled, run_file};
use crate::classify::Backoff;
use crate::journal::StoredAttempt;
use crate::outcome::AttemptEnd;

const REBOOTED: &str =
    "the host was started anew since the job was accepted; whether and how its script ended is not known";

const RUN_FILE_GONE: &str = "the run file of its attempt is gone, as after a fault of the disk; whether and how its script ended is not known";

impl Run {
    /// Notes of attempts are lost with a process that is killed, or on a full disk. Their run files are there before they
    /// start, so these say which attempts there were and how all but the last of them ended.
    pub(super) async fn complete_attempts(&mut self) {
        let job_id = self.job.job_id.clone();
        for number in self.job.request.first_attempt.. {
            if self.job.attempts.iter().any(|attempt| attempt.attempt == number) {
                continue;
            }
            let file = run_file(&self.context, &job_id, number).await;
            let file =
                file.filter(|file| file.is_supervised() || file.mark().is_some() || file.end().is_some());
            let Some(file) = file else {
                if number > self.last_attempt() {
                    break;
                }
                continue;
            };
            let started_at =
                file.spec().map_or_else(|_| self.job.accepted_at.clone(), |spec| spec.started_at);
            self.context.dispatcher.note_started(&job_id, number, started_at.clone());
            self.push(number, started_at);
            self.job.attempts.sort_by_key(|attempt| attempt.attempt);
        }
        let earlier = self.job.attempts.len().saturating_sub(1);
        for attempt in &mut self.job.attempts[..earlier] {
            if attempt.ended.is_some() {
                continue;
            }
            let request = &self.job.request;
            let found =
                Attempt::adopt(&self.context, &job_id, request, attempt.attempt, Began::Earlier).await;
            if let Found::Ended(end) | Found::Lost(end) = found {
                self.context.dispatcher.note_ended(&job_id, attempt.attempt, &end);
                attempt.ended = Some(end);
            }
        }
    }

    /// What an earlier process of the agent left of the last attempt, if there was one.
    pub(super) async fn find(&mut self) -> Option<Found> {
        let found = self.find_last().await;
        // After a reboot neither file nor note of another attempt may have reached the disk, so none that may have been
        // started before it counts as not started: a script that does not run is seen, one that runs twice is not.
        let last = self.last_attempt();
        let another_may_have_run = match &found {
            None | Some(Found::Never) => true,
            Some(Found::Ended(end)) => self.another_follows(last, end),
            Some(Found::Running(_) | Found::Lost(_)) => false,
        };
        if another_may_have_run && self.job.boot_id == boot_id() && self.started_without_file(last + 1) {
            let unfiled = (last + 1..).take_while(|number| self.started_without_file(*number)).last();
            let number = unfiled.unwrap_or(last + 1);
            let end = end_unfiled(&self.context, &self.job.job_id, number, RUN_FILE_GONE).await;
            self.push(number, self.job.accepted_at.clone());
            return Some(Found::Lost(end));
        }
        if self.job.boot_id == boot_id() || !another_may_have_run {
            return found.filter(|found| !matches!(found, Found::Never));
        }
        self.push(last + 1, self.job.accepted_at.clone());
        Some(Found::Lost(AttemptEnd::without_process(JobError::HostLost, REBOOTED)))
    }

    async fn find_last(&mut self) -> Option<Found> {
        let (number, started_at) = match self.job.attempts.last()? {
            StoredAttempt { ended: Some(end), .. } => return Some(Found::Ended(end.clone())),
            last => (last.attempt, last.started_at.clone()),
        };
        let (job_id, request) = (&self.job.job_id, &self.job.request);
        match Attempt::adopt(&self.context, job_id, request, number, Began::Earlier).await {
            Found::Never if self.context.run_path(job_id, number).exists() => {
                // Its supervisor ended before it began.
                self.job.attempts.pop();
                None
            }
            Found::Never if self.job.boot_id == boot_id() => {
                Some(Found::Lost(end_unfiled(&self.context, job_id, number, RUN_FILE_GONE).await))
            }
            Found::Never => Some(Found::Lost(AttemptEnd::without_process(JobError::HostLost, REBOOTED))),
            Found::Running(attempt) => {
                tracing::info!(attempt = number, "the script goes on under its supervisor");
                self.context.dispatcher.adopted(self.wanted(), number, started_at);
                self.placed = true;
                self.record(number, None);
                Some(Found::Running(attempt))
            }
            found => Some(found),
        }
    }

    /// Whether an attempt was started in this boot, and nothing on the disk says so.
    fn started_without_file(&self, attempt: u32) -> bool {
        let job_id = &self.job.job_id;
        self.context.started.has(job_id, attempt) && !self.context.run_path(job_id, attempt).exists()
    }

    /// Further attempts belong to this boot of the host.
    pub(super) async fn keep_for_this_boot(&mut self) {
        let boot_id = boot_id();
        let mut backoff = Backoff::default();
        while let Err(error) = self.context.dispatcher.booted(&self.job.job_id, &boot_id).await {
            tracing::error!(%error, "the journal cannot be written; trying again");
            backoff.pause().await;
        }
        self.job.boot_id = boot_id;
    }
}
