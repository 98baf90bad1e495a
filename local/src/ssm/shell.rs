//! `AWS-RunShellScript`: the one document this machine runs by itself.
//!
//! The commands become a script file run by `sh`, in a process group of its own. Cancelling or running out of time
//! kills the whole group at once, without a TERM first, as the SSM agent does. Output goes through files, so a
//! background process that keeps its standard output open does not hold the command up, and output of any length
//! costs no memory. Scripts may hold secrets: the file is private and gone afterwards, and nothing of it is logged.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::data_dir::{private_dir, private_file, replace_private_file};

use super::host::{CommandOutcome, HostCommand};
use super::invocation::{STDERR_LIMIT, STDOUT_LIMIT};

/// "executionTimeout: default 3600 seconds, maximum 172,800 (48 hours)"
/// (<https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-command-ssm-plugin-reference.html>).
pub(super) const DEFAULT_EXECUTION_TIMEOUT: u64 = 3_600;
/// See [`DEFAULT_EXECUTION_TIMEOUT`].
pub(super) const MAX_EXECUTION_TIMEOUT: u64 = 172_800;

/// A character of UTF-8 is at most four bytes.
const BYTES_PER_CHARACTER: usize = 4;

/// How long a command with these parameters may run.
pub(super) fn execution_timeout(parameters: &BTreeMap<String, Vec<String>>) -> Duration {
    let seconds = parameters
        .get("executionTimeout")
        .and_then(|values| values.first()?.trim().parse().ok())
        .filter(|seconds| (1..=MAX_EXECUTION_TIMEOUT).contains(seconds))
        .unwrap_or(DEFAULT_EXECUTION_TIMEOUT);
    Duration::from_secs(seconds)
}

/// Runs the command to its end; dropping the future kills it.
pub(super) async fn run(scratch: &Path, command: &HostCommand) -> CommandOutcome {
    let directory = Scratch(scratch.join(&command.command_id));
    match run_in(&directory.0, command).await {
        Ok(outcome) => outcome,
        Err(error) => CommandOutcome {
            response_code: 1,
            stdout: String::new(),
            stderr: format!("the command could not be run: {error}"),
        },
    }
}

/// The file that says which process group runs a directory's script.
const GROUP: &str = "group";

/// Ends what an earlier process left running when it was killed, and removes its scripts: their commands are pending
/// still and will be delivered again, which must not make two of them run at once.
pub(super) fn end_orphans(scratch: &Path) {
    for entry in std::fs::read_dir(scratch).into_iter().flatten().flatten() {
        let directory = entry.path();
        let leader = std::fs::read_to_string(directory.join(GROUP)).ok().and_then(|text| text.parse().ok());
        if let Some(leader) = leader.and_then(Pid::from_raw) {
            // The number may belong to somebody else by now, but nobody else runs this very script.
            let line =
                std::fs::read(format!("/proc/{}/cmdline", leader.as_raw_nonzero())).unwrap_or_default();
            let script = directory.join("script.sh");
            if line.split(|byte| *byte == 0).any(|word| word == script.as_os_str().as_encoded_bytes()) {
                tracing::warn!(script = %directory.display(), "a command that outlived its service is killed");
                // It may end by itself in this instant.
                let _ = kill_process_group(leader, Signal::KILL);
            }
        }
        drop(Scratch(directory));
    }
}

/// Removes the command's directory at the end, however it comes.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is private and small.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn run_in(directory: &Path, command: &HostCommand) -> io::Result<CommandOutcome> {
    private_dir(directory).map_err(io::Error::other)?;
    let script_path = directory.join("script.sh");
    let commands = command.parameters.get("commands").map(Vec::as_slice).unwrap_or_default();
    replace_private_file(&script_path, format!("{}\n", commands.join("\n")).as_bytes())
        .map_err(io::Error::other)?;
    let (stdout_path, stderr_path) = (directory.join("stdout"), directory.join("stderr"));

    let mut shell = tokio::process::Command::new("sh");
    shell
        .arg(&script_path)
        // As newer agents of Systems Manager do.
        .env("SSM_COMMAND_ID", &command.command_id)
        .stdin(Stdio::null())
        .stdout(private_file(&stdout_path).map_err(io::Error::other)?)
        .stderr(private_file(&stderr_path).map_err(io::Error::other)?)
        .process_group(0);
    let working_directory = command.parameters.get("workingDirectory").and_then(|values| values.first());
    if let Some(path) = working_directory.filter(|path| !path.is_empty()) {
        shell.current_dir(path);
    }
    let mut child = shell.spawn()?;
    let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let guard = KillGroup(group);
    if let Some(group) = group {
        // For `end_orphans`, should this process be killed.
        let text = group.as_raw_nonzero().to_string();
        replace_private_file(&directory.join(GROUP), text.as_bytes()).map_err(io::Error::other)?;
    }
    let status = child.wait().await?;
    guard.disarm();

    Ok(CommandOutcome {
        response_code: exit_code(status),
        stdout: beginning(&stdout_path, STDOUT_LIMIT)?,
        stderr: beginning(&stderr_path, STDERR_LIMIT)?,
    })
}

