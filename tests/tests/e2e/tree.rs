//! A script that does everything to be left behind: it ignores TERM, forks twice, leaves its session, forgets its
//! environment and its working directory. Whoever ends it, nothing of it is left two seconds after the grace period.

use std::time::{Duration, Instant};

use rsqlflow_tests::daemon::{self, Daemon};
use rsqlflow_tests::processes::is_alive;
use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::{Value, json};

const GRACE: Duration = Duration::from_secs(1);

/// What the sweep may take after the grace period.
const SWEEP: Duration = Duration::from_secs(2);

/// Six processes, each of which notes its id: the script, a child, a grandchild whose parent is gone, the leader of a
/// session of its own, its child, and one without anything of the script's environment.
const SCRIPT: &str = r#"#!/bin/bash
trap 'echo TERM >> termed' TERM
pids=$PWD/pids
stay() { echo $BASHPID >> $pids; while :; do sleep 1000; done; }
echo $$ >> $pids
(trap '' TERM; stay) &
(trap '' TERM; (trap '' TERM; stay) & exit) &
setsid bash -c "trap '' TERM; echo \$\$ >> $pids; (echo \$BASHPID >> $pids; while :; do sleep 1000; done) & wait; sleep 1000" &
(cd /; exec env -i setsid /bin/bash -c "trap '' TERM; echo \$\$ >> $pids; while :; do /bin/sleep 1000; done") &
while :; do sleep 1000 & wait; done
"#;

const PROCESSES: usize = 6;

/// Runs the script, lets it be ended, and watches it go.
fn ends(site: &Site, run: &str, settings: &Value, end: impl FnOnce()) {
    for file in ["scripts/pids", "scripts/termed"] {
        // There are none before the first.
        let _ = std::fs::remove_file(site.path(file));
    }
    let mut script = json!({"script": "tree.sh"});
    script.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    site.put(&json!({"workflow_id": run, "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "scripts": [script]}]}));
    site.rsqlflow(&["run", run, "--id", run]).expect(0);
    let pids: Vec<u32> = wait_for("every process of the script", || {
        let pids = site.lines("scripts/pids");
        (pids.len() == PROCESSES).then(|| pids.iter().map(|pid| pid.parse().unwrap()).collect())
    });
    end();
    wait_for("TERM", || site.path("scripts/termed").exists().then_some(()));
    let told = Instant::now();
    let alive = || pids.iter().copied().filter(|pid| is_alive(*pid)).collect::<Vec<_>>();
    wait_for("the end of every process", || {
        let left = alive();
        assert!(
            left.is_empty() || told.elapsed() < GRACE + SWEEP,
            "{run}: of {pids:?} there are {left:?} left {:?} after TERM",
            told.elapsed()
        );
        left.is_empty().then_some(())
    });
    assert_eq!(site.lines("scripts/termed"), ["TERM"], "one polite request");
}

fn job(site: &Site, run: &str) -> (String, String) {
    let status = wait_for("the record of the job", || {
        let status = site.status(run);
        (!["triggered", "running"].contains(&status["jobs"][0]["execution_status"].as_str()?))
            .then_some(status)
    });
    let job = &status["jobs"][0];
    eprintln!("{run}: {job}");
    (job["execution_status"].as_str().unwrap().into(), job["error"].as_str().unwrap_or_default().into())
}

#[test]
fn nothing_is_left_of_a_script_that_wants_to_stay() {
    let site = Site::new();
    site.settings(&format!(
        "heartbeat_seconds = 9\n[agent]\ngrace_seconds = {}\n[local]\nagent_socket = \"{}\"\n",
        GRACE.as_secs(),
        daemon::socket(&site).display()
    ));
    site.script("tree.sh", SCRIPT);
    let up = Up::start(&site);
    let mut daemon = Daemon::start(&site, &up.endpoint());
    let words = |status: &str, error: &str| (status.to_owned(), error.to_owned());

    ends(&site, "cancelled", &json!({}), || {
        site.rsqlflow(&["cancel", "cancelled", "--yes"]).expect(0);
    });
    assert_eq!(job(&site, "cancelled"), words("cancelled", "Rsql.Cancelled"));

    ends(&site, "timed-out", &json!({"timeout_seconds": 2}), || {});
    assert_eq!(job(&site, "timed-out"), words("timed_out", "Rsql.TimedOut"));

    ends(&site, "stalled", &json!({"stall_seconds": 2}), || {});
    assert_eq!(job(&site, "stalled"), words("timed_out", "Rsql.Stalled"));

    // Adopted by a daemon that never started it.
    ends(&site, "adopted", &json!({}), || {
        daemon.kill_9();
        daemon.restart();
        daemon.wait_until_it_listens();
        site.rsqlflow(&["cancel", "adopted", "--yes"]).expect(0);
    });
    assert_eq!(job(&site, "adopted"), words("cancelled", "Rsql.Cancelled"));

    wait_for("every job to be settled", || daemon.jobs().is_empty().then_some(()));
    let left = site.processes(&[up.pid(), daemon.pid()]);
    assert!(left.is_empty(), "processes are left: {left:?}");
    daemon.stop();
    up.stop();
}
