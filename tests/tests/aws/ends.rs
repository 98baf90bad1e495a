//! Runs that end otherwise: a script fails, is tried again, takes too long, is cancelled.

use rsqlflow_tests::processes::is_alive;
use rsqlflow_tests::wait_for;
use rsqlflow_tests::world::{World, job};
use serde_json::{Value, json};

fn workflow(id: &str, script: &Value) -> Value {
    json!({"workflow_id": id, "workflow_stages": [
        {"stage_description": "Only", "execution_flag": "y", "execution_type": "sequential", "scripts": [script]}]})
}

pub(crate) fn exit_21_is_told_everywhere(world: &mut World<'_>) {
    let ran = world.site.path("ran");
    world.site.script("ok.sh", &format!("#!/bin/sh\necho $JOB_NAME >> {}\n", ran.display()));
    world
        .site
        .script("bad.sh", "#!/bin/sh\necho start\necho 'relation \"nowhere\" does not exist' >&2\nexit 21\n");
    for kind in ["sequential", "parallel"] {
        let id = format!("f-{kind}");
        world.put(&json!({"workflow_id": kind, "workflow_stages": [
            {"stage_description": "Before", "execution_flag": "y", "execution_type": "sequential", "scripts": ["ok.sh"]},
            {"stage_description": "Broken", "execution_flag": "y", "execution_type": kind,
             "scripts": ["bad.sh", {"script": "ok.sh", "job_name": "beside"}]},
            {"stage_description": "After", "execution_flag": "y", "execution_type": "sequential",
             "scripts": [{"script": "ok.sh", "job_name": "after"}]}]}));
        let told = world.rsqlflow(&["run", kind, "--id", &id, "--wait"]).expect(1);
        assert!(told.stderr.contains("exit code 21"), "{}", told.stderr);
        world.settled();

        let message = "relation \"nowhere\" does not exist";
        let status = world.status(&id);
        assert_eq!(status["execution_status"], "failed");
        let error = status["error_message"].as_str().unwrap();
        assert!(error.contains("stage 2 (Broken)") && error.contains(message), "{status}");
        let bad = job(&status, "bad.sh");
        assert_eq!(
            (&bad["execution_status"], &bad["exit_code"], &bad["error"]),
            (&json!("failed"), &json!(21), &json!("Rsql.ExitCode")),
            "{status}"
        );
        assert!(bad["error_message"].as_str().unwrap().contains(message), "{bad}");
        assert_eq!(world.log(&format!("{id}/bad.sh/1")), ["start", message]);

        let execution = describe(world, status["execution_arn"].as_str().unwrap());
        assert_eq!((execution.0.as_str(), execution.1.as_str()), ("FAILED", "Rsql.RunFailed"));
        let cause: Value = serde_json::from_str(&execution.2).expect("the cause is JSON");
        let failed = &cause["stages"][0]["failed_jobs"][0];
        assert_eq!((&failed["job_name"], &failed["exit_code"]), (&json!("bad.sh"), &json!(21)), "{cause}");

        let lines = world.site.lines("ran");
        assert_eq!(lines.contains(&"beside".into()), kind == "parallel", "{lines:?}");
        assert!(!lines.contains(&"after".into()), "{lines:?}");
        std::fs::remove_file(&ran).unwrap();
    }
}

fn describe(world: &World<'_>, arn: &str) -> (String, String, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = aws_sdk_sfn::Client::new(&world.endpoint().config());
    let one = runtime.block_on(client.describe_execution().execution_arn(arn).send()).expect("the execution");
    (one.status.to_string(), one.error.unwrap_or_default(), one.cause.unwrap_or_default())
}

pub(crate) fn a_failed_attempt_is_retried(world: &mut World<'_>) {
    world.site.script("flaky.sh", "#!/bin/sh\necho attempt $ATTEMPT\n[ $ATTEMPT -gt 1 ] || exit 7\n");
    let retry = json!({"max_attempts": 3, "interval_seconds": 1, "backoff_rate": 1});
    world.put(&workflow("flaky", &json!({"script": "flaky.sh", "retry": retry})));
    world.rsqlflow(&["run", "flaky", "--id", "r-1", "--wait"]).expect(0);
    world.settled();
    let status = world.status("r-1");
    let flaky = job(&status, "flaky.sh");
    assert_eq!((&flaky["execution_status"], &flaky["attempt"]), (&json!("completed"), &json!(2)), "{status}");
    assert_eq!(world.log("r-1/flaky.sh/1"), ["attempt 1"]);
    assert_eq!(world.log("r-1/flaky.sh/2"), ["attempt 2"]);
}

/// Deaf to TERM, with a child that outlives its parent's wait.
fn deaf_script(world: &World<'_>) {
    let pids = world.site.path("pids");
    world.site.script(
        "deaf.sh",
        &format!("#!/bin/bash\ntrap '' TERM\nsleep 3600 & echo $! >> {0}\necho $$ >> {0}\nwhile :; do wait; done\n", pids.display()),
    );
}

fn started(world: &World<'_>) -> Vec<u32> {
    wait_for("the script to start", || {
        let pids: Vec<u32> = world.site.lines("pids").iter().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 2).then_some(pids)
    })
}

fn gone(pids: &[u32]) {
    wait_for("the process tree to end", || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
}

pub(crate) fn a_job_has_its_time(world: &mut World<'_>) {
    deaf_script(world);
    world.put(&workflow("slow", &json!({"script": "deaf.sh", "timeout_seconds": 1})));
    world.rsqlflow(&["run", "slow", "--id", "s-1", "--wait"]).expect(1);
    gone(&started(world));
    world.settled();
    let status = world.status("s-1");
    let deaf = job(&status, "deaf.sh");
    assert_eq!(
        (&deaf["execution_status"], &deaf["error"]),
        (&json!("timed_out"), &json!("Rsql.TimedOut")),
        "{status}"
    );
}

pub(crate) fn a_run_has_its_time(world: &mut World<'_>) {
    deaf_script(world);
    let mut item = workflow("late", &json!("deaf.sh"));
    item["timeout_seconds"] = json!(4);
    world.put(&item);
    world.rsqlflow(&["run", "late", "--id", "l-1", "--wait"]).expect(1);
    let status = world.status("l-1");
    assert_eq!(status["execution_status"], "timed_out", "{status}");
    assert!(status["error_message"].as_str().unwrap().contains("4 seconds"), "{status}");
    gone(&started(world));
}

pub(crate) fn a_run_is_cancelled(world: &mut World<'_>) {
    deaf_script(world);
    world.put(&workflow("long", &json!("deaf.sh")));
    world.rsqlflow(&["run", "long", "--id", "c-1"]).expect(0);
    let pids = started(world);
    world.rsqlflow(&["cancel", "c-1", "--yes"]).expect(0);
    gone(&pids);
    world.settled();
    let status = world.status("c-1");
    assert_eq!(status["execution_status"], "cancelled", "{status}");
    assert_eq!(job(&status, "deaf.sh")["execution_status"], "cancelled", "{status}");
    assert_eq!(describe(world, status["execution_arn"].as_str().unwrap()).0, "ABORTED");
}
