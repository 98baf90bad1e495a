//! From an item to the input of the master state machine: pure, so that every rule of it can be tested by value.

use std::collections::BTreeMap;

use rsqlflow_config::job::{JobRequest, TOKEN_MAX, VERSION};
use rsqlflow_config::names::CONCURRENCY_MAX;
use rsqlflow_config::run::{
    HostChoice, JobInput, MachineArns, NotifyInput, RunContext, RunInput, StageInput, TIMEOUT_SECONDS_MAX,
    task_timeout_seconds,
};
use rsqlflow_config::time;
use rsqlflow_config::workflow::{Hosts, Script, Stage, Tag, Workflow};

use crate::TriggerSettings;

/// The input of a run: the item as it is now, with the run's parameters over the item's and the scripts' own.
pub fn plan(
    workflow: &Workflow,
    run_id: &str,
    parameters: &BTreeMap<String, String>,
    settings: &TriggerSettings,
) -> RunInput {
    let mut shared = workflow.parameters.clone();
    shared.extend(parameters.clone());
    RunInput {
        run: RunContext {
            workflow_id: workflow.workflow_id.clone(),
            workflow_execution_id: run_id.to_string(),
            host: match &workflow.host {
                None => Some(settings.host.clone()),
                Some(Hosts::One(host)) => Some(host.clone()),
                Some(Hosts::Any(_) | Hosts::Tagged(_)) => None,
            },
            hosts: host_choice(workflow, settings),
            parameters: shared,
            secret_id: workflow.secret_id.clone().unwrap_or_else(|| settings.secret_id.clone()),
            heartbeat_seconds: settings.heartbeat_seconds,
            audit_days: Some(settings.audit_days).filter(|days| *days > 0),
            job_audit_table: settings.job_audit_table.clone(),
        },
        stages: workflow
            .workflow_stages
            .iter()
            .enumerate()
            .filter(|(_, stage)| stage.enabled())
            .map(|(at, stage)| stage_input(at, stage, workflow, parameters))
            .collect(),
        notify: workflow
            .notify
            .as_ref()
            .map(|notify| NotifyInput { topic_arn: notify.topic_arn.clone(), on: notify.on.clone() }),
        timeout_seconds: workflow.timeout_seconds.unwrap_or(TIMEOUT_SECONDS_MAX),
        machines: MachineArns {
            sequential: settings.sequential_arn.clone(),
            parallel: settings.parallel_arn.clone(),
        },
        workflow_audit_table: settings.workflow_audit_table.clone(),
    }
}

fn host_choice(workflow: &Workflow, settings: &TriggerSettings) -> Option<HostChoice> {
    let table = settings.hosts_table.clone();
    match workflow.host.as_ref()? {
        Hosts::One(_) => None,
        Hosts::Any(ids) => Some(HostChoice { table, ids: Some(ids.clone()), tag: None }),
        Hosts::Tagged(Tag { tag }) => Some(HostChoice { table, ids: None, tag: Some(tag.clone()) }),
    }
}

fn stage_input(
    at: usize,
    stage: &Stage,
    workflow: &Workflow,
    parameters: &BTreeMap<String, String>,
) -> StageInput {
    StageInput {
        number: at + 1,
        stage_description: stage.title(at),
        execution_type: stage.execution_type,
        max_concurrency: stage.max_concurrency.unwrap_or(CONCURRENCY_MAX),
        on_failure: stage.on_failure.unwrap_or_default(),
        jobs: stage.scripts.iter().map(|script| job_input(script, workflow, parameters)).collect(),
    }
}

fn job_input(script: &Script, workflow: &Workflow, parameters: &BTreeMap<String, String>) -> JobInput {
    let settings = script.settings();
    // The run's parameters win over the script's own; they reach the job with what all jobs share.
    let own = settings.parameters.into_iter().filter(|(name, _)| !parameters.contains_key(name)).collect();
    JobInput {
        job_name: script.job_name().to_string(),
        script: settings.script,
        arguments: settings.arguments,
        parameters: own,
        timeout_seconds: settings.timeout_seconds,
        stall_seconds: settings.stall_seconds,
        task_timeout_seconds: task_timeout_seconds(settings.timeout_seconds, settings.retry.as_ref()),
        retry: settings.retry,
        success_exit_codes: settings.success_exit_codes,
        pool: settings.pool.or_else(|| workflow.pool.clone()),
        priority: settings.priority.or(workflow.priority),
    }
}

/// Size of the request that a job of the run becomes, with the longest token there is.
pub(crate) fn request_size(run: &RunContext, job: &JobInput) -> usize {
    let mut parameters = run.parameters.clone();
    parameters.extend(job.parameters.clone());
    let request = JobRequest {
        version: VERSION,
        task_token: "t".repeat(TOKEN_MAX),
        workflow_id: run.workflow_id.clone(),
        workflow_execution_id: run.workflow_execution_id.clone(),
        job_name: job.job_name.clone(),
        script: job.script.clone(),
        arguments: job.arguments.clone(),
        parameters,
        timeout_seconds: job.timeout_seconds,
        stall_seconds: job.stall_seconds,
        retry: job.retry.clone(),
        success_exit_codes: job.success_exit_codes.clone(),
        pool: job.pool.clone(),
        priority: job.priority.unwrap_or_default(),
        sent_at: Some(time::now()),
        first_attempt: 1,
        secret_id: run.secret_id.clone(),
        heartbeat_seconds: run.heartbeat_seconds,
    };
    request.encode().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_says_what_the_item_says() {
        let workflow = rsqlflow_config::validate::workflow_from_text(
            r#"
workflow_id: nightly
parameters: { a: item, b: item }
timeout_seconds: 3600
pool: etl
priority: 10
notify: { topic_arn: "arn:aws:sns:us-east-1:000000000000:ops" }
workflow_stages:
  - { stage_description: Off, execution_flag: n, execution_type: sequential, scripts: [off.sh] }
  - execution_flag: Y
    execution_type: parallel
    on_failure: continue
    max_concurrency: 2
    scripts:
      - one.sh
      - { script: two.sh, job_name: zwei, arguments: ["it's \"quoted\""], parameters: { b: script, c: script },
          timeout_seconds: 60, retry: { max_attempts: 2, interval_seconds: 5, errors: [Rsql.HostLost] },
          success_exit_codes: [0, 3], pool: copy, priority: -1 }
"#,
        )
        .unwrap();
        let parameters = BTreeMap::from([("b".to_string(), "run".to_string())]);
        let input = plan(&workflow, "nightly-1", &parameters, &TriggerSettings::example());
        insta::assert_snapshot!(serde_json::to_string_pretty(&input).unwrap());
    }
}
