//! `kill -9` of the embedded default between two stages: the run goes on after a restart, and nothing that had
//! finished runs again.

use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::json;

#[test]
fn a_run_survives_kill_9_between_stages() {
    let site = Site::new();
    let ran = site.path("ran");
    site.script("one.sh", &format!("#!/bin/sh\necho one >> {}\n", ran.display()));
    site.script("two.sh", &format!("#!/bin/sh\necho two >> {}\n", ran.display()));
    let stage = |scripts: serde_json::Value| json!({"execution_type": "sequential", "execution_flag": "y", "scripts": scripts});
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        stage(json!(["one.sh"])), stage(json!(["two.sh"])), stage(json!([{"script": "one.sh", "job_name": "three"}]))
    ]}));
    // Kill at many different moments: as soon as stage one, or stage two, has been seen to have run.
    for (at, marks) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        let id = format!("r{at}");
        // Files of earlier rounds are not there in the first.
        let _ = std::fs::remove_file(&ran);
        let up = Up::start(&site);
        site.rsqlflow(&["run", "w", "--id", &id]).expect(0);
        wait_for("the stages before the kill", || (site.lines("ran").len() >= marks).then_some(()));
        // Finished means recorded: a script that was still running may be run or reported lost.
        wait_for("the record of the finished job", || {
            let status = site.status(&id);
            let done = status["jobs"]
                .as_array()?
                .iter()
                .filter(|job| job["execution_status"] == "completed")
                .count();
            (done >= marks).then_some(())
        });
        up.kill_9();

        let up = Up::start(&site);
        let status = wait_for("the run to end", || {
            let status = site.status(&id);
            (!["triggered", "running"].contains(&status["execution_status"].as_str()?)).then_some(status)
        });
        let lines = site.lines("ran");
        if status["execution_status"] == "completed" {
            assert_eq!(lines, ["one", "two", "one"], "round {at}");
        } else {
            // The kill hit a script that was running: its end is unknown, and is told so; nothing ran twice.
            let jobs = status["jobs"].as_array().unwrap();
            assert!(jobs.iter().any(|job| job["error"] == "Rsql.HostLost"), "round {at}: {status}");
            assert!(lines.len() <= 3, "round {at}: {lines:?}");
        }
        up.stop();
    }
}

#[test]
fn a_run_started_without_up_is_carried_by_its_own_command() {
    let site = Site::new();
    site.script("one.sh", "#!/bin/sh\necho hello\n");
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "scripts": ["one.sh"]}]}));
    site.rsqlflow(&["run", "w", "--id", "alone", "--wait"]).expect(0);
    assert_eq!(site.status("alone")["execution_status"], "completed");
    let runs = site.rsqlflow(&["runs", "--json"]).expect(0).json();
    assert_eq!(runs[0]["workflow_execution_id"], "alone");
    assert!(site.rsqlflow(&["logs", "alone"]).expect(0).stdout.contains("hello"));
}

#[test]
fn one_id_is_one_run() {
    let site = Site::new();
    site.script("one.sh", &format!("#!/bin/sh\necho ran >> {}\n", site.path("ran").display()));
    for id in ["w", "v"] {
        site.put(&json!({"workflow_id": id, "workflow_stages": [
            {"execution_type": "sequential", "execution_flag": "y", "scripts": ["one.sh"]}]}));
    }
    let up = Up::start(&site);
    // Two at once, then one more after the end.
    let mut rival = site.command(&["run", "w", "--id", "r", "--wait"]);
    let rival = std::thread::spawn(move || rsqlflow_tests::site::run(&mut rival));
    site.rsqlflow(&["run", "w", "--id", "r", "--wait"]).expect(0);
    rival.join().unwrap().expect(0);
    site.rsqlflow(&["run", "w", "--id", "r", "--wait"]).expect(0);
    assert_eq!(site.lines("ran").len(), 1);

    // The id of one run is not another's.
    let other = site.rsqlflow(&["run", "w", "--id", "r", "--param", "DAY=2", "--wait"]).expect(1);
    assert!(other.stderr.contains("with other parameters"), "{}", other.stderr);
    let other = site.rsqlflow(&["run", "v", "--id", "r", "--wait"]).expect(1);
    assert!(other.stderr.contains("of workflow `w`"), "{}", other.stderr);
    assert_eq!(site.lines("ran").len(), 1);
    assert_eq!(site.status("r")["execution_status"], "completed");
    up.stop();
}
