//! Time that nobody sees pass: `rsqlflow up` is stopped for a while, and the clock is set. Jobs that are well stay so.

use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::{Value, json};

fn parallel(scripts: &[Value]) -> Value {
    json!({"workflow_id": "w", "workflow_stages":
        [{"execution_type": "parallel", "execution_flag": "y", "scripts": scripts}]})
}

fn end(site: &Site, run: &str) -> Value {
    wait_for("the run to end", || {
        let status = site.status(run);
        (!["triggered", "running"].contains(&status["execution_status"].as_str()?)).then_some(status)
    })
}

#[test]
fn jobs_that_end_while_up_is_stopped_are_completed() {
    let site = Site::new();
    // They outlast a heartbeat interval, which is 3 seconds here, and end well with nobody there to hear of it.
    site.script("long.sh", "#!/bin/sh\necho started >> started\nsleep 6\necho ended >> ended\n");
    let scripts: Vec<Value> =
        (0..8).map(|at| json!({"script": "long.sh", "job_name": format!("job{at}")})).collect();
    site.put(&parallel(&scripts));
    let up = Up::start(&site);
    site.rsqlflow(&["run", "w", "--id", "r"]).expect(0);
    wait_for("the scripts to start", || (site.lines("scripts/started").len() == 8).then_some(()));
    up.freeze();
    wait_for("the scripts to end", || (site.lines("scripts/ended").len() == 8).then_some(()));
    up.thaw();
    let status = end(&site, "r");
    assert_eq!(status["execution_status"], "completed", "{status:#}\n{}", up.log());
    up.stop();
}

#[test]
fn a_clock_that_is_set_ends_no_job() {
    let site = Site::new();
    site.script("wait.sh", "#!/bin/sh\necho started >> started\nuntil [ -e go ]; do sleep 0.05; done\n");
    site.put(&parallel(&[json!({"script": "wait.sh", "timeout_seconds": 60})]));
    let clock = site.path("clock");
    site.file("clock", "0");
    let up = Up::start_in(&site, &[], &[("TEST_CLOCK_OFFSET_FILE", clock.as_path())]);
    site.rsqlflow(&["run", "w", "--id", "r"]).expect(0);
    wait_for("the script to start", || (site.lines("scripts/started").len() == 1).then_some(()));
    // Less than what signatures may be off by, more than heartbeats and the limit together.
    for (ahead, told) in [("250000", "the clock jumped forward"), ("-20000", "the clock was set back")] {
        site.file("clock", ahead);
        wait_for(told, || up.log().contains(told).then_some(()));
    }
    site.file("scripts/go", "");
    let status = end(&site, "r");
    assert_eq!(status["execution_status"], "completed", "{status:#}\n{}", up.log());
    up.stop();
}
