//! Scheduled starts, and what they do while an earlier run of the workflow goes on: `skip`, `allow`, `queue`.
//!
//! **What is promised.** Of the runs that a schedule started under `skip` or `queue`, at most one goes on at a time; none
//! starts while a run that was started otherwise is known to go on. The same scheduled time is one run, however often
//! and by however many its event is delivered. Nothing has to be released, so nothing can leak: whether an earlier run
//! goes on is asked of that run, of its record and, where that is open, of its execution.
//!
//! **The order of writes.** For a run R:
//!
//! 1. R's record is made, `triggered`, if there is none (the id follows from the scheduled time).
//! 2. The turn ([`crate::turn`]) is swapped: from a run that was *seen to have ended* to R; or R is put behind those
//!    that wait. A swap succeeds only on what was read.
//! 3. R's record is marked as admitted, unless it has begun or is final.
//! 4. R's execution is started, by name and so at most once.
//!
//! **Why that suffices.** *Two times at one moment*: both record, both read the same turn, one swap succeeds; the other
//! reads again and finds the winner going on. *A trigger killed after 1*: the event is delivered again and goes on from
//! there; if it never is, a later event closes the record. *Killed after 2 or 3*: the turn names R and R has no execution,
//! so whoever looks next starts it, and starting twice is starting once. *Skipped by one and let go by another* (the
//! event delivered twice, and the earlier run ended in between): admitting and skipping are conditional writes of the one
//! record that exclude each other. *The earlier run E ends while R is put into the queue*: R is put there before E's
//! record is read again, and whoever sees E end closes its record before the turn is read. Both are consistent reads and
//! writes of single items, so either R's trigger finds E ended and goes on itself, or the one who saw E end finds R
//! waiting; if both do, one swap succeeds. *E's end is told to nobody*: every later event of the workflow looks.
//!
//! A run that did not complete is in the way until its hosts have recorded the end of its scripts, or the
//! time they have for it is over: the event of its end waits for the same before it looks at the turn.
//!
//! The index of the audit table lags behind it by a moment. It is asked only for runs that were started otherwise, by a
//! person say; one that begins in the same moment as a scheduled one is not earlier, and both run.

use chrono::{DateTime, Utc};
use rsqlflow_config::audit::{Status, WorkflowAudit};
use rsqlflow_config::run::scheduled_run_id;
use rsqlflow_config::time;
use rsqlflow_config::workflow::Overlap;

use crate::record::{self, Change, NOT_ADMITTED, NOT_BEGUN, Recorded};
use crate::standing::Standing;
use crate::start::Planned;
use crate::turn::{Turn, WAITING_MAX};
use crate::{StartRequest, Started, Trigger, TriggerError};

/// How often a swap may be lost before it is left to the next delivery of the event.
const TRIES: usize = 50;

/// What became of a scheduled start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheduled {
    /// It was started, now or before.
    Started(Started),
    /// It waits.
    Waiting {
        /// The run.
        workflow_execution_id: String,
        /// The run that has to end first.
        waiting_for: String,
    },
    /// It was not started, now or before, or has ended by now.
    Over {
        /// The run.
        workflow_execution_id: String,
        /// How.
        status: Status,
        /// Why.
        message: Option<String>,
    },
}

impl Trigger {
    /// Starts the run of a scheduled time as the workflow's `overlap` wants it. The same time again is the same run.
    ///
    /// # Errors
    /// Any [`TriggerError`]; after [`TriggerError::Aws`] and [`TriggerError::NotStarted`] the same call again goes on.
    pub async fn start_scheduled(
        &self,
        workflow_id: &str,
        scheduled: DateTime<Utc>,
    ) -> Result<Scheduled, TriggerError> {
        let workflow = self.workflow(workflow_id).await?;
        let run_id = scheduled_run_id(workflow_id, scheduled);
        let request = StartRequest {
            workflow_id: workflow_id.into(),
            workflow_execution_id: Some(run_id.clone()),
            started_by: "schedule".into(),
            scheduled_time: Some(time::format(scheduled)),
            ..StartRequest::default()
        };
        let planned = self.planned(&workflow, &run_id, &request.parameters)?;
        let recorded = self.record(&planned, &request).await?;
        if recorded.record.execution_status.is_final() {
            return Ok(over(recorded.record));
        }
        let overlap = workflow.overlap.unwrap_or_default();
        if overlap == Overlap::Allow {
            return self.execute(recorded, &planned.text).await.map(Scheduled::Started);
        }
        self.in_turn(overlap, recorded, planned).await
    }

