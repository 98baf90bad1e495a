//! `submit` hands a job over; `credentials` is what scripts get their warehouse's by.

use std::io::{IsTerminal, Read};
use std::time::Duration;

use anyhow::Context;
use rsqlflow_agent::client;
use rsqlflow_agent::protocol::{Reply, Request};

use super::{Cli, Failure, answered, ask, print, socket, unexpected};

pub(crate) fn submit(
    cli: &Cli,
    ssm_command_id: Option<String>,
    request_stdin: bool,
    patience: Duration,
) -> Result<(), Failure> {
    let from_environment = std::env::var("RSQLFLOW_REQUEST").ok().filter(|_| !request_stdin);
    let request = match from_environment {
        Some(request) => request,
        None => {
            if std::io::stdin().is_terminal() {
                return Err(Failure::Usage(anyhow::anyhow!("the job request is read from standard input")));
            }
            let mut request = String::new();
            let limit = rsqlflow_config::job::REQUEST_MAX as u64 + 2;
            std::io::stdin()
                .take(limit)
                .read_to_string(&mut request)
                .context("cannot read the job request from standard input")
                .map_err(Failure::Usage)?;
            request
        }
    };
    match answered(client::submit(&socket(cli)?, request.trim(), ssm_command_id, patience))? {
        Reply::Accepted(accepted) => {
            let again = if accepted.duplicate { " (it was accepted before)" } else { "" };
            print(&format!("accepted as job {}{again}\n", accepted.job_id))
        }
        _ => Err(unexpected()),
    }
}

pub(crate) fn credentials(cli: &Cli, secret_id: &str) -> Result<(), Failure> {
    match ask(cli, &Request::Credentials { secret_id: secret_id.to_owned() })? {
        Reply::Credentials(credentials) => print(&credentials.to_shell()),
        _ => Err(unexpected()),
    }
}
