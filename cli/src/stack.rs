//! What a deployed stack says about itself: its outputs, as settings.
//!
//! The one place that knows which output is which setting. The template is ours, so an output that is not there means
//! that the stack is another one, or older than this program.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::StackStatus;
use rsqlflow_config::settings::Settings;

use crate::error::CliError;
use crate::exit::Exit;

/// Outputs of the template and the settings they become.
const OUTPUTS: [(&str, &str); 19] = [
    ("Region", "region"),
    ("DefaultHost", "host"),
    ("DefaultSecretId", "secret_id"),
    ("LogGroup", "log_group"),
    ("HeartbeatSeconds", "heartbeat_seconds"),
    ("GraceSeconds", "agent.grace_seconds"),
    ("AuditDays", "audit_days"),
    ("TriggerArn", "trigger_arn"),
    ("OperateArn", "operate_arn"),
    ("SchedulerRoleArn", "scheduler_role_arn"),
    ("DeadLetterArn", "dead_letter_arn"),
    ("ScheduleGroup", "schedule_group"),
    ("ConfigTable", "tables.config"),
    ("JobAuditTable", "tables.job_audit"),
    ("WorkflowAuditTable", "tables.workflow_audit"),
    ("HostsTable", "tables.hosts"),
    ("MasterArn", "state_machines.master"),
    ("SequentialArn", "state_machines.sequential"),
    ("ParallelArn", "state_machines.parallel"),
];

/// An output that says there is none: CloudFormation takes no empty ones.
const NONE: &str = "none";

/// The settings that a stack gives, in the order of the file.
///
/// # Errors
/// When there is no such stack, it is in no state to be used, or an output is missing.
pub(crate) async fn settings(
    config: &SdkConfig,
    name: &str,
) -> Result<Vec<(&'static str, String)>, CliError> {
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let found = Client::new(config).describe_stacks().stack_name(name).send().await;
    let stacks = match found {
        Ok(found) => found.stacks.unwrap_or_default(),
        Err(error)
            if error.as_service_error().is_some_and(|e| says(e.meta().message(), "does not exist")) =>
        {
            vec![]
        }
        Err(error) => return Err(CliError::aws("looking at the stack")(error)),
    };
    let Some(stack) = stacks.into_iter().next() else {
        return Err(CliError::Account {
            said: format!("there is no stack `{name}` in {region}"),
            next: Some(format!(
                "aws cloudformation describe-stacks --region {region} --query 'Stacks[].StackName'"
            )),
            exit: Exit::Usage,
        });
    };
    if let Some(status) = stack.stack_status.filter(|status| !usable(status)) {
        return Err(CliError::Account {
            said: format!("stack `{name}` is {status}: there is no deployment to use yet"),
            next: Some(format!(
                "aws cloudformation describe-stack-events --region {region} --stack-name {name}"
            )),
            exit: Exit::Failed,
        });
    }
    let outputs = stack.outputs.unwrap_or_default();
    let outputs = outputs.into_iter().filter_map(|output| Some((output.output_key?, output.output_value?)));
    picked(name, &outputs.collect())
}

fn says(message: Option<&str>, text: &str) -> bool {
    message.is_some_and(|message| message.contains(text))
}

/// Whether the resources of a stack in this state are there. An update that failed has left those of before.
fn usable(status: &StackStatus) -> bool {
    use StackStatus as S;
    !matches!(
        status,
        S::CreateInProgress
            | S::CreateFailed
            | S::ReviewInProgress
            | S::RollbackInProgress
            | S::RollbackFailed
            | S::RollbackComplete
            | S::DeleteInProgress
            | S::DeleteFailed
            | S::DeleteComplete
    )
}

fn picked(stack: &str, outputs: &BTreeMap<String, String>) -> Result<Vec<(&'static str, String)>, CliError> {
    let wanted = || OUTPUTS.iter().filter(|(_, key)| Settings::has_key(key));
    let missing: Vec<&str> =
        wanted().map(|(output, _)| *output).filter(|output| !outputs.contains_key(*output)).collect();
    if !missing.is_empty() {
        let (plural, those) = if missing.len() == 1 { ("", "it") } else { ("s", "them") };
        return Err(CliError::Account {
            said: format!(
                "stack `{stack}` has no output{plural} {}: it was deployed from another template",
                missing.join(", ")
            ),
            next: Some(format!(
                "rsqlflow template > rsqlflow.yaml, and update the stack with it: this version's has {those}"
            )),
            exit: Exit::Failed,
        });
    }
    let given = wanted().filter_map(|(output, key)| Some((*key, outputs.get(*output)?.clone())));
    Ok(given.filter(|(_, value)| value != NONE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_every_output_that_becomes_a_setting() {
        let template = crate::template::value().unwrap();
        for (output, key) in OUTPUTS {
            let there = &template["Outputs"][output]["Description"];
            assert_eq!(there, key, "the output {output} says which setting it becomes");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let all: BTreeMap<String, String> =
            OUTPUTS.iter().map(|(output, key)| (output.to_string(), key.to_uppercase())).collect();
        let known = picked("s", &all).unwrap();
        assert!(known.contains(&("tables.job_audit", "TABLES.JOB_AUDIT".into())));
        let mut none = all.clone();
        none.insert("DefaultHost".into(), NONE.into());
        assert!(!picked("s", &none).unwrap().iter().any(|(key, _)| *key == "host"));
        none.remove("MasterArn");
        none.remove("Region");
        let error = picked("s", &none).unwrap_err();
        assert_eq!(
            error.to_string(),
            "stack `s` has no outputs Region, MasterArn: it was deployed from another template"
        );
    }
}