    async fn in_turn(
        &self,
        overlap: Overlap,
        recorded: Recorded,
        planned: Planned,
    ) -> Result<Scheduled, TriggerError> {
        let workflow_id = &recorded.record.workflow_id.clone();
        let run_id = &recorded.record.workflow_execution_id.clone();
        for _ in 0..TRIES {
            let turn = self.turn(workflow_id).await?;
            if turn.is_of(run_id) {
                return self.let_go(recorded, planned).await;
            }
            let Some(earlier) = self.earlier(workflow_id, &turn, run_id).await? else {
                match turn.waiting.first() {
                    Some(first) if first != run_id => drop(self.give_turn(workflow_id, &turn, first).await?),
                    _ if self.swap_turn(workflow_id, &turn, turn.given_to(run_id)).await? => {
                        return self.let_go(recorded, planned).await;
                    }
                    _ => {}
                }
                continue;
            };
            let skipped = if overlap == Overlap::Skip {
                format!("run {earlier} of this workflow had not ended (overlap: skip)")
            } else if turn.waits(run_id) {
                self.note_waiting(&recorded.record, &earlier).await?;
                let (workflow_execution_id, waiting_for) = (run_id.clone(), earlier);
                return Ok(Scheduled::Waiting { workflow_execution_id, waiting_for });
            } else if turn.waiting.len() < WAITING_MAX {
                // Lost or not, what follows from it is seen in the next round.
                self.swap_turn(workflow_id, &turn, turn.behind(run_id)).await?;
                continue;
            } else {
                format!(
                    "run {earlier} of this workflow had not ended and {WAITING_MAX} runs wait for it already"
                )
            };
            if self.close_skipped(&recorded.record, &skipped).await? {
                return Ok(over(WorkflowAudit {
                    execution_status: Status::Skipped,
                    error_message: Some(skipped),
                    ..recorded.record
                }));
            }
            // Somebody else has let it go, or it has ended.
            match self.audit.run(run_id).await? {
                Some(now) if !now.execution_status.is_final() => {
                    return self.let_go(Recorded { record: now, before: true }, planned).await;
                }
                Some(now) => return Ok(over(now)),
                None => return Err(TriggerError::UnknownRun(run_id.clone())),
            }
        }
        Err(TriggerError::Contended(workflow_id.clone()))
    }

    /// Starts the runs of a workflow whose turn has come; gives their names. For every event that may have ended one.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`]; the same call again goes on.
    pub async fn advance(&self, workflow_id: &str) -> Result<Vec<String>, TriggerError> {
        let mut started = Vec::new();
        // All that wait may turn out to be cancelled, one after the other.
        for _ in 0..WAITING_MAX + TRIES {
            let turn = self.turn(workflow_id).await?;
            if self.earlier(workflow_id, &turn, "").await?.is_some() {
                return Ok(started);
            }
            let Some(first) = turn.waiting.first() else { return Ok(started) };
            if self.give_turn(workflow_id, &turn, first).await? {
                started.push(first.clone());
            }
        }
        Err(TriggerError::Contended(workflow_id.into()))
    }

