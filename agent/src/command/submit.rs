//! `submit` hands a job over; `credentials` is what scripts get their warehouse's by.

use std::io::{IsTerminal, Read};
use std::time::Duration;

use anyhow::Context;
use rsqlflow_agent::client;
use rsqlflow_agent::protocol::{Reply, Request};

use super::{Cli, Failure, answered, ask_patiently, print, print_as_is, socket, unexpected};

pub(crate) fn submit(cli: &Cli, ssm_command_id: Option<String>, patience: Duration) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::Usage(anyhow::anyhow!("the job request is read from standard input")));
    }
    let mut request = String::new();
    // One byte more than the longest tells one that is too long, and a line may end after it.
    std::io::stdin()
        .take(rsqlflow_config::job::REQUEST_MAX as u64 + 2)
        .read_to_string(&mut request)
        .context("cannot read the job request from standard input")
        .map_err(Failure::Usage)?;
    let request = request.trim();
    if request.is_empty() {
        return Err(Failure::Usage(anyhow::anyhow!(
            "there is no job request on standard input; where Systems Manager started this, its document Rsqlflow-RunScript \
             is older than the agent: deploy the template again"
        )));
    }
    match answered(client::submit(&socket(cli)?, request, ssm_command_id, patience), patience)? {
        Reply::Accepted(accepted) => {
            let again = if accepted.duplicate { " (it was accepted before)" } else { "" };
            print(&format!("accepted as job {}{again}\n", accepted.job_id))
        }
        _ => Err(unexpected()),
    }
}

pub(crate) fn credentials(cli: &Cli, secret_id: &str, patience: Duration) -> Result<(), Failure> {
    match ask_patiently(cli, &Request::Credentials { secret_id: secret_id.to_owned() }, patience)? {
        Reply::Credentials(credentials) => print_as_is(&credentials.to_shell()),
        _ => Err(unexpected()),
    }
}
