//! The binary itself: its exit codes, and a daemon that is killed for real.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::world::{World, is_alive, pids, until};

pub(crate) fn agent(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsqlflow-agent"));
    command
        .env_remove("RSQLFLOW_AGENT_SOCKET")
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A daemon whose AWS is a port that nobody listens on: an outage.
pub(crate) async fn serve(world: &World) -> Child {
    let log = std::fs::File::create(world.dir.path().join("daemon.log")).unwrap();
    let mut daemon = agent(&world.config.data_dir)
        .arg("serve")
        .current_dir(world.dir.path())
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("RSQLFLOW_SCRIPTS_DIR", &world.config.scripts_dir)
        .env("RSQLFLOW_AGENT_GRACE_SECONDS", "1")
        .stderr(log)
        .spawn()
        .unwrap();
    until("the daemon", || {
        assert!(daemon.try_wait().unwrap().is_none(), "{}", daemon_log(world));
        daemon_log(world).contains("the agent listens at").then_some(())
    })
    .await;
    daemon
}

pub(crate) fn daemon_log(world: &World) -> String {
    std::fs::read_to_string(world.dir.path().join("daemon.log")).unwrap()
}

pub(crate) fn submit(world: &World, word: &str) -> Output {
    let mut submit = agent(&world.config.data_dir)
        .args(["submit", "--patience", "0"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    submit.stdin.take().unwrap().write_all(word.as_bytes()).unwrap();
    submit.wait_with_output().unwrap()
}

pub(crate) fn jobs(world: &World) -> serde_json::Value {
    let listed = agent(&world.config.data_dir).args(["jobs", "--json"]).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    serde_json::from_slice(&listed.stdout).unwrap()
}

#[tokio::test]
async fn exit_codes_say_what_is_wrong() {
    let world = World::stopped();
    let unreached = submit(&world, "x");
    assert_eq!(unreached.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&unreached.stderr).contains("is it running?"), "{unreached:?}");
    let usage = agent(&world.config.data_dir).arg("submti").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let empty = submit(&world, "\n");
    assert_eq!(empty.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&empty.stderr).contains("deploy the template again"), "{empty:?}");
    let local = agent(&world.config.data_dir).arg("serve").env_remove("AWS_ENDPOINT_URL").output().unwrap();
    assert_eq!(local.status.code(), Some(2));
    let mut daemon = serve(&world).await;
    let refused = submit(&world, "no-request");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
}

#[tokio::test]
async fn a_killed_daemon_s_jobs_are_known_to_the_next() {
    let world = World::stopped();
    let seen = world.dir.path().join("pids");
    world.script("quick.sh", "exit 3");
    world.script(
        "slow.sh",
        &format!(
            "echo $$ > {0}.new; mv {0}.new {0}; while ! [ -e {0}.go ]; do sleep 0.01; done",
            seen.display()
        ),
    );
    let mut daemon = serve(&world).await;
    for script in ["quick.sh", "slow.sh"] {
        let mut request = world.request(script);
        request.task_token.push_str(script);
        let submitted = submit(&world, &request.encode());
        assert!(submitted.status.success(), "{submitted:?}");
    }
    let slow = pids(&seen, 1).await[0];
    until("the quick job's end", || {
        let jobs = jobs(&world);
        jobs.as_array().unwrap().iter().any(|job| job["state"] == "reporting").then_some(())
    })
    .await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(is_alive(slow), "scripts do not die with the daemon");

    let mut daemon = serve(&world).await;
    assert!(is_alive(slow), "nor with the next one's start");
    std::fs::write(seen.with_extension("go"), "").unwrap();
    until("both jobs to be reported", || {
        let jobs = jobs(&world);
        let jobs = jobs.as_array().unwrap();
        (jobs.len() == 2 && jobs.iter().all(|job| job["state"] == "reporting")).then_some(())
    })
    .await;
    assert!(!is_alive(slow));
    let duplicate = {
        let mut request = world.request("quick.sh");
        request.task_token.push_str("quick.sh");
        submit(&world, &request.encode())
    };
    assert!(String::from_utf8_lossy(&duplicate.stdout).contains("accepted before"), "{duplicate:?}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let log = daemon_log(&world);
    assert!(!log.contains(crate::world::TOKEN), "{log}");
}
