//! Every action that the template allows operators, denied one at a time to the command that needs it: the command says
//! who may not do what on what, what to do, and what is done already; once it is allowed, the same command again is right.
//!
//! For the trigger the same is beside it (`trigger/tests/events/denials.rs`).

use rsqlflow_tests::peers::Kind;
use rsqlflow_tests::proxy::denied::{USER, resource};
use rsqlflow_tests::site::Site;
use rsqlflow_tests::wait_for;
use rsqlflow_tests::world::World;
use serde_json::{Value, json};

use crate::permissions::statements;

/// What no proxy can see, since Scheduler asks IAM for it when a schedule is made; and what is asked for only where
/// something else is denied, as it is below.
const NOT_DENIED: [&str; 2] = ["iam:PassRole", "states:DescribeExecution"];

/// An action, the command that is denied it, what it has to say of what is done, and how the same command ends once it is
/// allowed.
struct Denial {
    action: &'static str,
    command: Vec<String>,
    says: &'static str,
    again: Option<i32>,
}

fn denial(action: &'static str, command: &str, says: &'static str) -> Denial {
    let command = command.split(' ').map(str::to_string).collect();
    Denial { action, command, says, again: Some(0) }
}

fn item(id: &str, scripts: &[&str]) -> Value {
    json!({"workflow_id": id, "workflow_stages": [
        {"execution_flag": "y", "execution_type": "sequential", "scripts": scripts}]})
}

/// Files that a command is given.
fn files(site: &Site) {
    let mut scheduled = item("scheduled", &["ok.sh"]);
    site.file("unscheduled.json", &scheduled.to_string());
    for (file, cron) in [("scheduled.json", "cron(0 3 1 1 ? *)"), ("changed.json", "cron(0 4 1 1 ? *)")] {
        scheduled["schedule"] = json!(cron);
        site.file(file, &scheduled.to_string());
    }
    let mut looked = item("looked", &["ok.sh"]);
    looked["schedule"] = json!("cron(0 3 1 1 ? *)");
    site.file("looked.json", &looked.to_string());
    for id in ["a", "b", "c", "d"] {
        site.file(&format!("{id}.json"), &item(id, &["ok.sh"]).to_string());
    }
}

/// In this order: what one leaves, a later one finds.
fn denials() -> Vec<Denial> {
    let not_stored = " is stored, and its schedule is not what it says";
    let mut all = vec![
        denial("dynamodb:GetItem rsqlflow-config", "config get good", ""),
        denial("dynamodb:Scan rsqlflow-config", "config list", ""),
        denial("dynamodb:PutItem rsqlflow-config", "config put a.json", "a.json: workflow a was not stored"),
        denial("scheduler:GetSchedule", "config put looked.json", not_stored),
        denial("scheduler:CreateSchedule", "config put scheduled.json", not_stored),
        denial("scheduler:UpdateSchedule", "config put changed.json", not_stored),
        denial("scheduler:DeleteSchedule", "config put unscheduled.json", not_stored),
        denial("scheduler:ListSchedules", "schedule list", ""),
        denial(
            "dynamodb:DeleteItem rsqlflow-config",
            "config delete rescheduled --yes",
            "workflow rescheduled: its schedule is deleted, and its item was not deleted",
        ),
        denial("dynamodb:Scan rsqlflow-workflow-audit", "runs", ""),
        denial("dynamodb:Query rsqlflow-workflow-audit/index/by-workflow", "runs good", ""),
        denial(
            "dynamodb:Query rsqlflow-workflow-audit",
            "status good-0",
            "the records of run `good-0` cannot be read, and Step Functions says that its execution is SUCCEEDED",
        ),
        denial(
            "dynamodb:Query rsqlflow-job-audit/index/by-run",
            "status good-0",
            "its execution is SUCCEEDED",
        ),
        denial("logs:GetLogEvents", "logs good-0", ""),
        denial("dynamodb:Scan rsqlflow-hosts", "hosts", ""),
        denial("lambda:InvokeFunction", "run good --id start-1 --wait", ""),
        denial("lambda:InvokeFunction", "cancel long-0 --yes", ""),
    ];
    let init = denial("cloudformation:DescribeStacks", "init --stack s --region us-east-1", "");
    all.push(Denial { again: None, ..init });
    all
}