/// Kills the process group unless its leader ended by itself.
struct KillGroup(Option<Pid>);

impl KillGroup {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for KillGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone by itself in this instant.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn beginning(path: &Path, characters: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    let most = u64::try_from(characters * BYTES_PER_CHARACTER).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).chars().take(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(parameters: &[(&str, &[&str])]) -> HostCommand {
        HostCommand {
            command_id: uuid::Uuid::new_v4().to_string(),
            document: "AWS-RunShellScript".into(),
            parameters: parameters
                .iter()
                .map(|(name, values)| ((*name).to_owned(), values.iter().map(|v| (*v).to_owned()).collect()))
                .collect(),
            timeout: Duration::from_secs(10),
        }
    }

    #[tokio::test]
    async fn lines_are_one_script_and_the_last_exit_code_counts() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let command = command(&[
            ("commands", &["x='a b'", "echo \"$x\"; pwd", "echo oops >&2", "exit 3"]),
            ("workingDirectory", &[work.to_str().unwrap()]),
        ]);
        let outcome = run(&dir.path().join("ssm"), &command).await;
        assert_eq!(outcome.response_code, 3);
        assert_eq!(outcome.stdout, format!("a b\n{}\n", work.display()));
        assert_eq!(outcome.stderr, "oops\n");
        assert_eq!(std::fs::read_dir(dir.path().join("ssm")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn output_is_cut_and_a_background_process_does_not_hold_the_command_up() {
        let dir = tempfile::tempdir().unwrap();
        let command = command(&[
            ("commands", &["sleep 30 & echo $! > pid", "yes 'ü' | head -n 30000", "kill $(cat pid)"]),
            ("workingDirectory", &[dir.path().to_str().unwrap()]),
        ]);
        let outcome = run(&dir.path().join("ssm"), &command).await;
        assert_eq!(outcome.response_code, 0, "{outcome:?}");
        assert_eq!(outcome.stdout.chars().count(), STDOUT_LIMIT);
    }

    #[tokio::test]
    async fn what_a_killed_process_left_running_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = dir.path().join("ssm");
        let directory = scratch.join("id");
        std::fs::create_dir_all(&directory).unwrap();
        let started = dir.path().join("started");
        let script = format!("touch {}; sleep 600; true", started.display());
        std::fs::write(directory.join("script.sh"), script).unwrap();
        let mut orphan = tokio::process::Command::new("sh")
            .arg(directory.join("script.sh"))
            .process_group(0)
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !started.exists() && std::time::Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        std::fs::write(directory.join(GROUP), orphan.id().unwrap().to_string()).unwrap();
        // Another process that happens to have a remembered number is left alone.
        let other = scratch.join("other");
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(other.join(GROUP), std::process::id().to_string()).unwrap();
        end_orphans(&scratch);
        let ended = tokio::time::timeout(Duration::from_secs(10), orphan.wait()).await.unwrap().unwrap();
        assert_eq!(exit_code(ended), 137);
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
    }

    #[test]
    fn timeouts_out_of_range_are_the_default() {
        for (given, seconds) in [("5", 5), ("0", 3_600), ("172801", 3_600), ("x", 3_600)] {
            let parameters = [("executionTimeout".to_owned(), vec![given.to_owned()])].into();
            assert_eq!(execution_timeout(&parameters).as_secs(), seconds, "{given}");
        }
    }
}
