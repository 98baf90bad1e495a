//! Who may do what on what, as the template has it: a table for people, and what must hold of it.

use std::collections::BTreeSet;

use super::*;

/// A statement of a policy.
struct Statement {
    resource: String,
    sid: String,
    actions: BTreeSet<String>,
    on: Vec<String>,
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

/// A resource of a statement, for people.
fn target(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(function) => match function.iter().next().unwrap() {
            (_, Value::Array(parts)) => parts[0].as_str().unwrap().into(),
            (_, Value::String(text)) => text.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other}"),
    };
    text.replace("arn:${AWS::Partition}:", "").replace(":${AWS::Region}:${AWS::AccountId}:", ":")
}

fn statements() -> Vec<Statement> {
    let template = value().unwrap();
    let mut all = Vec::new();
    for (name, resource) in template["Resources"].as_object().unwrap() {
        let properties = &resource["Properties"];
        let documents = match resource["Type"].as_str().unwrap() {
            "AWS::IAM::Role" => list(&properties["Policies"]),
            "AWS::IAM::ManagedPolicy" => vec![properties.clone()],
            _ => continue,
        };
        for statement in documents.iter().flat_map(|policy| list(&policy["PolicyDocument"]["Statement"])) {
            let statement = statement.get("Fn::If").map_or(&statement, |branches| &branches[1]);
            all.push(Statement {
                resource: name.clone(),
                sid: statement["Sid"].as_str().unwrap().into(),
                actions: list(&statement["Action"]).iter().map(|a| a.as_str().unwrap().into()).collect(),
                on: list(&statement["Resource"]).iter().map(target).collect(),
            });
        }
    }
    all
}

/// The table of docs/aws.md.
fn table() -> String {
    let mut text = String::from("| who | may call | on |\n| --- | --- | --- |\n");
    for Statement { resource, actions, on, .. } in statements() {
        let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
        text.push_str(&format!("| {resource} | `{}` | `{}` |\n", actions.join("`, `"), on.join("`, `")));
    }
    text
}

#[test]
fn the_page_has_the_table() {
    let page = include_str!("../../../docs/aws.md");
    let table = table();
    assert!(page.contains(&table), "docs/aws.md needs this table:\n{table}");
}

#[test]
fn every_wildcard_has_its_reason() {
    let template = value().unwrap();
    let reason =
        |s: &Statement| template["Resources"][&s.resource]["Metadata"]["Wildcards"][&s.sid].is_string();
    for statement in statements() {
        let all = statement.on.iter().any(|on| on == "*");
        assert_eq!(all, reason(&statement), "{} {}", statement.resource, statement.sid);
        assert!(statement.actions.iter().all(|action| !action.contains('*')), "{}", statement.sid);
    }
}

/// The actions that the `Resource` of a Task state stands for.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html#nested-execution-iam-permissions>
fn actions_of(resource: &str) -> Vec<String> {
    let integration = resource.strip_prefix("arn:aws:states:::").unwrap();
    if integration == "states:startExecution.sync:2" {
        let nested = ["states:StartExecution", "states:DescribeExecution", "states:StopExecution"];
        let rule = ["events:PutTargets", "events:PutRule", "events:DescribeRule"];
        return nested.iter().chain(&rule).map(|action| action.to_string()).collect();
    }
    let integration = integration.strip_prefix("aws-sdk:").unwrap_or(integration);
    let (service, action) = integration.split_once(':').unwrap();
    let action = action.split('.').next().unwrap();
    // The SDK's name of Step Functions is not the one in policies.
    let service = if service == "sfn" { "states" } else { service };
    vec![format!("{service}:{}{}", action[..1].to_ascii_uppercase(), &action[1..])]
}

fn tasks(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if members.get("Type").is_some_and(|kind| kind == "Task") {
                found.extend(actions_of(members["Resource"].as_str().unwrap()));
            }
            members.values().for_each(|member| tasks(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| tasks(item, found)),
        _ => {}
    }
}

/// A new Task state needs a new permission, and one that is gone leaves none behind.
#[test]
fn state_machines_may_do_what_their_tasks_do_and_no_more() {
    for (role, files) in [("StageRole", &FILES[..2]), ("MasterRole", &FILES[2..3])] {
        let mut needed = BTreeSet::new();
        for (_, definition) in files {
            tasks(&serde_json::from_str(definition).unwrap(), &mut needed);
        }
        let allowed: BTreeSet<String> =
            statements().into_iter().filter(|s| s.resource == role).flat_map(|s| s.actions).collect();
        assert_eq!(allowed, needed, "{role}");
    }
}

