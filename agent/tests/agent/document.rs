//! The Systems Manager document, run by shells as the SSM agent runs it: parameters put into the text, the text in a
//! file without an interpreter's line, `sh -c` with its path.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::world::{Told, World, until};

const DOCUMENT: &str = include_str!("../../../deploy/run-script.ssm.json");

/// "Most" of one argument or variable of a program: `MAX_ARG_STRLEN`, 32 pages
/// (<https://man7.org/linux/man-pages/man2/execve.2.html>).
const ARGUMENT_MAX: usize = 131_072;

/// Starts the document's step with a request.
fn start(shell: &str, world: &World, request: &str) -> Child {
    start_as(shell, world, request, None)
}

/// The same by an agent of Systems Manager that says which command it is, or does not yet.
fn start_as(shell: &str, world: &World, request: &str, command_id: Option<&str>) -> Child {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let lines = document["mainSteps"][0]["inputs"]["runCommand"].as_array().unwrap();
    let lines: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    let directory = world.dir.path().join(format!("{shell}/orchestration/command-7/submit"));
    std::fs::create_dir_all(&directory).unwrap();
    let script = directory.join("_script.sh");
    std::fs::write(&script, lines.join("\n").replace("{{ request }}", request)).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_rsqlflow-agent")).parent().unwrap();
    Command::new(shell)
        .arg("-c")
        .arg(script)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("RSQLFLOW_AGENT_SOCKET", world.config.socket_path())
        .envs(command_id.map(|id| ("SSM_COMMAND_ID", id)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The agent is in this process, so nobody may keep it from answering.
async fn end(step: Child) -> Output {
    tokio::task::spawn_blocking(move || step.wait_with_output().unwrap()).await.unwrap()
}

/// Whether `submit` runs for the world's agent; nothing that anybody may list has any of the request in it.
fn submit_runs(world: &World, request: &str) -> bool {
    let read = |path: std::path::PathBuf| {
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    };
    let mut runs = false;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let (line, environment) = (read(entry.path().join("cmdline")), read(entry.path().join("environ")));
        assert!(!line.contains(&request[..64]) && !environment.contains(&request[..64]), "{line}");
        let ours = environment.contains(&*world.config.socket_path().to_string_lossy());
        runs |= ours && line.ends_with("rsqlflow-agent\0submit\0");
    }
    runs
}

#[tokio::test]
async fn a_request_longer_than_an_argument_arrives_and_shows_nowhere() {
    for shell in ["sh", "bash"] {
        let mut world = World::stopped();
        // A space is three characters in a request.
        let value = " ".repeat(49_000);
        world.script("job.sh", "[ ${#long} -eq 49000 ]");
        let mut request = world.request("job.sh");
        request.parameters.insert("long".into(), value);
        let word = request.encode();
        assert!(word.len() > 190_000 && word.len() > ARGUMENT_MAX, "{}", word.len());
        let step = start(shell, &world, &word);
        // Nobody listens yet, so it stays a while.
        until("submit", || submit_runs(&world, &word).then_some(())).await;
        world.start().await;
        let ended = end(step).await;
        assert!(ended.status.success(), "{shell}: {ended:?}");
        let Told::Success(_) = world.told().await else { panic!("{shell}: the value has not arrived") };
        world.settled().await;
    }
}

#[tokio::test]
async fn what_submit_says_is_how_the_step_ends() {
    let world = World::new().await;
    let ended = end(start("sh", &world, "bm8tcmVxdWVzdA==")).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("the job request is not valid"), "{ended:?}");
}

#[tokio::test]
async fn the_command_is_known_by_what_the_agent_of_systems_manager_says() {
    for (told, expected) in [(None, "command-7"), (Some("command-8"), "command-8"), (Some(""), "command-7")] {
        let world = World::new().await;
        world.script("job.sh", ":");
        let word = world.request("job.sh").encode();
        let ended = end(start_as("sh", &world, &word, told)).await;
        assert!(ended.status.success(), "{ended:?}");
        world.settled().await;
        let record = world.aws.calls("UpdateItem");
        let record = record.iter().map(ToString::to_string).collect::<String>();
        assert!(record.contains(&format!("\"{expected}\"")), "{told:?}: {record}");
    }
}

#[test]
fn a_request_is_nothing_to_a_shell() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    assert_eq!(document["parameters"]["request"]["allowedPattern"], "^[A-Za-z0-9_=-]+$");
}
