//! Schedules from the item to the run: made by `config put`, fired by `rsqlflow up`, once each, whatever happens.

use rsqlflow_tests::aws::aws;
use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::{Value, json};

/// A site with one script, which notes its run.
fn site() -> Site {
    let site = Site::new();
    let notes = site.path("notes");
    site.script("note.sh", &format!("#!/bin/sh\necho $WORKFLOW_EXECUTION_ID >> {}\n", notes.display()));
    site
}

fn item(id: &str, more: Value) -> Value {
    let mut item = json!({
        "workflow_id": id,
        "workflow_stages": [{ "execution_type": "sequential", "scripts": ["note.sh"] }],
    });
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item
}

/// The run that a schedule has started, once it has completed. A rate fires as soon as it is made.
fn completed(site: &Site, workflow: &str) -> String {
    wait_for(&format!("a run of {workflow}"), || {
        let runs = site.rsqlflow(&["runs", workflow, "--json"]).expect(0).json();
        let run = runs[0].as_object().filter(|run| run["execution_status"] == "completed")?;
        assert!(run["started_by"].as_str().unwrap().contains("schedule"), "{run:?}");
        Some(run["workflow_execution_id"].as_str().unwrap().to_string())
    })
}

fn runs(site: &Site) -> Vec<String> {
    let runs = site.rsqlflow(&["runs", "--json"]).expect(0).json();
    let ids =
        runs.as_array().unwrap().iter().map(|run| run["workflow_execution_id"].as_str().unwrap().to_string());
    ids.collect()
}

#[test]
fn a_scheduled_time_is_one_run_however_often_it_is_told() {
    let site = site();
    let up = Up::start(&site);
    site.put(&item("once", json!({ "schedule": "rate(1 day)" })));
    let run = completed(&site, "once");

    // The event is delivered again, by hand.
    let schedule = aws(&up, "scheduler get-schedule --group-name rsqlflow --name once");
    let (date, time) = run.strip_prefix("once-").unwrap().split_at(8);
    let scheduled = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[1..3],
        &time[3..5],
        &time[5..7]
    );
    let event =
        schedule["Target"]["Input"].as_str().unwrap().replace("<aws.scheduler.scheduled-time>", &scheduled);
    let file = site.file("event.json", &event);
    up.shell(&format!(
        "aws lambda invoke --function-name rsqlflow-trigger --payload fileb://{} /dev/stdout",
        file.display()
    ))
    .expect(0);
    // And the process that fires is killed and starts again; what fires after it says that it has looked.
    up.kill_9();
    let up = Up::start(&site);
    site.put(&item("later", json!({ "schedule": "rate(1 day)" })));
    let later = completed(&site, "later");
    assert_eq!(site.lines("notes"), [run.clone(), later.clone()]);
    assert_eq!(runs(&site), [later, run]);
    up.stop();
}

#[test]
fn a_time_that_passed_while_nobody_looked_is_made_up_for() {
    let site = site();
    site.put(&item("paused", json!({ "schedule": "rate(1 day)", "execution_flag": "n" })));
    site.put(&item("missed", json!({ "schedule": "rate(1 day)" })));
    let up = Up::start(&site);
    let run = completed(&site, "missed");
    assert_eq!(site.lines("notes"), std::slice::from_ref(&run));
    assert_eq!(runs(&site), [run]);
    up.stop();
}

#[test]
fn items_and_schedules_are_kept_together() {
    let site = site();
    let up = Up::start(&site);
    let nightly =
        item("nightly", json!({ "schedule": "cron(30 2 * * ? *)", "schedule_timezone": "Europe/Berlin" }));
    let file = site.file("nightly.json", &nightly.to_string());
    let put = ["config", "put", file.to_str().unwrap()];
    let diff = ["config", "diff", file.to_str().unwrap()];
    let told = site.rsqlflow(&put).expect(0);
    assert_eq!(told.stdout, "nightly: created, schedule created\n");
    assert!(told.stderr.contains("nightly starts next at "), "{}", told.stderr);
    assert_eq!(site.rsqlflow(&put).expect(0).stdout, "nightly: unchanged, schedule unchanged\n");
    let listed = site.rsqlflow(&["schedule", "list", "--json"]).expect(0).json();
    assert_eq!((&listed[0]["state"], &listed[0]["drift"]), (&json!("enabled"), &json!("none")));
    assert_eq!(listed[0]["next"].as_array().unwrap().len(), 3);
    assert!(listed[0]["next"][0]["local"].as_str().unwrap().contains("T02:30:00+0"), "{listed}");

    // Somebody changes the schedule behind the item's back, then deletes it: told by both commands, mended by a put.
    let group = "--group-name rsqlflow --name nightly";
    aws(
        &up,
        &format!(
            "scheduler update-schedule {group} --schedule-expression 'rate(1 day)' --flexible-time-window Mode=OFF \
             --target \"$(aws scheduler get-schedule {group} --query Target --output json)\""
        ),
    );
    let told = site.rsqlflow(&diff).expect(1);
    assert!(
        told.stdout.contains("- schedule: rate(1 day)\n+ schedule: cron(30 2 * * ? *)\n"),
        "{}",
        told.stdout
    );
    assert_eq!(site.rsqlflow(&put).expect(0).stdout, "nightly: unchanged, schedule updated\n");
    aws(&up, &format!("scheduler delete-schedule {group}"));
    let told = site.rsqlflow(&["schedule", "list"]).expect(1);
    assert!(told.stdout.contains("missing in Scheduler"), "{}", told.stdout);
    assert_eq!(site.rsqlflow(&put).expect(0).stdout, "nightly: unchanged, schedule created\n");
    site.rsqlflow(&diff).expect(0);

    // Switched off, the schedule stays and does not fire; without a schedule in the item there is none.
    site.put(&item("nightly", json!({ "schedule": "rate(1 day)", "execution_flag": "n" })));
    let listed = site.rsqlflow(&["schedule", "list", "nightly", "--json"]).expect(0).json();
    assert_eq!((&listed[0]["state"], &listed[0]["next"]), (&json!("disabled"), &json!([])));
    site.put(&item("nightly", json!({})));
    assert_eq!(site.rsqlflow(&["schedule", "list", "--json"]).expect(0).json(), json!([]));
    site.rsqlflow(&put).expect(0);
    let told = site.rsqlflow(&["config", "delete", "nightly"]).expect(2);
    assert!(told.stderr.contains("next: the same command with --yes"), "{}", told.stderr);
    let told = site.rsqlflow(&["config", "delete", "nightly", "--yes"]).expect(0);
    assert_eq!(told.stdout, "nightly: deleted, and its schedule\n");
    assert_eq!(aws(&up, "scheduler list-schedules --group-name rsqlflow")["Schedules"], json!([]));
    assert_eq!(site.lines("notes"), [""; 0]);
    up.stop();
}

