//! `rsqlflow-agent`: the daemon, and what speaks to it.
//!
//! Exit codes: 0 done; 1 refused; 2 wrong usage or settings; 3 no agent reached, or it could not start.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use rsqlflow_agent::protocol::{Reply, Request};
use rsqlflow_agent::{Agent, AgentConfig, Clients, Notify, SOCKET_FILE_NAME, client};
use rsqlflow_config::settings::{Backend, Settings};

/// The daemon on the host that runs scripts.
#[derive(Parser)]
#[command(name = "rsqlflow-agent", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The settings file; rsqlflow.toml in the working directory where there is one.
    #[arg(long, global = true, value_name = "FILE", env = "RSQLFLOW_SETTINGS")]
    settings: Option<PathBuf>,
    /// Directory of the journal, job logs and socket.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The agent's socket; agent.sock in the data directory unless told.
    #[arg(long, global = true, value_name = "PATH", env = "RSQLFLOW_AGENT_SOCKET")]
    socket: Option<PathBuf>,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused, 2 wrong usage or settings, 3 no agent reached.";

/// Where the agent keeps its data when nothing says otherwise.
const DEFAULT_DATA_DIR: &str = "/var/lib/rsqlflow-agent";

#[derive(Subcommand)]
enum Command {
    /// Run the agent until it is told to stop (TERM or Ctrl-C).
    Serve,
    /// Hand a job request to the agent. The request is read from standard input, or from the environment variable
    /// RSQLFLOW_REQUEST: it holds a secret and must not be an argument.
    Submit {
        /// Id of the Systems Manager command that brought the request.
        #[arg(long, value_name = "ID", env = "RSQLFLOW_SSM_COMMAND_ID")]
        ssm_command_id: Option<String>,
        /// Read the request from standard input, whatever the environment says.
        #[arg(long)]
        request_stdin: bool,
    },
    /// Print shell assignments with the warehouse credentials of a running job's secret. For get_redshift_creds.sh.
    #[command(hide = true)]
    Credentials {
        /// The secret's id.
        secret_id: String,
    },
    /// List the jobs that are not settled.
    Jobs {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

enum Failure {
    Refused(String),
    Usage(anyhow::Error),
    Unreached(anyhow::Error),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Serve => serve(&cli),
        Command::Submit { ssm_command_id, request_stdin } => {
            submit(&cli, ssm_command_id.clone(), *request_stdin)
        }
        Command::Credentials { secret_id } => credentials(&cli, secret_id),
        Command::Jobs { json } => jobs(&cli, *json),
    };
    let (code, message) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Refused(message)) => (1, message),
        Err(Failure::Usage(error)) => (2, format!("{error:#}")),
        Err(Failure::Unreached(error)) => (3, format!("{error:#}")),
    };
    // Without standard error there is nobody to tell.
    drop(writeln!(std::io::stderr(), "rsqlflow-agent: {message}"));
    ExitCode::from(code)
}

fn load_settings(cli: &Cli) -> Result<Settings, Failure> {
    let base = std::env::current_dir().context("the working directory").map_err(Failure::Usage)?;
    // Jobs carry values in variables that are not UTF-8 at times; those are no settings.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Settings::load(cli.settings.as_deref(), &base, environment)
        .map_err(|error| Failure::Usage(anyhow::Error::new(error).context("the settings do not hold")))
}

fn data_dir(cli: &Cli, settings: &Settings) -> PathBuf {
    let told = cli.data_dir.clone().unwrap_or_else(|| settings.agent.data_dir.clone());
    if told.as_os_str().is_empty() { PathBuf::from(DEFAULT_DATA_DIR) } else { told }
}

fn socket(cli: &Cli) -> Result<PathBuf, Failure> {
    if let Some(socket) = &cli.socket {
        return Ok(socket.clone());
    }
    let data_dir = match &cli.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => data_dir(cli, &load_settings(cli)?),
    };
    Ok(data_dir.join(SOCKET_FILE_NAME))
}

