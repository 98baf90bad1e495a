//! The agent is upgraded while scripts run: a package replaces its programs and restarts it. Nothing of the scripts
//! notices, and every one is reported with its true exit code.

use std::path::Path;

use rsqlflow_tests::daemon::{self, Daemon};
use rsqlflow_tests::site::{Site, binaries, run};
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::{Value, json};

/// What a package of the agent brings.
const PROGRAMS: [&str; 3] = ["rsqlflow-agent", "rsqlflow-supervisor", "rsql"];

/// Puts a program in place as a package manager does: written beside it, then renamed over it.
fn install(to: &Path) {
    for name in PROGRAMS {
        let new = to.join(format!("{name}.new"));
        std::fs::copy(binaries().join(name), &new).unwrap();
        std::fs::rename(new, to.join(name)).unwrap();
    }
}

#[test]
fn ten_scripts_outlive_an_upgrade() {
    let site = Site::new();
    site.settings(&format!(
        "heartbeat_seconds = 30\n[local]\nagent_socket = \"{}\"\n",
        daemon::socket(&site).display()
    ));
    // Each starts before the upgrade and ends after it, with a code of its own.
    site.script(
        "wait.sh",
        "#!/bin/sh\necho $$ >> $JOB_NAME.started\necho before\nuntil [ -e go ]; do sleep 0.05; done\necho after\nexit $3\n",
    );
    let jobs: Vec<Value> = (0..10)
        .map(|code| {
            json!({"script": "wait.sh", "job_name": format!("job-{code}"), "arguments": [code.to_string()],
                   "success_exit_codes": [code]})
        })
        .collect();
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "parallel", "execution_flag": "y", "scripts": jobs}]}));
    site.put(&json!({"workflow_id": "late", "workflow_stages": [{"execution_type": "sequential",
        "execution_flag": "y", "scripts": [{"script": "wait.sh", "job_name": "late", "arguments": ["0"]}]}]}));
    let up = Up::start(&site);
    let bin = site.path("bin");
    std::fs::create_dir(&bin).unwrap();
    install(&bin);
    let mut daemon =
        Daemon::start_as(&site, &up.endpoint(), &bin.join("rsqlflow-agent"), &site.path("agent"));

    let mut ended = site.command(&["run", "w", "--id", "r", "--wait"]);
    let ended = std::thread::spawn(move || run(&mut ended));
    let pids = wait_for("ten scripts to start", || {
        let pids: Vec<_> = (0..10).flat_map(|n| site.lines(&format!("scripts/job-{n}.started"))).collect();
        (pids.len() == 10).then_some(pids)
    });

    // Between the replacement and the restart the old daemon starts the new supervisor.
    install(&bin);
    site.rsqlflow(&["run", "late", "--id", "between"]).expect(0);
    wait_for("a script to start in between", || {
        (site.lines("scripts/late.started").len() == 1).then_some(())
    });
    daemon.stop();
    for pid in &pids {
        assert!(
            rsqlflow_tests::processes::is_alive(pid.parse().unwrap()),
            "script {pid} ended with the daemon"
        );
    }
    // What is sent while there is no daemon waits for the next.
    site.rsqlflow(&["run", "late", "--id", "while-down"]).expect(0);
    daemon.restart();
    daemon.wait_until_it_listens();
    wait_for("the script that was sent meanwhile", || {
        (site.lines("scripts/late.started").len() == 2).then_some(())
    });

    site.file("scripts/go", "");
    ended.join().unwrap().expect(0);
    for late in ["between", "while-down"] {
        wait_for("the late runs", || (site.status(late)["execution_status"] == "completed").then_some(()));
    }
    wait_for("every job to be settled", || daemon.jobs().is_empty().then_some(()));
    let status = site.status("r");
    for code in 0..10 {
        let job =
            status["jobs"].as_array().unwrap().iter().find(|job| job["job_name"] == format!("job-{code}"));
        let job = job.unwrap_or_else(|| panic!("no job-{code} in {status}"));
        assert_eq!(
            (&job["execution_status"], &job["exit_code"]),
            (&"completed".into(), &code.into()),
            "{job}"
        );
        assert_eq!(
            site.lines(&format!("scripts/job-{code}.started")).len(),
            1,
            "job-{code} was started again"
        );
        let log = up.endpoint().log_stream(&format!("r/job-{code}/1"));
        assert_eq!(log.unwrap_or_default(), ["before", "after"]);
    }
    daemon.stop();
    up.stop();
    let left = site.processes(&[]);
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// What a script asks of its agent waits for one that is away: killed, stopped, or replaced.
#[test]
fn a_dozen_scripts_get_their_credentials_through_restarts_of_the_agent() {
    const SCRIPTS: usize = 12;
    let site = Site::new();
    site.settings(&format!(
        "heartbeat_seconds = 60\n[local]\nagent_socket = \"{}\"\n",
        daemon::socket(&site).display()
    ));
    site.script(
        "ask.sh",
        "#!/bin/sh\ntouch $JOB_NAME.asks\nuntil [ -e enough ]; do\n\
         rsqlflow-agent credentials \"$2\" > $JOB_NAME.given || exit 1\n\
         rsqlflow-agent jobs --json > $JOB_NAME.jobs || exit 2\n\
         . \"$1/get_redshift_creds.sh\" \"$2\"; echo >> $JOB_NAME.answers\ndone\n",
    );
    let jobs: Vec<Value> =
        (0..SCRIPTS).map(|n| json!({"script": "ask.sh", "job_name": format!("job-{n}")})).collect();
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "parallel", "execution_flag": "y", "scripts": jobs}]}));
    let up = Up::start(&site);
    let mut daemon = Daemon::start(&site, &up.endpoint());
    site.rsqlflow(&["run", "w", "--id", "r"]).expect(0);
    let answers = || -> Vec<usize> {
        (0..SCRIPTS).map(|n| site.lines(&format!("scripts/job-{n}.answers")).len()).collect()
    };
    let all_have =
        |more: &[usize]| answers().iter().zip(more).all(|(now, before)| now > before).then_some(());
    wait_for("every script to have asked", || all_have(&[0; SCRIPTS]));
    for round in 0..8 {
        if round % 2 == 0 {
            daemon.kill_9()
        } else {
            daemon.stop()
        }
        let before = answers();
        daemon.restart();
        daemon.wait_until_it_listens();
        wait_for("every script to be answered by the next agent", || {
            let status = site.status("r");
            let ended =
                |job: &Value| !["triggered", "running"].contains(&job["execution_status"].as_str().unwrap());
            let failed = status["jobs"].as_array().into_iter().flatten().find(|job| ended(job));
            assert!(failed.is_none(), "round {round}: {failed:?}");
            all_have(&before)
        });
    }
    site.file("scripts/enough", "");
    wait_for("the run to end", || (site.status("r")["execution_status"] == "completed").then_some(()));
    daemon.stop();
    up.stop();
}
