//! What operators type, against a daemon of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Output;

use rsqlflow_agent::protocol::Reply;

use crate::binary::{agent, jobs, serve, submit};
use crate::world::{World, is_alive, pids, until};

fn type_in(world: &World, arguments: &[&str]) -> Output {
    agent(&world.config.data_dir).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Submits a script that says its pid and then sleeps; answers the pid.
async fn sleeper(world: &World) -> u32 {
    let seen = world.dir.path().join("pid");
    world.script("slow.sh", &format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 1000", seen.display()));
    let submitted = submit(world, &world.request("slow.sh").encode());
    assert!(submitted.status.success(), "{submitted:?}");
    pids(&seen, 1).await[0]
}

#[tokio::test]
async fn a_job_is_killed_by_its_name() {
    let world = World::stopped();
    let mut daemon = serve(&world).await;
    let pid = sleeper(&world).await;
    until("the job to be known as running", || (jobs(&world)[0]["pid"] == pid).then_some(())).await;
    let id = jobs(&world)[0]["job_id"].as_str().unwrap().to_owned();
    let listed = text(&type_in(&world, &["jobs"]).stdout);
    assert!(listed.starts_with("STATE") && listed.contains("nightly-1/slow.sh"), "{listed}");

    let nobody = type_in(&world, &["kill", "--yes", "nightly-1/slow.sh", "nightly-1/slaw.sh"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no job nightly-1/slaw.sh"), "{nobody:?}");
    assert!(is_alive(pid), "one wrong name ends nothing");

    let killed = type_in(&world, &["kill", "--yes", &id[..6]]);
    assert!(killed.status.success(), "{killed:?}");
    let expected = format!(
        "nightly-1/slow.sh: process {pid} and all it started are being ended (attempt 1, job {id})\n"
    );
    assert_eq!(text(&killed.stdout), expected);
    until("the script's end", || (!is_alive(pid)).then_some(())).await;
    until("the report", || (jobs(&world)[0]["state"] == "reporting").then_some(())).await;
    let again = type_in(&world, &["kill", "--yes", "nightly-1/slow.sh"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[tokio::test]
async fn a_drained_host_stays_so_until_it_is_undrained() {
    let world = World::stopped();
    let mut daemon = serve(&world).await;
    let waited = type_in(&world, &["drain", "--wait"]);
    assert_eq!(text(&waited.stdout).lines().last(), Some("every job is done and reported"), "{waited:?}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let mut daemon = serve(&world).await;
    world.script("quick.sh", "exit 0");
    let word = world.request("quick.sh").encode();
    let refused = submit(&world, &word);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused.stderr).contains("rsqlflow-agent undrain"), "{refused:?}");
    let doctor = text(&type_in(&world, &["doctor"]).stdout);
    assert!(doctor.contains("drained: no jobs are taken"), "{doctor}");
    assert!(type_in(&world, &["undrain"]).status.success());
    assert!(submit(&world, &word).status.success());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[tokio::test]
async fn who_names_an_agent_means_that_one() {
    let world = World::stopped();
    let mut daemon = serve(&world).await;
    world.script("quick.sh", "exit 0");
    // As within a script of another agent, and with all the patience that there is.
    let request = world.dir.path().join("request");
    std::fs::write(&request, world.request("quick.sh").encode()).unwrap();
    let mut submit = agent(&world.config.data_dir);
    submit.args(["submit", "--patience", "18446744073709551615"]);
    submit.env("RSQLFLOW_AGENT_SOCKET", "/nonexistent").stdin(std::fs::File::open(request).unwrap());
    let submitted = submit.output().unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// Answers one request at a socket.
fn answer(listener: &UnixListener, reply: &Reply) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    stream.write_all(format!("{}\n", serde_json::to_string(reply).unwrap()).as_bytes()).unwrap();
    line
}

#[tokio::test]
async fn who_waits_for_a_drained_host_waits_through_a_restart_of_its_agent() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let drain = agent(dir.path()).args(["drain", "--wait"]).spawn().unwrap();
    let status = |drained: bool| {
        let status = serde_json::json!({
            "version": "0", "pid": 1, "since": "", "drained": drained, "running": 1, "queued": 0, "reporting": 0,
            "max_running_jobs": 0, "free_bytes": 0, "min_free_bytes": 0, "cgroup": null,
        });
        Reply::Status(serde_json::from_value(status).unwrap())
    };
    let jobs = |json: serde_json::Value| Reply::Jobs(serde_json::from_value(json).unwrap());
    let running = serde_json::json!([{
        "job_id": "1", "workflow_execution_id": "nightly-1", "job_name": "load", "accepted_at": "", "attempt": 1,
        "pid": null, "state": "running",
    }]);
    assert!(answer(&listener, &status(true)).contains("drain"));
    assert!(answer(&listener, &jobs(running)).contains("jobs"));
    answer(&listener, &status(true));
    // It asks again, and then nobody is there for a while.
    drop(listener.accept().unwrap());
    drop(listener);
    std::fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    answer(&listener, &jobs(serde_json::json!([])));
    let output = drain.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).ends_with("every job is done and reported\n"), "{output:?}");
    assert_eq!(text(&output.stderr), "waiting for nightly-1/load (running)\n");
}

/// Everything that is another on another machine or in another second, replaced.
fn same_everywhere(world: &World, report: &str) -> String {
    let own = std::path::Path::new(env!("CARGO_BIN_EXE_rsqlflow-agent")).parent().unwrap();
    let dir = world.dir.path().canonicalize().unwrap();
    let uid = format!("uid {}", rustix::process::geteuid().as_raw());
    let replaced = report
        .replace(&dir.display().to_string(), "DIR")
        .replace(&own.display().to_string(), "BIN")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
        .replace(&uid, "uid OWN");
    let words = replaced.split_inclusive([' ', '\n']).scan("", |before, word| {
        let number = word.trim_start_matches('(').starts_with(|first: char| first.is_ascii_digit());
        let shown = match *before {
            "pid " => "PID, ".to_owned(),
            "since " => "TIME: ".to_owned(),
            _ if number && word.starts_with('(') => "(N ".to_owned(),
            _ => word.to_owned(),
        };
        *before = word;
        Some(shown)
    });
    let lines: String = words.collect();
    // How full the disk is and what control groups there are is another on every machine, the journal's version another
    // with every change to it.
    let varies = ["  disk  ", "  control groups  ", "  journal  "];
    let same = |line: &&str| !varies.iter().any(|check| line.contains(check));
    lines.lines().filter(same).map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn the_doctor_tells_what_to_do() {
    let world = World::stopped();
    let mut daemon = serve(&world).await;
    world.script("fine.sh", "exit 0");
    world.script("empty.sh", "");
    // A stand-in on the job's path.
    world.script("bin/rsql", "#!/bin/sh\necho rsql 9\n");
    let rsql = world.config.scripts_dir.join("bin/rsql");
    std::fs::set_permissions(&rsql, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let doctor = |arguments: &[&str]| {
        agent(&world.config.data_dir.canonicalize().unwrap())
            .args(arguments)
            .current_dir(world.dir.path())
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "a-very-secret-key")
            .env("RSQLFLOW_SCRIPTS_DIR", world.config.scripts_dir.canonicalize().unwrap())
            .env(
                "RSQLFLOW_AGENT_PATH",
                format!("{}:/usr/bin:/bin", rsql.parent().unwrap().canonicalize().unwrap().display()),
            )
            .output()
            .unwrap()
    };
    let report = doctor(&["doctor"]);
    assert_eq!(report.status.code(), Some(1), "{report:?}");
    assert!(!text(&report.stdout).contains("a-very-secret-key"));
    assert!(text(&report.stdout).contains(", 0 jobs not settled"));
    // Whether an rsql was built beside the agent depends on what was built last.
    let shown =
        same_everywhere(&world, &text(&report.stdout)).replace("DIR/scripts/bin/rsql (rsql 9)", "RSQL");
    let shown = shown.replace("BIN/rsql (rsql VERSION)", "RSQL");
    insta::assert_snapshot!(shown);
    let json: serde_json::Value = serde_json::from_slice(&doctor(&["doctor", "--json"]).stdout).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["checks"].as_array().unwrap().len(), 17);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
