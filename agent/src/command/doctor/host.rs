//! The programs of this host: the daemon, its supervisor, `rsql`, and what the kernel lets them do.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use rsqlflow_agent::client::{self, ClientError};
use rsqlflow_agent::protocol::{AgentStatus, Reply, Request};

use super::{Check, LOCAL_PATIENCE, Site};
use crate::command::remedy;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether the daemon runs and answers; its own word with it.
pub(super) async fn agent(site: &Site) -> (Option<AgentStatus>, Check) {
    const NAME: &str = "agent";
    let socket = site.config.socket_path();
    let asked = tokio::task::spawn_blocking(move || client::ask(&socket, &Request::Status {}));
    let answer = match tokio::time::timeout(LOCAL_PATIENCE, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => {
            let hint = "systemctl restart rsqlflow-agent; scripts that run go on";
            return (None, Check::fail(NAME, "does not answer", hint));
        }
    };
    match answer {
        Ok(Reply::Status(status)) => {
            let check = judge(&status);
            (Some(status), check)
        }
        Ok(Reply::Refused { message }) => {
            let hint =
                "use sudo; one that refuses root is of another version: systemctl restart rsqlflow-agent";
            (None, Check::fail(NAME, message, hint))
        }
        Ok(_) | Err(ClientError::Unknown) => {
            let hint = "systemctl restart rsqlflow-agent, so that the installed version runs";
            (None, Check::warn(NAME, "runs, and is of another version than this program", hint))
        }
        Err(error) => {
            let mut message = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                message.push_str(&format!(": {source}"));
            }
            (None, Check::fail(NAME, message, remedy(&error)))
        }
    }
}

fn judge(status: &AgentStatus) -> Check {
    const NAME: &str = "agent";
    let AgentStatus { version, pid, since, running, queued, reporting, .. } = status;
    let message = format!(
        "version {version}, pid {pid}, since {since}: {running} running, {queued} queued, {reporting} being reported"
    );
    if status.drained {
        Check::warn(NAME, format!("{message}; drained: no jobs are taken"), "rsqlflow-agent undrain")
    } else if version != VERSION {
        let hint = "systemctl restart rsqlflow-agent; scripts that run go on";
        Check::warn(NAME, format!("{message}; this program is version {VERSION}"), hint)
    } else {
        Check::ok(NAME, message)
    }
}

/// Whether scripts find `rsql`, and it starts.
pub(super) async fn rsql(path: &str) -> Check {
    const NAME: &str = "rsql";
    let found = path.split(':').map(|directory| Path::new(directory).join("rsql")).find(|at| is_program(at));
    let Some(program) = found else {
        let hint = "install it beside rsqlflow-agent, or name its directory in agent.path";
        return Check::fail(NAME, format!("is in none of the directories {path}"), hint);
    };
    let shown = program.display().to_string();
    let started = tokio::process::Command::new(&program)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let hint = format!("try it: {shown} --version");
    match tokio::time::timeout(LOCAL_PATIENCE, started).await {
        Err(_) => Check::fail(NAME, format!("{shown} does not come back"), hint),
        Ok(Err(error)) => Check::fail(NAME, format!("{shown} cannot be started: {error}"), hint),
        Ok(Ok(output)) if !output.status.success() => {
            Check::fail(NAME, format!("{shown} --version ended with {}", output.status), hint)
        }
        Ok(Ok(output)) => {
            let version = String::from_utf8_lossy(&output.stdout);
            Check::ok(NAME, format!("{shown} ({})", version.lines().next().unwrap_or_default().trim()))
        }
    }
}

/// Whether what supervises scripts is there.
pub(super) fn supervisor(program: &Path) -> Check {
    const NAME: &str = "supervisor";
    let shown = program.display();
    if is_program(program) {
        Check::ok(NAME, shown.to_string())
    } else {
        Check::fail(NAME, format!("{shown} is no program"), "install rsqlflow-agent anew: they come together")
    }
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Whether scripts get a control group each. Without, their processes are found by other means.
pub(super) fn cgroup(status: Option<&AgentStatus>) -> Check {
    const NAME: &str = "control groups";
    match status.map(|status| &status.cgroup) {
        Some(Some(path)) => Check::ok(NAME, format!("every script gets one below {path}")),
        Some(None) => Check::ok(
            NAME,
            "none was delegated (Delegate=yes in a unit does); a script's processes are found by their parents",
        ),
        None => Check::ok(NAME, "whether the agent was given any is seen when it runs"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_daemon_that_runs_may_still_need_a_look() {
        let status = AgentStatus {
            version: VERSION.into(),
            pid: 7,
            since: "2026-11-21T03:00:00.000Z".into(),
            drained: false,
            running: 2,
            queued: 1,
            reporting: 0,
            max_running_jobs: 40,
            free_bytes: 0,
            min_free_bytes: 0,
            cgroup: None,
        };
        assert_eq!(judge(&status).level, Level::Ok);
        let older = judge(&AgentStatus { version: "0.0.1".into(), ..status.clone() });
        assert_eq!(older.level, Level::Warn);
        let drained = judge(&AgentStatus { drained: true, ..status });
        assert_eq!(drained.hint.as_deref(), Some("rsqlflow-agent undrain"));
    }

    #[tokio::test]
    async fn rsql_is_tried() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rsql");
        let on = dir.path().display().to_string();
        assert!(rsql(&on).await.message.contains("is in none of"));
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("#!/bin/sh\necho rsql 9\n");
        assert_eq!(rsql(&on).await.message, format!("{} (rsql 9)", path.display()));
        write("#!/bin/sh\nexit 7\n");
        assert_eq!(rsql(&on).await.level, Level::Fail);
    }
}
