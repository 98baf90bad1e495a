//! `drain` and `undrain`: whether the agent takes jobs.

use std::time::Duration;

use rsqlflow_agent::protocol::{AgentStatus, Reply, Request};

use super::{Cli, Failure, ask, print, tell, unexpected};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn drain(cli: &Cli, wait: bool) -> Result<(), Failure> {
    let mut status = set(cli, true)?;
    print("drained: the host takes no jobs until `rsqlflow-agent undrain`\n")?;
    if !wait {
        return match left(&status) {
            Some(left) => print(&format!("still in hand: {left}\n")),
            None => Ok(()),
        };
    }
    let mut said = None;
    while let Some(left) = left(&status) {
        if said.as_ref() != Some(&left) {
            tell(&format!("waiting for {left}"));
            said = Some(left);
        }
        std::thread::sleep(LOOK);
        status = match ask(cli, &Request::Status {})? {
            Reply::Status(status) => status,
            _ => return Err(unexpected()),
        };
        if !status.drained {
            return Err(Failure::Refused("somebody has undrained the host meanwhile".into()));
        }
    }
    print("every job is done and reported\n")
}

pub(crate) fn undrain(cli: &Cli) -> Result<(), Failure> {
    set(cli, false)?;
    print("the host takes jobs\n")
}

fn set(cli: &Cli, drained: bool) -> Result<AgentStatus, Failure> {
    match ask(cli, &Request::Drain { drained })? {
        Reply::Status(status) => Ok(status),
        _ => Err(unexpected()),
    }
}

/// What is not done yet.
fn left(status: &AgentStatus) -> Option<String> {
    let counts =
        [("running", status.running), ("queued", status.queued), ("being reported", status.reporting)];
    let parts: Vec<String> =
        counts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}")).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