fn ask(cli: &Cli, request: &Request) -> Result<Reply, Failure> {
    match client::ask(&socket(cli)?, request) {
        Ok(Reply::Refused { message }) => Err(Failure::Refused(message)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(Failure::Unreached(
            anyhow::Error::new(error).context("the agent could not be asked; is it running?"),
        )),
    }
}

fn unexpected() -> Failure {
    Failure::Unreached(anyhow::anyhow!("the agent answered something else than was asked"))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
        .map_err(Failure::Unreached)
}

fn submit(cli: &Cli, ssm_command_id: Option<String>, request_stdin: bool) -> Result<(), Failure> {
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
    let request = request.trim().to_owned();
    match ask(cli, &Request::Submit { request, ssm_command_id })? {
        Reply::Accepted(accepted) => {
            let again = if accepted.duplicate { " (it was accepted before)" } else { "" };
            print(&format!("accepted as job {}{again}\n", accepted.job_id))
        }
        _ => Err(unexpected()),
    }
}

fn credentials(cli: &Cli, secret_id: &str) -> Result<(), Failure> {
    match ask(cli, &Request::Credentials { secret_id: secret_id.to_owned() })? {
        Reply::Credentials(credentials) => print(&credentials.to_shell()),
        _ => Err(unexpected()),
    }
}

fn jobs(cli: &Cli, json: bool) -> Result<(), Failure> {
    let Reply::Jobs(jobs) = ask(cli, &Request::Jobs {})? else { return Err(unexpected()) };
    if json {
        let text = serde_json::to_string_pretty(&jobs)
            .context("the jobs cannot be written as JSON")
            .map_err(Failure::Unreached)?;
        return print(&format!("{text}\n"));
    }
    let mut text = format!("{:<10} {:<8} {:<8} {:<25} RUN/JOB\n", "STATE", "ATTEMPT", "PID", "ACCEPTED");
    for job in jobs {
        let pid = job.pid.map(|pid| pid.to_string()).unwrap_or_default();
        text.push_str(&format!(
            "{:<10} {:<8} {:<8} {:<25} {}/{}\n",
            job.state, job.attempt, pid, job.accepted_at, job.workflow_execution_id, job.job_name
        ));
    }
    print(&text)
}

fn serve(cli: &Cli) -> Result<(), Failure> {
    let settings = load_settings(cli)?;
    if settings.backend == Backend::Local && std::env::var_os("AWS_ENDPOINT_URL").is_none() {
        return Err(Failure::Usage(anyhow::anyhow!(
            "backend = \"local\": `rsqlflow up` runs the agent itself. For a separate agent set AWS_ENDPOINT_URL and the \
             keys as `rsqlflow env` prints them, or set backend = \"aws\""
        )));
    }
    log_to_stderr();
    // What scripts write is for their user and group.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let mut config = AgentConfig::from_settings(&settings, data_dir(cli, &settings));
    config.socket.clone_from(&cli.socket);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime")
        .and_then(|runtime| runtime.block_on(run(config, &settings)))
        .map_err(Failure::Unreached)
}

async fn run(config: AgentConfig, settings: &Settings) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let notify = Notify::from_environment();
    let aws = aws(settings).await;
    anyhow::ensure!(
        aws.region().is_some(),
        "no AWS region: set region in the settings or AWS_REGION; on EC2 the instance metadata must be reachable"
    );
    let clients = Clients::new(&aws);
    let data_dir = config.data_dir.clone();
    let agent = Agent::start(config, &clients).await?;
    tracing::info!(
        backend = ?settings.backend,
        host = settings.host,
        data_dir = %data_dir.display(),
        scripts_dir = %settings.scripts_dir.display(),
        "the agent listens at {}",
        agent.socket().display()
    );
    warn_without_scripts(&settings.scripts_dir);
    notify.ready("listening");
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        never = notify.feed(async || agent.ping().await) => match never {},
    }
    tracing::info!("stopping");
    notify.stopping();
    agent.shutdown().await;
    Ok(())
}

fn warn_without_scripts(scripts_dir: &Path) {
    if !scripts_dir.is_dir() {
        tracing::warn!("there is no scripts directory {}: no job can run", scripts_dir.display());
    }
}

async fn aws(settings: &Settings) -> aws_config::SdkConfig {
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http);
    if !settings.region.is_empty() {
        loader = loader.region(aws_config::Region::new(settings.region.clone()));
    }
    loader.load().await
}

/// To standard error, which the journal of systemd keeps; JSON where that is asked for.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RSQLFLOW_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var_os("RSQLFLOW_LOG_JSON").is_some() {
        log.json().init();
    } else {
        log.with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
    }
}