fn prepare(world: &World<'_>) {
    let site = world.site;
    site.script("ok.sh", "#!/bin/sh\necho ok\n");
    site.script("long.sh", "#!/bin/sh\nexec sleep 3600\n");
    files(site);
    world.put(&item("good", &["ok.sh"]));
    world.put(&item("long", &["long.sh"]));
    let mut rescheduled = item("rescheduled", &["ok.sh"]);
    rescheduled["schedule"] = json!("cron(0 3 1 1 ? *)");
    world.put(&rescheduled);
    world.rsqlflow(&["run", "good", "--id", "good-0", "--wait"]).expect(0);
    world.rsqlflow(&["run", "long", "--id", "long-0"]).expect(0);
    wait_for("the run to go on", || (world.status("long-0")["execution_status"] == "running").then_some(()));
    world.rsqlflow(&["config", "list"]).expect(0);
}

#[test]
fn a_command_that_is_denied_says_what_is_done_and_is_right_once_it_is_allowed() {
    let site = Site::new();
    let world = World::start(&site, Kind::Embedded);
    let template = world.rsqlflow(&["template", "--output", "json"]).expect(0).json();
    prepare(&world);
    let settings = std::fs::read_to_string(site.path("rsqlflow.toml")).expect("the settings");
    let denials = denials();
    for Denial { action, command, says, again } in &denials {
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        let at = format!("{} without {action}", arguments.join(" "));
        let before = world.command_calls.denials();
        world.command_calls.deny(&[action]);
        let ran = world.rsqlflow(&arguments);
        world.command_calls.deny(&[]);
        assert!(world.command_calls.denials() > before, "{at}: never asked for it\n{ran:?}");
        assert_eq!(ran.code, 1, "{at}: {ran:?}");
        let name = action.split(' ').next().unwrap_or_default();
        let denied = format!("{USER} (keys of the environment) may not {name} on {}", resource(action));
        for text in ["error: ", &denied, *says, "next: attach the stack's OperatorPolicy"] {
            assert!(ran.stderr.contains(text), "{at}: `{text}` is not in\n{}", ran.stderr);
        }
        assert!(!ran.stderr.contains("panicked"), "{at}: {}", ran.stderr);
        if let Some(code) = again {
            let mended = world.rsqlflow(&arguments);
            assert_eq!(mended.code, *code, "{at}, and then with it: {mended:?}");
        }
    }
    assert_eq!(std::fs::read_to_string(site.path("rsqlflow.toml")).expect("the settings"), settings);
    // What was in two parts is whole.
    world.rsqlflow(&["schedule", "list"]).expect(0);
    assert_eq!(world.status("start-1")["execution_status"], "completed");
    assert_eq!(world.ended("long-0")["execution_status"], "cancelled");
    for statement in statements(&template, "OperatorPolicy") {
        let met =
            |wanted: &str| denials.iter().any(|denial| denial.action.split(' ').any(|part| part == wanted));
        for part in statement
            .actions
            .iter()
            .chain(&statement.tables)
            .filter(|part| !NOT_DENIED.contains(&part.as_str()))
        {
            assert!(met(part), "{}: no command is denied {part}", statement.sid);
        }
    }
}

#[test]
fn a_put_that_is_denied_in_the_middle_tells_of_every_file() {
    let site = Site::new();
    let world = World::start(&site, Kind::Embedded);
    site.script("ok.sh", "#!/bin/sh\n");
    files(&site);
    let put = ["config", "put", "a.json", "b.json", "c.json", "d.json"];
    world.command_calls.deny_after("dynamodb:PutItem rsqlflow-config", 2);
    let ran = world.rsqlflow(&[&put[..], &["--json"]].concat()).expect(1);
    world.command_calls.deny(&[]);
    let told = ran.json();
    let actions: Vec<_> = told.as_array().expect("a list").iter().map(|one| one["action"].clone()).collect();
    assert_eq!(actions, ["created", "created", "failed", "not_tried"]);
    assert!(told[2]["error"].as_str().expect("why").contains("may not dynamodb:PutItem"), "{told}");
    let said = "c.json: workflow c was not stored (2 of 4 files done before, 1 not tried): ";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    let again = world.rsqlflow(&put).expect(0).stdout;
    assert_eq!(again, "a: unchanged\nb: unchanged\nc: created\nd: created\n");
}
