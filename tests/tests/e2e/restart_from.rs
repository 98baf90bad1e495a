//! Going on from a run that failed, or was cancelled, in the middle of a parallel stage: exactly the jobs that had not
//! completed run, and the records of both runs say so.

use std::fs;

use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::{Value, json};

fn workflow(at_once: u32) -> Value {
    let marts: Vec<Value> =
        (1..=5).map(|n| json!({"script": "mart.sh", "job_name": format!("mart-{n}")})).collect();
    json!({"workflow_id": "w", "parameters": {"day": "item"}, "workflow_stages": [
        {"stage_description": "Load", "execution_type": "sequential", "scripts": ["load.sh"]},
        {"stage_description": "Marts", "execution_type": "parallel", "max_concurrency": at_once, "scripts": marts},
        {"stage_description": "Report", "execution_type": "sequential", "scripts": ["report.sh"]}
    ]})
}

/// Scripts that write down who they are; a mart fails where there is a file of its name, and hangs where that says so.
fn site() -> Site {
    let site = Site::new();
    let ran = site.path("ran").display().to_string();
    for script in ["load.sh", "report.sh"] {
        site.script(script, &format!("#!/bin/sh\necho $JOB_NAME $day >> {ran}\n"));
    }
    let bad = site.path("bad").display().to_string();
    fs::create_dir(&bad).unwrap();
    site.script(
        "mart.sh",
        &format!(
            "#!/bin/sh\necho $JOB_NAME $day >> {ran}\n\
             if grep -q hang {bad}/$JOB_NAME 2>/dev/null; then exec sleep 600; fi\n\
             test ! -e {bad}/$JOB_NAME\n"
        ),
    );
    site
}

fn ran_since(site: &Site, before: usize) -> Vec<String> {
    let mut lines = site.lines("ran").split_off(before);
    lines.sort();
    lines
}

#[test]
fn after_a_failure_exactly_what_had_not_completed_runs() {
    let site = site();
    site.put(&workflow(2));
    for job in ["mart-2", "mart-4"] {
        site.file(&format!("bad/{job}"), "");
    }
    site.rsqlflow(&["run", "w", "--id", "first", "--param", "day=monday", "--wait"]).expect(1);
    assert_eq!(site.lines("ran").len(), 6);
    fs::remove_dir_all(site.path("bad")).unwrap();

    let error = site.rsqlflow(&["run", "w", "--restart-from", "first", "--only", "mart2"]).expect(2);
    assert!(error.stderr.contains("there is no job `mart2`; did you mean `mart-2`?"), "{}", error.stderr);

    let ran = site.rsqlflow(&["run", "--restart-from", "first", "--id", "second", "--wait"]).expect(0);
    assert_eq!(ran_since(&site, 6), ["mart-2 monday", "mart-4 monday", "report.sh monday"]);
    assert!(ran.stderr.contains("completed earlier"), "{}", ran.stderr);
    let second = site.status("second");
    assert_eq!(second["restart_of"], "first");
    assert_eq!(second["completed_earlier"], json!(["load.sh", "mart-1", "mart-3", "mart-5"]));
    assert_eq!(site.status("first")["restarted_by"], "second");

    let error = site.rsqlflow(&["run", "--restart-from", "first"]).expect(1);
    assert!(error.stderr.contains("run `second` goes on from run `first`"), "{}", error.stderr);
    let error = site.rsqlflow(&["run", "--restart-from", "second"]).expect(1);
    assert!(error.stderr.contains("nothing to run"), "{}", error.stderr);
    let again = ["run", "--restart-from", "second", "--from-stage", "Report", "--param", "day=x", "--wait"];
    site.rsqlflow(&again).expect(0);
    assert_eq!(ran_since(&site, 9), ["report.sh x"]);
}

#[test]
fn a_run_that_was_cancelled_in_the_middle_goes_on_as_it_was() {
    let site = site();
    site.put(&workflow(1));
    site.file("bad/mart-3", "hang");
    let up = Up::start(&site);
    site.rsqlflow(&["run", "w", "--id", "first"]).expect(0);
    wait_for("the third mart", || site.lines("ran").contains(&"mart-3 item".into()).then_some(()));
    let error = site.rsqlflow(&["run", "--restart-from", "first"]).expect(1);
    assert!(error.stderr.contains("has not ended (running)"), "{}", error.stderr);
    site.rsqlflow(&["cancel", "first", "--yes"]).expect(0);
    let job = |status: &Value, name: &str| {
        let jobs = status["jobs"].as_array().unwrap();
        jobs.iter().find(|job| job["job_name"] == name).map(|job| job["execution_status"].clone())
    };
    wait_for("the end of its script", || {
        job(&site.status("first"), "mart-3").is_some_and(|status| status == "cancelled").then_some(())
    });
    fs::remove_dir_all(site.path("bad")).unwrap();
    // The item changes meanwhile; the restart is of what it was.
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "sequential", "scripts": ["load.sh"]}]}));
    // The jobs after it may have been sent in the moment of the cancel; their host has the time to say so.
    let again = ["run", "--restart-from", "first", "--as-it-was", "--id", "second", "--wait"];
    let error = site.rsqlflow(&again).expect(1);
    assert!(
        error.stderr.contains("may have been given mart-4, mart-5 before: try again in"),
        "{}",
        error.stderr
    );
    wait_for("the host's time to be over", || match site.rsqlflow(&again) {
        refused if refused.stderr.contains("try again in") => None,
        ran => Some(ran.expect(0)),
    });
    assert_eq!(ran_since(&site, 4), ["mart-3 item", "mart-4 item", "mart-5 item", "report.sh item"]);
    drop(up);
}
