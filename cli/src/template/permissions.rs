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
