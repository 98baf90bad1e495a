//! The commands, one file each, and what they share: which agent is meant, how it is asked, how a command fails.
//!
//! Data goes to standard output, everything else to standard error.

pub(crate) mod doctor;
pub(crate) mod drain;
mod identity;
pub(crate) mod jobs;
pub(crate) mod kill;
mod log;
pub(crate) mod serve;
pub(crate) mod submit;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use rsqlflow_agent::client::ClientError;
use rsqlflow_agent::protocol::{Reply, Request};
use rsqlflow_agent::{SOCKET_FILE_NAME, client};
use rsqlflow_config::settings::{FILE_NAME, Settings, SettingsError};
use rsqlflow_config::visible::shown;
use rsqlflow_supervisor::tree::JOB_VARIABLE;

/// The daemon on the host that runs scripts.
#[derive(Parser)]
#[command(name = "rsqlflow-agent", version, after_help = ALL_HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The settings file; else rsqlflow.toml in the working directory, else the service's in /etc/rsqlflow.
    #[arg(long, global = true, value_name = "FILE", env = "RSQLFLOW_SETTINGS")]
    pub(crate) settings: Option<PathBuf>,
    /// Directory of the journal, job logs and socket.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The agent's socket; else what RSQLFLOW_AGENT_SOCKET says where no data directory is named, else agent.sock in the
    /// data directory.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

const ALL_HELP: &str = "\
At three in the morning:
  rsqlflow-agent doctor                 what is wrong, and what to do about it
  rsqlflow-agent jobs                   what runs, waits and is being reported
  rsqlflow-agent kill nightly-7/load    end a job and all it started
  rsqlflow-agent drain --wait           finish what runs, take nothing new

Exit codes:
  0  done
  1  refused: no such job, not a job request, a drained host, a check that failed
  2  wrong usage or settings
  3  no agent was reached, or it could not start";

const SUBMIT_EXAMPLES: &str = "\
Examples:
  rsqlflow-agent submit < request            a request in a file
  printf %s '...' | rsqlflow-agent submit    as the Systems Manager document does";

const JOBS_EXAMPLES: &str = "\
Examples:
  rsqlflow-agent jobs
  rsqlflow-agent jobs --json | jq -r '.[] | select(.state == \"running\") | .pid'

States: queued (for its first attempt), running, waiting (for its next attempt), reporting (it has ended, and Step \
Functions, the audit table or the logs have not taken that yet).";

const KILL_EXAMPLES: &str = "\
Examples:
  rsqlflow-agent kill nightly-7/load_orders      the job load_orders of run nightly-7
  rsqlflow-agent kill 3fa2                       the only job whose id begins so
  rsqlflow-agent kill --yes 3fa2 91bc            both, without being asked";

const SERVE_EXAMPLES: &str = "\
Examples:
  rsqlflow-agent serve                       as the systemd unit does

Beside an `rsqlflow up`, as a host of its own that up knows by [local.agents]
i-00000002 = \".rsqlflow/second/agent.sock\" in rsqlflow.toml:
  eval \"$(rsqlflow env)\"
  RSQLFLOW_HOST=i-00000002 rsqlflow-agent serve --data-dir .rsqlflow/second";

const DRAIN_EXAMPLES: &str = "\
Examples:
  rsqlflow-agent drain --wait && systemctl reboot
  rsqlflow-agent drain --wait --timeout 3600 || rsqlflow-agent jobs
  rsqlflow-agent undrain

With --wait it outlives a restart or an upgrade of the agent.";

const UNDRAIN_EXAMPLES: &str = "\
Example:
  rsqlflow-agent undrain && rsqlflow-agent doctor";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  sudo -u rsqlflow rsqlflow-agent doctor     as the agent sees it
  rsqlflow-agent doctor --json | jq -r '.checks[] | select(.level == \"fail\") | .message'

It changes nothing but for one thing: the empty log stream rsqlflow-doctor is made, once. All else that it asks of AWS is \
refused by design (a token that does not exist, a condition that does not hold) or only read (the secret). Exit code 1 \
when a check fails; a warning is no failure.";

const COMPLETIONS_EXAMPLES: &str = "\
Example:
  rsqlflow-agent completions bash > /etc/bash_completion.d/rsqlflow-agent";

const SOCKET_VARIABLE: &str = "RSQLFLOW_AGENT_SOCKET";