/// The actions of one of the policies, with what they are allowed on.
fn allowed(policy: &str) -> Vec<(String, Vec<String>)> {
    let own = statements().into_iter().filter(|statement| statement.resource == policy);
    own.flat_map(|statement| statement.actions.into_iter().map(move |action| (action, statement.on.clone())))
        .collect()
}

/// A record says what was run: only what runs it writes it.
#[test]
fn only_the_trigger_starts_runs_and_people_write_no_record() {
    let start = |statement: &Statement| {
        statement.actions.contains("states:StartExecution") && statement.on.contains(&"MasterMachine".into())
    };
    let who: BTreeSet<String> = statements().into_iter().filter(start).map(|s| s.resource).collect();
    assert_eq!(who, BTreeSet::from(["TriggerRole".to_string()]));
    for policy in ["OperatorPolicy", "ReadOnlyPolicy"] {
        for (action, on) in allowed(policy) {
            let reads = ["Get", "Query", "Scan", "List", "Describe"];
            let (_, verb) = action.split_once(':').unwrap();
            let only_reads = reads.iter().any(|read| verb.starts_with(read));
            let audit = on.iter().any(|on| on.contains("AuditTable"));
            assert!(only_reads || (policy == "OperatorPolicy" && !audit), "{policy}: {action} on {on:?}");
        }
    }
    // By the function's own name schedules and EventBridge speak to it.
    let asked: Vec<_> =
        allowed("OperatorPolicy").into_iter().filter(|(action, _)| action.starts_with("lambda:")).collect();
    assert_eq!(asked, [("lambda:InvokeFunction".to_string(), vec!["${Trigger.Arn}:operate".to_string()])]);
}

/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html> is authorised on the name.
#[test]
fn people_may_ask_for_the_stack_by_its_name() {
    for policy in ["OperatorPolicy", "ReadOnlyPolicy"] {
        let (_, on) = allowed(policy)
            .into_iter()
            .find(|(action, _)| action == "cloudformation:DescribeStacks")
            .unwrap();
        assert_eq!(on, ["cloudformation:stack/${AWS::StackName}/*"], "{policy}");
    }
}

fn condition<'t>(template: &'t Value, policy: &str, sid: &str) -> &'t Value {
    let all = template["Resources"][policy]["Properties"]["PolicyDocument"]["Statement"].as_array().unwrap();
    &all.iter().find(|statement| statement["Sid"] == sid).unwrap()["Condition"]
}

#[test]
fn a_host_enters_itself_and_no_other() {
    let template = value().unwrap();
    let keys = &condition(&template, "HostPolicy", "EnterItself")["ForAllValues:StringEquals"];
    assert_eq!(keys["dynamodb:LeadingKeys"], serde_json::json!(["${aws:userid}"]));
}

/// The condition names the attributes that the agent writes, all of them and no other.
#[test]
fn a_host_may_write_what_a_record_has() {
    use rsqlflow_config::audit::{AttemptAudit, EXPIRES_AT, JobAudit, Status};
    let text = || Some("x".to_string());
    let attempt = AttemptAudit {
        attempt: 1,
        execution_start_ts: "x".into(),
        execution_end_ts: "x".into(),
        exit_code: None,
        error_message: None,
        log_stream: "x".into(),
    };
    let record = JobAudit {
        job_name: "x".into(),
        workflow_execution_id: "x".into(),
        workflow_id: "x".into(),
        execution_status: Status::Failed,
        execution_start_ts: "x".into(),
        execution_end_ts: text(),
        instance_id: "x".into(),
        ssm_command_id: text(),
        exit_code: Some(1),
        signal: Some(1),
        attempt: 2,
        error: text(),
        error_message: text(),
        log_stream: text(),
        attempts: vec![attempt],
    };
    let record = serde_json::to_value(record).unwrap();
    let mut written: BTreeSet<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    written.insert(EXPIRES_AT);
    let template = value().unwrap();
    let attributes = &condition(&template, "HostPolicy", "JobAudit")["ForAllValues:StringEquals"];
    let attributes = attributes["dynamodb:Attributes"].as_array().unwrap();
    let attributes: BTreeSet<&str> = attributes.iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(attributes, written);
}
