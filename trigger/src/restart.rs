//! Going on from an earlier run: what completed in it is not run again.
//!
//! The earlier run has to have ended, its jobs too: a script that still runs on its host must not be started a second
//! time. A run is restarted once; who wants to go on again goes on from the restart, which knows what completed in any
//! of those before it. So of two restarts at once, one is: the new run is recorded, then the earlier record is made to
//! name it unless it names another, then it is started. Dying in between leaves a record that was never started, which
//! the same start again goes on from. One that was closed as never started gives its place to the next restart.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use rsqlflow_config::audit::{StageAudit, Status, WorkflowAudit};
use rsqlflow_config::run::RunInput;
use rsqlflow_config::workflow::ExecutionType;

use crate::error::written;
use crate::standing::Standing;
use crate::start::Planned;
use crate::{Trigger, TriggerError, record};

/// The wish to go on from an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// The earlier run.
    pub of: String,
    /// With the item as it was then, rather than as it is now.
    pub as_it_was: bool,
}

/// A run that another may go on from.
pub(crate) struct Earlier {
    record: WorkflowAudit,
    /// The jobs that need not run again.
    completed: BTreeSet<String>,
}

impl Earlier {
    /// Its workflow.
    pub(crate) fn workflow_id(&self) -> &str {
        &self.record.workflow_id
    }

    /// Its jobs that need not run again.
    pub(crate) fn completed(&self) -> &BTreeSet<String> {
        &self.completed
    }

    /// Its own parameters, under those of the restart.
    pub(crate) fn parameters(&self, over: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut parameters = self.record.parameters.clone();
        parameters.extend(over);
        parameters
    }
}

impl Trigger {
    /// The earlier run, where it may be gone on from.
    pub(crate) async fn earlier_run(&self, of: &str, workflow_id: &str) -> Result<Earlier, TriggerError> {
        let unknown = || TriggerError::UnknownRun(of.into());
        let mut record = self.audit.run(of).await?.ok_or_else(unknown)?;
        if !workflow_id.is_empty() && record.workflow_id != workflow_id {
            return Err(TriggerError::RunOfAnother { id: of.into(), workflow: record.workflow_id });
        }
        if !record.execution_status.is_final() {
            let ended = match self.standing(&record).await? {
                Standing::Ended(status) => Some(status),
                Standing::NotStarted => self.close_orphan(&record).await?.then_some(Status::Failed),
                Standing::GoingOn => None,
            };
            let Some(status) = ended else {
                return Err(TriggerError::NotEnded { id: of.into(), status: record.execution_status });
            };
            record = self.audit.run(of).await?.ok_or_else(unknown)?;
            record.execution_status = status;
        }
        let completed = self.completed(&record).await?;
        Ok(Earlier { record, completed })
    }

    /// The jobs that completed in a run or in those it went on from. The index may lag behind a job that has just
    /// ended, so of those that it does not know as ended the record itself is read.
    async fn completed(&self, run: &WorkflowAudit) -> Result<BTreeSet<String>, TriggerError> {
        let run_id = &run.workflow_execution_id;
        let mut completed: BTreeSet<String> = run.completed_earlier.iter().cloned().collect();
        let mut open = Vec::new();
        let mut unknown = BTreeSet::new();
        let known = self.audit.jobs(run_id).await?;
        for name in &run.rsql_jobs {
            let mut job = known.iter().find(|job| job.job_name == *name).cloned();
            if !job.as_ref().is_some_and(|job| job.execution_status.is_final()) {
                job = self.audit.job(name, run_id).await?;
            }
            match job.map(|job| job.execution_status) {
                Some(Status::Completed) => drop(completed.insert(name.clone())),
                Some(status) if !status.is_final() => open.push(name.clone()),
                Some(_) => {}
                None => drop(unknown.insert(name.as_str())),
            }
        }
        let stopped = matches!(run.execution_status, Status::Cancelled | Status::TimedOut);
        if !open.is_empty() {
            return Err(TriggerError::JobsNotEnded { run: run_id.clone(), jobs: open });
        }
        let left = self.time_to_tell(run);
        if stopped && left > TimeDelta::zero() {
            let jobs = about_to_run(&run.stages, &run.rsql_jobs, &completed, &unknown);
            if !jobs.is_empty() {
                let seconds = left.num_seconds() + 1;
                return Err(TriggerError::StoppedJustNow { run: run_id.clone(), jobs, seconds });
            }
        }
        Ok(completed)
    }

