//! A host whose role lacks something: `doctor` names the action, and where a run waits for it people see that.

use aws_sdk_dynamodb::types::AttributeValue;
use rsqlflow_tests::peers::{Kind, NODE};
use rsqlflow_tests::site::Site;
use rsqlflow_tests::wait_for;
use rsqlflow_tests::world::World;
use serde_json::{Value, json};

/// The actions of the hosts' policy in the template.
fn actions(world: &World<'_>) -> Vec<String> {
    let template = world.rsqlflow(&["template", "--output", "json"]).expect(0).json();
    let policy = &template["Resources"]["HostPolicy"]["Properties"]["PolicyDocument"]["Statement"];
    let of = |statement: &Value| match &statement["Action"] {
        Value::Array(actions) => actions.clone(),
        action => vec![action.clone()],
    };
    let actions = policy.as_array().expect("statements").iter().flat_map(of);
    actions.map(|action| action.as_str().expect("an action").to_owned()).collect()
}

/// What the doctor says of the services, as `level message`.
fn doctor(world: &World<'_>) -> Vec<String> {
    let report = world.daemon.ask(&["doctor", "--json"]).json();
    let services = ["Step Functions", "DynamoDB", "CloudWatch Logs", "Secrets Manager"];
    let checks = report["checks"].as_array().expect("checks").iter();
    let told = checks.filter(|check| services.contains(&check["check"].as_str().unwrap_or_default()));
    told.map(|check| {
        format!(
            "{} {}",
            check["level"].as_str().unwrap_or_default(),
            check["message"].as_str().unwrap_or_default()
        )
    })
    .collect()
}

#[test]
fn the_doctor_finds_every_action_that_is_denied() {
    let site = Site::new();
    let world = World::start(&site, Kind::Embedded);
    let well = doctor(&world);
    assert!(well.len() == 4 && well.iter().all(|line| line.starts_with("ok ")), "{well:#?}");
    for action in actions(&world) {
        world.agent_calls.deny(&[&action]);
        let told = doctor(&world);
        let wrong: Vec<&String> = told.iter().filter(|line| !line.starts_with("ok ")).collect();
        // Jobs do well without it.
        let level = if action == "logs:GetLogEvents" { "warn" } else { "fail" };
        assert!(
            wrong.len() == 1 && wrong[0].starts_with(&format!("{level} {action} is not permitted")),
            "{action}: {told:#?}"
        );
    }
    world.agent_calls.deny(&[]);
}

#[test]
fn a_run_whose_host_may_not_report_says_so() {
    let site = Site::new();
    let world = World::start(&site, Kind::Embedded);
    site.script("ok.sh", "#!/bin/sh\n");
    world.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_flag": "y", "execution_type": "sequential", "scripts": ["ok.sh"]}]}));
    world.agent_calls.deny(&["states:SendTaskSuccess"]);
    world.rsqlflow(&["run", "w", "--id", "w-1"]).expect(0);
    let what = "states:SendTaskSuccess (AccessDeniedException)";
    wait_for("the host to say that it cannot report", || {
        let hosts = world.rsqlflow(&["hosts", "--json"]).expect(0).json();
        hosts.as_array()?.iter().find(|host| host["cannot_report"] == what).map(drop)
    });
    let status = world.rsqlflow(&["status", "w-1"]).expect(0).stdout;
    assert!(status.contains("cannot report since") && status.contains(what), "{status}");
    let json = world.status("w-1");
    assert_eq!(json["hosts_in_trouble"][0]["cannot_report"], what, "{json}");
    let hosts = world.rsqlflow(&["hosts"]).expect(0).stdout;
    assert!(hosts.contains("cannot report since") && hosts.contains("rsqlflow-agent doctor"), "{hosts}");

    world.agent_calls.deny(&[]);
    let ended = world.ended("w-1");
    assert_eq!(ended["execution_status"], "completed", "{ended}");
    assert_eq!(ended.get("hosts_in_trouble"), None);
    wait_for("the host to be well", || {
        let hosts = world.rsqlflow(&["hosts", "--json"]).expect(0).json();
        hosts.as_array()?.iter().all(|host| host.get("cannot_report").is_none()).then_some(())
    });
}

/// An instance with a role enters itself by the name that IAM has for it, which the policy ties to it.
#[test]
fn a_host_is_found_by_the_name_that_iam_has_for_it() {
    let site = Site::new();
    let world = World::start(&site, Kind::Embedded);
    site.script("ok.sh", "#!/bin/sh\n");
    let now = chrono::Utc::now();
    let text = |text: &str| AttributeValue::S(text.into());
    let number = |number: i64| AttributeValue::N(number.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let put = aws_sdk_dynamodb::Client::new(&world.server().config()).put_item();
    let put = put
        .table_name("rsqlflow-hosts")
        .item("instance_id", text(&format!("AROAEXAMPLE:{NODE}")))
        .item("host_status", text("open"))
        .item("tags", text(" by-role "))
        .item("version", text("0.1.0"))
        .item("running", number(0))
        .item("queued", number(0))
        .item("jobs", number(0))
        .item("max_running_jobs", number(0))
        .item("seen_ts", text(&rsqlflow_config::time::format(now)))
        // Newer than what the agent of this test says in the meantime.
        .item("seen_at", number(now.timestamp() + 30));
    runtime.block_on(put.send()).expect("an entry");
    let hosts = world.rsqlflow(&["hosts", "--json"]).expect(0).json();
    let entries: Vec<&Value> =
        hosts.as_array().expect("a list").iter().filter(|host| host["instance_id"] == NODE).collect();
    assert_eq!(entries.len(), 1, "{hosts}");
    assert_eq!(entries[0]["tags"], json!(["by-role"]), "{hosts}");
    world.put(&json!({"workflow_id": "w", "host": {"tag": "by-role"}, "workflow_stages": [
        {"execution_flag": "y", "execution_type": "sequential", "scripts": ["ok.sh"]},
        {"execution_flag": "y", "execution_type": "parallel", "scripts": [{"script": "ok.sh", "job_name": "beside"}]}]}));
    world.rsqlflow(&["run", "w", "--id", "w-1", "--wait"]).expect(0);
    let status = world.status("w-1");
    assert_eq!(status["jobs"][0]["instance_id"], NODE, "{status}");
    world.settled();
}
