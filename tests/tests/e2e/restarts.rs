//! `kill -9` of the embedded default between two stages: the run goes on after a restart, and nothing that had
//! finished runs again.

use std::fs::File;
use std::process::{Child, Stdio};

use rsqlflow_tests::processes::is_alive;
use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use rustix::process::{Pid, Signal, kill_process};
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
        // Finished means recorded; a script that was still running is adopted.
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
        assert_eq!(status["execution_status"], "completed", "round {at}: {status}");
        assert_eq!(site.lines("ran"), ["one", "two", "one"], "round {at}");
        up.stop();
    }
}

#[test]
fn a_script_survives_kill_9_of_the_process_that_started_it() {
    let site = Site::new();
    site.script(
        "wait.sh",
        "#!/bin/sh\necho $$ >> started\necho before\nuntil [ -e go ]; do sleep 0.05; done\necho after\nexit 7\n",
    );
    site.put(&json!({"workflow_id": "w", "workflow_stages": [{"execution_type": "sequential", "execution_flag": "y",
        "scripts": [{"script": "wait.sh", "job_name": "waits", "success_exit_codes": [7]}]}]}));
    let up = Up::start(&site);
    site.rsqlflow(&["run", "w", "--id", "r"]).expect(0);
    wait_for("the script to start", || (site.lines("scripts/started").len() == 1).then_some(()));
    // Once while it runs, once more, and once after it has ended with nobody there to see it.
    up.kill_9();
    Up::start(&site).kill_9();
    site.file("scripts/go", "");
    let pid = site.lines("scripts/started")[0].parse().unwrap();
    wait_for("the script to end", || (!is_alive(pid)).then_some(()));
    let up = Up::start(&site);
    let status = wait_for("the run to end", || {
        let status = site.status("r");
        (status["execution_status"] == "completed").then_some(status)
    });
    let job = &status["jobs"][0];
    assert_eq!((&job["exit_code"], &job["attempt"]), (&7.into(), &1.into()), "{job}");
    assert_eq!(site.lines("scripts/started").len(), 1, "it was started once");
    let log = wait_for("the log", || up.endpoint().log_stream("r/waits/1").filter(|lines| lines.len() > 1));
    assert_eq!(log, ["before", "after"]);
    up.stop();
    let left = site.processes(&[]);
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// Starts `rsqlflow run` without an `up`; what it says on standard error is in the file `said`.
fn run_alone(site: &Site, arguments: &[&str], said: &str) -> Child {
    site.command(&[&["run"], arguments].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(site.path(said)).unwrap())
        .spawn()
        .unwrap()
}

#[test]
fn a_command_that_leaves_does_not_end_the_scripts_of_others() {
    let site = Site::new();
    site.script("wait.sh", "#!/bin/sh\necho $$ >> started\nuntil [ -e go ]; do sleep 0.05; done\n");
    site.script("quick.sh", "#!/bin/sh\n");
    for (id, script) in [("w", "wait.sh"), ("quick", "quick.sh")] {
        site.put(&json!({"workflow_id": id, "workflow_stages": [
            {"execution_type": "sequential", "execution_flag": "y", "scripts": [script]}]}));
    }
    let mut first = run_alone(&site, &["w", "--id", "r"], "first");
    wait_for("the script to start", || (site.lines("scripts/started").len() == 1).then_some(()));
    first.kill().unwrap();
    first.wait().unwrap();
    let pid = site.lines("scripts/started")[0].parse().unwrap();

    // Refused: it does not wait for what it found.
    let refused = site.rsqlflow(&["run", "nosuch"]).expect(2);
    assert!(refused.stderr.contains("run r is left as it was found"), "{}", refused.stderr);
    assert!(is_alive(pid), "the script of run r was ended");

    // Done with its own, and told to leave.
    let mut second = run_alone(&site, &["quick", "--id", "q"], "second");
    wait_for("it to say that it waits for run r", || {
        site.lines("second").iter().any(|line| line.contains("carries run r too")).then_some(())
    });
    kill_process(Pid::from_child(&second), Signal::TERM).unwrap();
    assert!(second.wait().unwrap().success(), "{:?}", site.lines("second"));
    assert!(is_alive(pid), "the script of run r was ended");

    let up = Up::start(&site);
    site.file("scripts/go", "");
    let status = wait_for("the run to end", || {
        let status = site.status("r");
        (!["triggered", "running"].contains(&status["execution_status"].as_str()?)).then_some(status)
    });
    assert_eq!(status["execution_status"], "completed", "{status}");
    assert_eq!(site.lines("scripts/started").len(), 1, "it was started once");
    up.stop();
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
    let other = site.rsqlflow(&["run", "w", "--id", "r", "--param", "day=2", "--wait"]).expect(1);
    assert!(other.stderr.contains("with other parameters"), "{}", other.stderr);
    let other = site.rsqlflow(&["run", "v", "--id", "r", "--wait"]).expect(1);
    assert!(other.stderr.contains("of workflow `w`"), "{}", other.stderr);
    assert_eq!(site.lines("ran").len(), 1);
    assert_eq!(site.status("r")["execution_status"], "completed");
    up.stop();
}

#[test]
fn whoever_watches_goes_on_after_a_restart_of_up() {
    let site = Site::new();
    site.script(
        "wait.sh",
        "#!/bin/sh\necho before\ntouch started\nuntil [ -e go ]; do sleep 0.05; done\necho after\n",
    );
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "scripts": ["wait.sh"]}]}));
    let up = Up::start(&site);
    site.rsqlflow(&["run", "w", "--id", "r"]).expect(0);
    wait_for("the script to start", || site.path("scripts/started").exists().then_some(()));
    let watching = |arguments: &[&str], out: &str| {
        let file = File::create(site.path(out)).unwrap();
        site.command(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap()
    };
    let said = |out: &str, text: &str| {
        wait_for(text, || site.lines(out).iter().any(|line| line.contains(text)).then_some(()));
    };
    let mut status = watching(&["status", "r", "--watch"], "status");
    let mut logs = watching(&["logs", "r", "--follow"], "logs");
    said("status", "wait.sh");
    said("logs", "before");
    up.kill_9();
    // Each has noticed, so that what follows is the other port.
    said("status", "out of reach");
    said("logs", "out of reach");
    let up = Up::start(&site);
    site.file("scripts/go", "");
    assert!(status.wait().unwrap().success(), "{:?}", site.lines("status"));
    assert!(logs.wait().unwrap().success(), "{:?}", site.lines("logs"));
    assert!(site.lines("logs").iter().any(|line| line == "after"), "{:?}", site.lines("logs"));
    up.stop();
}

#[test]
fn the_warehouse_of_scripts_that_run_on_is_not_stopped_by_who_only_looks() {
    let site = Site::new();
    let up = Up::start(&site);
    // Asking for its connection starts it.
    up.shell("test -n \"$PORT\"").expect(0);
    let record = std::fs::read_to_string(site.data_dir().join("warehouse/connection.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let port = u16::try_from(record["port"].as_u64().unwrap()).unwrap();
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    up.kill_9();
    site.rsqlflow(&["runs"]).expect(0);
    assert!(listens(), "the warehouse was stopped");
    // Whoever carries runs ends it with them.
    Up::start(&site).stop();
    assert!(!listens(), "the warehouse was left");
}