#[test]
fn an_item_that_is_not_valid_or_gone_is_no_item_without_a_schedule() {
    let site = site();
    let up = Up::start(&site);
    for id in ["typo", "gone"] {
        site.put(&item(id, json!({ "schedule": "cron(30 2 1 1 ? *)" })));
    }
    let key =
        |id: &str| format!("--table-name rsqlflow-config --key '{{\"workflow_id\": {{\"S\": \"{id}\"}}}}'");
    aws(
        &up,
        &format!(
            "dynamodb update-item {} --update-expression 'SET workflow_stagess = :x' \
             --expression-attribute-values '{{\":x\": {{\"S\": \"x\"}}}}' --return-values ALL_NEW",
            key("typo")
        ),
    );
    aws(&up, &format!("dynamodb delete-item {} --return-values ALL_OLD", key("gone")));
    let told = site.rsqlflow(&["schedule", "list"]).expect(1);
    assert!(told.stdout.contains("the item is not valid"), "{}", told.stdout);
    assert!(told.stdout.contains("there is no item"), "{}", told.stdout);
    let listed = site.rsqlflow(&["schedule", "list", "--json"]).expect(1).json();
    assert_eq!((&listed[0]["drift"], &listed[0]["state"]), (&json!("unwanted"), &json!("enabled")));
    assert_eq!((&listed[1]["drift"], &listed[1]["state"]), (&json!("invalid"), &json!("enabled")));
    // What it says to do does it.
    let delete = "rsqlflow config delete gone";
    assert!(told.stderr.contains(delete), "{}", told.stderr);
    let told = site.rsqlflow(&["config", "delete", "gone", "--yes"]).expect(0);
    assert_eq!(told.stdout, "gone: deleted, and its schedule\n");
    let get = site.rsqlflow(&["config", "get", "typo"]).expect(0).stdout;
    let file = site.file("typo.json", &get);
    let told = site.rsqlflow(&["config", "validate", file.to_str().unwrap()]).expect(2);
    assert!(told.stderr.contains("workflow_stagess"), "{}", told.stderr);
    up.stop();
}

#[test]
fn of_two_who_put_at_once_the_last_item_has_its_schedule() {
    let site = site();
    let up = Up::start(&site);
    site.put(&item("busy", json!({ "schedule": "cron(0 0 1 1 ? *)" })));
    for round in 0..5 {
        let puts: Vec<_> = (1..=3)
            .map(|minute| {
                let schedule = format!("cron({} {round} 1 1 ? *)", minute * 10);
                let text = item("busy", json!({ "schedule": schedule })).to_string();
                let file = site.file(&format!("busy-{minute}.json"), &text);
                let mut put = site.command(&["config", "put", file.to_str().unwrap()]);
                put.stdout(std::process::Stdio::null()).spawn().unwrap()
            })
            .collect();
        for mut put in puts {
            assert!(put.wait().unwrap().success());
        }
        site.rsqlflow(&["schedule", "list"]).expect(0);
    }
    up.stop();
}

#[test]
fn a_process_killed_while_it_fires_leaves_one_run() {
    let site = site();
    // Where it is killed: as soon as it can be reached, when the trigger has begun, when the event is struck out.
    for (workflow, mark) in [("a", ""), ("b", "rsqlflow-master:b-"), ("c", "fired schedule=\"rsqlflow/c\"")] {
        site.put(&item(workflow, json!({ "schedule": "rate(1 day)" })));
        let up = Up::start(&site);
        wait_for("the moment", || up.log().contains(mark).then_some(()));
        up.kill_9();
        let up = Up::start(&site);
        let run = completed(&site, workflow);
        assert_eq!(site.lines("notes").iter().filter(|line| **line == run).count(), 1, "{}", up.log());
        up.stop();
    }
    assert_eq!(runs(&site).len(), 3);
    assert_eq!(site.lines("notes").len(), 3);
}