    /// The run that `run_id` has to wait for, where there is one. What was left undone on the way is done: the run whose
    /// turn it is is started if nobody has, and ends that were not recorded are.
    async fn earlier(
        &self,
        workflow_id: &str,
        turn: &Turn,
        run_id: &str,
    ) -> Result<Option<String>, TriggerError> {
        if let Some(latest) = &turn.latest
            && latest != run_id
            && let Some(record) = self.audit.run(latest).await?
            && match self.standing(&record).await? {
                Standing::Ended(_) => self.winds_down(&record).await?,
                Standing::GoingOn => true,
                Standing::NotStarted => self.start_recorded(record).await?,
            }
        {
            return Ok(Some(latest.clone()));
        }
        for seen in self.audit.open_runs(Some(workflow_id)).await? {
            let id = &seen.workflow_execution_id;
            if id == run_id || turn.is_of(id) || turn.waits(id) {
                continue;
            }
            // The index may lag.
            let Some(record) = self.audit.run(id).await? else { continue };
            match self.standing(&record).await? {
                Standing::Ended(_) if !self.winds_down(&record).await? => {}
                Standing::Ended(_) | Standing::GoingOn => return Ok(Some(id.clone())),
                // A person's run that is about to start comes first. Of two scheduled ones the turn decides.
                Standing::NotStarted => {
                    if !self.close_orphan(&record).await? && record.scheduled_time.is_none() {
                        return Ok(Some(id.clone()));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Gives the turn to one that waits and starts it; whether this did.
    async fn give_turn(&self, workflow_id: &str, turn: &Turn, run_id: &str) -> Result<bool, TriggerError> {
        match self.audit.run(run_id).await? {
            Some(record) if !record.execution_status.is_final() => {
                Ok(self.swap_turn(workflow_id, turn, turn.given_to(run_id)).await?
                    && self.start_recorded(record).await?)
            }
            // Cancelled while it waited, or forgotten.
            _ => {
                self.swap_turn(workflow_id, turn, turn.without(run_id)).await?;
                Ok(false)
            }
        }
    }

    /// Starts a run whose turn it is, with the item as it is now; whether it goes on. One that cannot run is closed.
    async fn start_recorded(&self, record: WorkflowAudit) -> Result<bool, TriggerError> {
        let run_id = &record.workflow_execution_id;
        let workflow = self.workflow(&record.workflow_id).await;
        match workflow.and_then(|workflow| self.planned(&workflow, run_id, &record.parameters)) {
            Ok(planned) => {
                let recorded = Recorded { record, before: true };
                Ok(matches!(self.let_go(recorded, planned).await?, Scheduled::Started(_)))
            }
            Err(error @ (TriggerError::Aws { .. } | TriggerError::Record { .. })) => Err(error),
            Err(error) => {
                let message = format!("its turn came and it could not start: {error}");
                tracing::error!(run = run_id, %error, "its turn came and it could not start");
                self.people_know(&record, &message).await?;
                // Not one that somebody has started in the same moment, with the item as it was then.
                self.close_unbegun(&record, &message).await?;
                Ok(false)
            }
        }
    }

    /// Admits the run whose turn it is and starts it.
    async fn let_go(&self, recorded: Recorded, planned: Planned) -> Result<Scheduled, TriggerError> {
        let unreadable = |error: serde_dynamo::Error| TriggerError::Record {
            table: self.settings.workflow_audit_table.clone(),
            message: error.to_string(),
        };
        // The item may have changed while the run waited.
        let stages = serde_dynamo::to_attribute_value(&planned.stages).map_err(unreadable)?;
        let jobs = serde_dynamo::to_attribute_value(record::jobs(&planned.input)).map_err(unreadable)?;
        let change = Change::new(
            "SET admitted_ts = if_not_exists(admitted_ts, :now), stages = :stages, rsql_jobs = :jobs",
        )
        .value(":now", &time::now())
        .value(":triggered", Status::Triggered.as_str())
        .attribute(":stages", stages)
        .attribute(":jobs", jobs);
        // One that runs has the stages it began with.
        if self.change_open(&recorded.record, change, NOT_BEGUN, "admitting the run").await? {
            // Others may start it as well, with the item as they found it: an execution of this name is its own.
            let already_started = recorded.before;
            let started = self.execute(Recorded { before: true, ..recorded }, &planned.text).await?;
            return Ok(Scheduled::Started(Started { already_started, ..started }));
        }
        let run_id = recorded.record.workflow_execution_id;
        match self.audit.run(&run_id).await? {
            Some(now) if now.execution_status.is_final() => Ok(over(now)),
            Some(_) => Ok(Scheduled::Started(Started {
                execution_arn: self.execution_arn(&run_id),
                workflow_execution_id: run_id,
                already_started: true,
            })),
            None => Err(TriggerError::UnknownRun(run_id)),
        }
    }

    /// Says in the record what the run waits for.
    async fn note_waiting(&self, record: &WorkflowAudit, earlier: &str) -> Result<(), TriggerError> {
        let change = Change::new("SET waiting_for = :earlier").value(":earlier", earlier);
        self.change_open(record, change, NOT_ADMITTED, "recording what it waits for").await?;
        Ok(())
    }
}

fn over(record: WorkflowAudit) -> Scheduled {
    Scheduled::Over {
        workflow_execution_id: record.workflow_execution_id,
        status: record.execution_status,
        message: record.error_message,
    }
}
