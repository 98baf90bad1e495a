//! A parallel stage of thirty over three hosts, of which one dies in the middle: what may run again does so on the
//! others, what may not is named.

use std::path::Path;

use rsqlflow_tests::daemon::Daemon;
use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const HOSTS: [&str; 3] = ["i-0000000a", "i-0000000b", "i-0000000c"];
const JOBS: usize = 30;

fn site() -> Site {
    let site = Site::new();
    let agents: String = HOSTS
        .iter()
        .map(|id| format!("{id} = \"{}\"\n", site.path(&format!("{id}.sock")).display()))
        .collect();
    site.settings(&format!("heartbeat_seconds = 3\n[agent]\ngrace_seconds = 1\n[local.agents]\n{agents}"));
    // Says where it runs and waits to be let go.
    site.script(
        "job.sh",
        "#!/bin/sh\necho \"$JOB_NAME $ATTEMPT\" >> started-$(basename $RSQLFLOW_AGENT_SOCKET .sock)\n\
         until [ -e go ]; do sleep 0.05; done\necho done\n",
    );
    site
}

/// The jobs that started on a host, and with which attempt.
fn started(site: &Site, host: &str) -> Vec<String> {
    site.lines(&format!("scripts/started-{host}"))
}

fn workflow(retry: Option<Value>) -> Value {
    let scripts: Vec<Value> = (0..JOBS)
        .map(|number| {
            let mut script = json!({"script": "job.sh", "job_name": format!("job-{number:02}")});
            if let Some(retry) = &retry {
                script["retry"] = retry.clone();
            }
            script
        })
        .collect();
    json!({"workflow_id": "w", "host": {"tag": "etl"}, "workflow_stages": [
        {"execution_type": "parallel", "execution_flag": "y", "scripts": scripts}]})
}

/// Runs the workflow, kills the first host with everything on it once all jobs have started, lets the others go on.
fn lose_a_host(retry: Option<Value>) -> (Value, Vec<String>) {
    let site = site();
    site.put(&workflow(retry));
    let up = Up::start(&site);
    let mut daemons: Vec<Daemon<'_>> =
        HOSTS.iter().map(|id| Daemon::start_host(&site, &up.endpoint(), id, "etl other")).collect();
    wait_for("three hosts", || {
        let hosts = site.rsqlflow(&["hosts", "--json"]).expect(0).json();
        let etl = |host: &&Value| host["tags"].as_array().unwrap().contains(&"etl".into());
        (hosts.as_array().unwrap().iter().filter(etl).count() == 3).then_some(())
    });
    site.rsqlflow(&["run", "w", "--id", "r"]).expect(0);
    wait_for("every job to start", || {
        (HOSTS.iter().map(|host| started(&site, host).len()).sum::<usize>() == JOBS).then_some(())
    });
    for host in HOSTS {
        assert_eq!(started(&site, host).len(), JOBS / 3, "jobs are spread evenly");
    }
    let lost: Vec<String> =
        started(&site, HOSTS[0]).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    daemons[0].kill_9();
    // The machine is gone, not only its agent.
    kill_host(&site.path(HOSTS[0]));
    site.file("scripts/go", "");
    let status = wait_for("the run to end", || {
        let status = site.status("r");
        (!["triggered", "running"].contains(&status["execution_status"].as_str()?)).then_some(status)
    });
    let online = site.rsqlflow(&["hosts"]).expect(0).stdout;
    assert!(HOSTS.iter().all(|host| online.contains(host)), "{online}");
    for mut daemon in daemons.drain(1..) {
        daemon.stop();
    }
    up.stop();
    (status, lost)
}

/// Kills every process that has a file of the host open: scripts and their supervisors.
fn kill_host(directory: &Path) {
    let pids = std::fs::read_dir("/proc").unwrap();
    for pid in pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok()) {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let mut open = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        if open.any(|file| file.starts_with(directory)) {
            // It may be gone with its parent.
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

fn jobs(status: &Value) -> Vec<Value> {
    status["jobs"].as_array().unwrap().clone()
}

#[test]
fn what_may_run_again_does_so_on_another_host() {
    let retry = json!({"max_attempts": 2, "errors": ["Rsql.HostLost"]});
    let (status, lost) = lose_a_host(Some(retry));
    assert_eq!(status["execution_status"], "completed", "{status}");
    assert_eq!(lost.len(), JOBS / 3);
    for job in jobs(&status) {
        let name = job["job_name"].as_str().unwrap().to_owned();
        assert_eq!(job["execution_status"], "completed", "{job}");
        let again = lost.contains(&name);
        assert_eq!(job["attempt"], if again { 3 } else { 1 }, "{job}");
        assert_ne!(job["instance_id"], HOSTS[0], "{job}");
        if again {
            let earlier = &job["attempts"][0];
            assert!(earlier["error_message"].as_str().unwrap().contains(HOSTS[0]), "{job}");
        }
    }
}

#[test]
fn what_may_not_run_again_is_named() {
    let (status, lost) = lose_a_host(None);
    assert_eq!(status["execution_status"], "failed", "{status}");
    let message = status["error_message"].as_str().unwrap();
    for job in jobs(&status) {
        let name = job["job_name"].as_str().unwrap().to_owned();
        let expected = if lost.contains(&name) { "failed" } else { "completed" };
        assert_eq!(job["execution_status"], expected, "{job}");
        assert_eq!(message.contains(&name), lost.contains(&name), "{message}");
    }
}

#[test]
fn where_no_host_fits_the_run_fails_and_says_so() {
    let site = site();
    site.put(&workflow(None));
    let up = Up::start(&site);
    let ran = site.rsqlflow(&["run", "w", "--id", "r", "--wait"]).expect(1);
    assert!(ran.stderr.contains("no host with tag etl is online"), "{}", ran.stderr);
    let daemon = Daemon::start_host(&site, &up.endpoint(), HOSTS[0], "etl");
    daemon.ask(&["drain"]).expect(0);
    wait_for("the host to be drained", || {
        site.rsqlflow(&["hosts"]).expect(0).stdout.contains("drained").then_some(())
    });
    site.rsqlflow(&["run", "w", "--id", "r2", "--wait"]).expect(1);
    daemon.ask(&["undrain"]).expect(0);
    site.file("scripts/go", "");
    wait_for("the host to be back", || {
        let hosts = site.rsqlflow(&["hosts"]).expect(0).stdout;
        (!hosts.contains("drained")).then_some(())
    });
    site.rsqlflow(&["run", "w", "--id", "r3", "--wait"]).expect(0);
    up.stop();
}