    /// The run as the earlier one was planned: its jobs and their settings, with parameters over them.
    pub(crate) async fn as_it_was(
        &self,
        earlier: &Earlier,
        run_id: &str,
        over: &BTreeMap<String, String>,
    ) -> Result<(RunInput, Vec<StageAudit>), TriggerError> {
        let of = &earlier.record.workflow_execution_id;
        let gone = || TriggerError::NotAsItWas(of.clone());
        // A restart that could not start has none, and was to have what that before it had.
        let mut source = earlier.record.clone();
        let input = loop {
            if let Some(execution) = self.execution(&source.workflow_execution_id).await? {
                break execution.input.ok_or_else(gone)?;
            }
            let before = source.restart_of.ok_or_else(gone)?;
            source = self.audit.run(&before).await?.ok_or_else(gone)?;
        };
        let mut input: RunInput = serde_json::from_str(&input).map_err(|_| gone())?;
        input.run.workflow_execution_id = run_id.into();
        input.run.parameters.extend(over.clone());
        for job in input.stages.iter_mut().flat_map(|stage| &mut stage.jobs) {
            job.parameters.retain(|name, _| !over.contains_key(name));
        }
        // What belongs to the account rather than to the item.
        input.run.heartbeat_seconds = self.settings.heartbeat_seconds;
        input.run.audit_days = Some(self.settings.audit_days).filter(|days| *days > 0);
        input.run.job_audit_table = self.settings.job_audit_table.clone();
        if let Some(hosts) = &mut input.run.hosts {
            hosts.table = self.settings.hosts_table.clone();
        }
        input.workflow_audit_table = self.settings.workflow_audit_table.clone();
        input.machines.sequential = self.settings.sequential_arn.clone();
        input.machines.parallel = self.settings.parallel_arn.clone();
        // The jobs that the earlier run had itself or took as completed; it knows no more of those it left out.
        let had: BTreeSet<String> =
            record::jobs(&input).into_iter().chain(earlier.completed.clone()).collect();
        let mut stages = earlier.record.stages.clone();
        for stage in &mut stages {
            stage.jobs.retain(|job| had.contains(job));
        }
        Ok((input, stages))
    }

    /// Makes the earlier run's record name the new run, in the place of a restart that was never started. That one's
    /// record names the new run before, so that it is not started after all. Where another was quicker, the new run's
    /// record is closed.
    pub(crate) async fn link(
        &self,
        earlier: &Earlier,
        unstarted: Option<&WorkflowAudit>,
        new: &WorkflowAudit,
    ) -> Result<(), TriggerError> {
        let given_up = match unstarted {
            Some(unstarted) => {
                let free = " AND attribute_exists(never_started)";
                self.names_restart(unstarted, None, free, &new.workflow_execution_id).await?
            }
            None => true,
        };
        let seen = earlier.record.restarted_by.as_deref().filter(|_| unstarted.is_some());
        if given_up && self.names_restart(&earlier.record, seen, "", &new.workflow_execution_id).await? {
            return Ok(());
        }
        let of = &earlier.record.workflow_execution_id;
        let by = self.audit.run(of).await?.and_then(|record| record.restarted_by).unwrap_or_default();
        let error = TriggerError::RestartedBefore { id: of.clone(), by };
        self.close(new, Status::Skipped, Some(&error.to_string())).await?;
        Err(error)
    }

    /// Makes a run's record name the one that goes on from it, where it names none, `seen` or that one already, `and` more
    /// holds; whether it does.
    async fn names_restart(
        &self,
        record: &WorkflowAudit,
        seen: Option<&str>,
        and: &str,
        run_id: &str,
    ) -> Result<bool, TriggerError> {
        let mut free = "attribute_not_exists(restarted_by) OR restarted_by = :run".to_string();
        let mut update = self
            .dynamodb
            .update_item()
            .table_name(&self.settings.workflow_audit_table)
            .key("workflow_execution_id", AttributeValue::S(record.workflow_execution_id.clone()))
            .key("workflow_id", AttributeValue::S(record.workflow_id.clone()))
            .update_expression("SET restarted_by = :run")
            .expression_attribute_values(":run", AttributeValue::S(run_id.into()));
        if let Some(seen) = seen {
            free.push_str(" OR restarted_by = :seen");
            update = update.expression_attribute_values(":seen", AttributeValue::S(seen.into()));
        }
        let update = update.condition_expression(format!("attribute_exists(workflow_id) AND ({free}){and}"));
        written("linking the runs", update.send().await)
    }