/// The settings of the agent that runs as a service, as the packages install it.
const SERVICE_SETTINGS: &str = "/etc/rsqlflow/rsqlflow.toml";

/// Where the agent keeps its data when nothing says otherwise.
const DEFAULT_DATA_DIR: &str = "/var/lib/rsqlflow-agent";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the agent until it is told to stop (TERM or Ctrl-C).
    #[command(after_help = SERVE_EXAMPLES)]
    Serve,
    /// Hand a job request to the agent. The request is read from standard input: it holds a secret, which must not be an
    /// argument, and may be longer than an argument or a variable can be.
    #[command(after_help = SUBMIT_EXAMPLES)]
    Submit {
        /// Id of the Systems Manager command that brought the request.
        #[arg(long, value_name = "ID", env = "RSQLFLOW_SSM_COMMAND_ID")]
        ssm_command_id: Option<String>,
        /// Seconds to wait for an agent that does not listen: one that restarts is back soon.
        #[arg(long, value_name = "SECONDS", default_value_t = client::SUBMIT_PATIENCE.as_secs())]
        patience: u64,
    },
    /// Print shell assignments with the warehouse credentials of the job's own secret. For get_redshift_creds.sh, and for
    /// nobody but a job's script.
    #[command(hide = true)]
    Credentials {
        /// The secret's id.
        secret_id: String,
        /// Seconds to wait for an agent that does not listen: one that restarts is back soon.
        #[arg(long, value_name = "SECONDS", default_value_t = client::SCRIPT_PATIENCE.as_secs())]
        patience: u64,
    },
    /// List the jobs that are not settled.
    #[command(after_help = JOBS_EXAMPLES)]
    Jobs {
        /// As JSON: a list of objects, none of whose members ever changes its meaning.
        #[arg(long)]
        json: bool,
    },
    /// End jobs: TERM to every process of theirs, then KILL. Step Functions is told Rsql.Killed, and no
    /// further attempt is made.
    #[command(after_help = KILL_EXAMPLES)]
    Kill {
        /// Id of a job, the beginning of one, or RUN/JOB.
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<String>,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Take no more jobs and finish those that are there. Lasts through restarts, until `undrain`.
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain {
        /// Return once the last job is done and reported.
        #[arg(long)]
        wait: bool,
        /// Give up waiting after so many seconds; the host stays drained.
        #[arg(long, value_name = "SECONDS", requires = "wait")]
        timeout: Option<u64>,
    },
    /// Take jobs again after `drain`.
    #[command(after_help = UNDRAIN_EXAMPLES)]
    Undrain,
    /// Look at everything that jobs on this host need, and tell what to do where something is wrong.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a shell's completions.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How a command fails; see the exit codes.
pub(crate) enum Failure {
    Refused(String),
    Usage(anyhow::Error),
    Unreached(anyhow::Error),
}

/// The settings file that was named. Operators who ask about a service's agent from anywhere mean the service's; the
/// daemon itself is always told.
fn settings_file(cli: &Cli, base: &Path) -> Option<PathBuf> {
    let serves = matches!(cli.command, Command::Serve);
    let other = cli.data_dir.is_some() || base.join(FILE_NAME).exists();
    let service = PathBuf::from(SERVICE_SETTINGS);
    // One that may not be seen is there: without it another agent would be meant.
    let of_service = !serves && !other && service.try_exists().unwrap_or(true);
    cli.settings.clone().or_else(|| of_service.then_some(service))
}

pub(crate) fn load_settings(cli: &Cli) -> Result<Settings, Failure> {
    read_settings(cli).map_err(|error| {
        Failure::Usage(match settings_remedy(&error) {
            Some(remedy) => anyhow::anyhow!("{error:#}; {remedy}"),
            None => error,
        })
    })
}

/// What to do about a file that may not be read.
fn settings_remedy(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref() {
        Some(SettingsError::Read { path, source }) if source.kind() == ErrorKind::PermissionDenied => {
            let path = path.display();
            Some(format!("use sudo; for the agent itself: chgrp rsqlflow {path} && chmod 640 {path}"))
        }
        _ => None,
    }
}

fn read_settings(cli: &Cli) -> anyhow::Result<Settings> {
    let base = std::env::current_dir().context("the working directory")?;
    // Jobs carry values in variables that are not UTF-8 at times; those are no settings.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Settings::load(settings_file(cli, &base).as_deref(), &base, environment)
        .context("the settings do not hold")
}

pub(crate) fn data_dir(cli: &Cli, settings: &Settings) -> PathBuf {
    let told = cli.data_dir.clone().unwrap_or_else(|| settings.agent.data_dir.clone());
    if told.as_os_str().is_empty() { PathBuf::from(DEFAULT_DATA_DIR) } else { told }
}

/// The socket that was named. Scripts have their agent's in their environment; who names a data directory means another.
pub(crate) fn named_socket(cli: &Cli) -> Option<PathBuf> {
    let of_environment =
        || std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    cli.socket.clone().or_else(|| if cli.data_dir.is_some() { None } else { of_environment() })
}

fn socket(cli: &Cli) -> Result<PathBuf, Failure> {
    if let Some(socket) = named_socket(cli) {
        return Ok(socket);
    }
    let data_dir = match &cli.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => data_dir(cli, &load_settings(cli)?),
    };
    Ok(data_dir.join(SOCKET_FILE_NAME))
}

