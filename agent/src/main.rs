//! `rsqlflow-agent`: the daemon, and what speaks to it.
//!
//! Exit codes: 0 done; 1 refused; 2 wrong usage or settings; 3 no agent reached, or it could not start.

mod command;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use command::{Cli, Command, Failure, doctor, drain, jobs, kill, serve, submit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Serve => serve::serve(&cli),
        Command::Submit { ssm_command_id, patience } => {
            submit::submit(&cli, ssm_command_id.clone(), Duration::from_secs(*patience))
        }
        Command::Credentials { secret_id, patience } => {
            submit::credentials(&cli, secret_id, Duration::from_secs(*patience))
        }
        Command::Jobs { json } => jobs::jobs(&cli, *json),
        Command::Kill { jobs, yes } => kill::kill(&cli, jobs, *yes),
        Command::Drain { wait, timeout } => drain::drain(&cli, *wait, timeout.map(Duration::from_secs)),
        Command::Undrain => drain::undrain(&cli),
        Command::Doctor { json } => doctor::doctor(&cli, *json),
        Command::Completions { shell } => command::completions(*shell),
    };
    let (code, message) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Refused(message)) => (1, message),
        Err(Failure::Usage(error)) => (2, format!("{error:#}")),
        Err(Failure::Unreached(error)) => (3, format!("{error:#}")),
    };
    command::tell(&format!("rsqlflow-agent: {message}"));
    ExitCode::from(code)
}