    /// That no other run goes on from the earlier one, before anything is written. A restart that was recorded and never
    /// started does not: the last such one is returned, to be replaced.
    pub(crate) async fn not_restarted(
        &self,
        earlier: &Earlier,
        run_id: &str,
    ) -> Result<Option<WorkflowAudit>, TriggerError> {
        let mut next = earlier.record.restarted_by.clone();
        let mut unstarted = None;
        while let Some(by) = next.filter(|by| by != run_id) {
            let Some(other) = self.audit.run(&by).await?.filter(|other| other.never_started) else {
                return Err(TriggerError::RestartedBefore {
                    id: earlier.record.workflow_execution_id.clone(),
                    by,
                });
            };
            next = other.restarted_by.clone();
            unstarted = Some(other);
        }
        Ok(unstarted)
    }
}

impl Planned {
    /// That there is something to run.
    pub(crate) fn not_empty(self) -> Result<Self, TriggerError> {
        if self.input.stages.is_empty() { Err(TriggerError::NothingToRun) } else { Ok(self) }
    }
}

/// The jobs of a run that was stopped a moment ago which a host may have been given without having said so yet: those
/// without a record in the stage it had come to, or in the one after it where that had completed.
fn about_to_run(
    stages: &[StageAudit],
    had: &[String],
    completed: &BTreeSet<String>,
    unknown: &BTreeSet<&str>,
) -> Vec<String> {
    let mut of_stages: Vec<(ExecutionType, Vec<&String>)> = Vec::new();
    for stage in stages {
        let jobs: Vec<_> = stage.jobs.iter().filter(|job| had.contains(job)).collect();
        if !jobs.is_empty() {
            of_stages.push((stage.execution_type, jobs));
        }
    }
    let is_unknown = |job: &&String| unknown.contains(job.as_str());
    let reached = of_stages.iter().rposition(|(_, jobs)| !jobs.iter().all(is_unknown));
    let at = match reached {
        Some(at) if of_stages[at].1.iter().all(|job| completed.contains(*job)) => at + 1,
        Some(at) => at,
        None => 0,
    };
    let Some((execution_type, jobs)) = of_stages.get(at) else { return vec![] };
    let without = jobs.iter().copied().filter(is_unknown).cloned();
    match execution_type {
        ExecutionType::Parallel => without.collect(),
        // One after the other, and none after one that did not complete.
        ExecutionType::Sequential => {
            let next = jobs.iter().find(|job| !completed.contains(**job));
            next.filter(|job| is_unknown(job)).map(|job| (*job).clone()).into_iter().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_may_have_been_given_is_waited_for() {
        let names = |jobs: &str| jobs.chars().map(String::from).collect::<Vec<_>>();
        let stage = |execution_type, jobs: &str| StageAudit {
            stage_description: jobs.into(),
            execution_type,
            jobs: names(jobs),
            skipped: false,
        };
        let stages = [
            stage(ExecutionType::Sequential, "ab"),
            stage(ExecutionType::Parallel, "cd"),
            stage(ExecutionType::Parallel, "e"),
        ];
        let given = |completed: &str, unknown: &str| {
            let completed = names(completed).into_iter().collect();
            let unknown = names(unknown);
            let unknown = unknown.iter().map(String::as_str).collect();
            about_to_run(&stages, &names("abcde"), &completed, &unknown).concat()
        };
        assert_eq!(given("", "abcde"), "a");
        assert_eq!(given("", "bcde"), "");
        assert_eq!(given("a", "bcde"), "b");
        assert_eq!(given("ab", "cde"), "cd");
        assert_eq!(given("abc", "de"), "d");
        assert_eq!(given("abc", "e"), "");
        assert_eq!(given("cd", "e"), "e");
        assert_eq!(given("abcde", ""), "");
    }
}