/// Asks the agent. A script waits for one that restarts, an operator does not.
pub(crate) fn ask(cli: &Cli, request: &Request) -> Result<Reply, Failure> {
    let in_a_job = std::env::var_os(JOB_VARIABLE).is_some();
    ask_patiently(cli, request, if in_a_job { client::SCRIPT_PATIENCE } else { Duration::ZERO })
}

/// Asks the agent, and waits for so long for one that is not there.
pub(crate) fn ask_patiently(cli: &Cli, request: &Request, patience: Duration) -> Result<Reply, Failure> {
    answered(client::ask_patiently(&socket(cli)?, request, patience), patience)
}

fn answered(answer: Result<Reply, ClientError>, patience: Duration) -> Result<Reply, Failure> {
    match answer {
        Ok(Reply::Refused { message }) => Err(Failure::Refused(message)),
        Ok(reply) => Ok(reply),
        Err(error) => {
            let remedy = remedy(&error);
            let waited = match patience.as_secs() {
                1.. if error.passes() => format!(" (waited {} s for it to come back)", patience.as_secs()),
                _ => String::new(),
            };
            Err(Failure::Unreached(anyhow::anyhow!("{:#}{waited}; {remedy}", anyhow::Error::new(error))))
        }
    }
}

/// What to type where the agent of an `rsqlflow up` is meant.
pub(crate) const BESIDE_UP: &str =
    "the agent of the `rsqlflow up` here is asked with --data-dir .rsqlflow/agent";

/// Whether there is one in the working directory, where there is none of the service.
pub(crate) fn beside_up() -> bool {
    Path::new(".rsqlflow/agent").join(SOCKET_FILE_NAME).exists()
}

/// What to do about an agent that was not reached.
fn remedy(error: &ClientError) -> &'static str {
    const NOT_RUNNING: &str =
        "systemctl start rsqlflow-agent; journalctl -u rsqlflow-agent says why it does not run";
    match error {
        ClientError::Connect { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            "only root and the agent's own user may: use sudo"
        }
        ClientError::Connect { socket, .. } if socket.starts_with(DEFAULT_DATA_DIR) => {
            if beside_up() {
                BESIDE_UP
            } else {
                NOT_RUNNING
            }
        }
        ClientError::Connect { .. } => "is it running? rsqlflow up, or rsqlflow-agent serve, starts one",
        ClientError::Silent { .. } => "systemctl restart rsqlflow-agent; scripts that run go on",
        ClientError::Broken(_) => "systemctl status rsqlflow-agent says how it is",
        ClientError::Unknown => "systemctl restart rsqlflow-agent, so that the installed version runs",
    }
}

pub(crate) fn unexpected() -> Failure {
    Failure::Unreached(anyhow::anyhow!("the agent answered something else than was asked"))
}

/// Prints for people: what others wrote is shown, and nothing of it obeyed by a terminal.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_as_is(&shown(text))
}

/// Prints for programs, byte for byte.
pub(crate) fn print_as_is(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
        .map_err(Failure::Unreached)
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rsqlflow-agent", &mut script);
    print_as_is(&String::from_utf8_lossy(&script))
}

/// A line for people. That nobody reads it is no reason to stop.
pub(crate) fn tell(text: &str) {
    drop(writeln!(std::io::stderr(), "{}", shown(text)));
}
