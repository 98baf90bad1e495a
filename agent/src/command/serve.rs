//! `serve`: the daemon.

use std::path::Path;

use anyhow::Context;
use rsqlflow_agent::{Agent, AgentConfig, Clients, Notify, Scripts};
use rsqlflow_config::settings::{Backend, Settings};

use super::identity::{AT_START, Identity, identity};
use super::log::log_to_stderr;
use super::{Cli, Failure, data_dir, load_settings, named_socket};

pub(crate) fn serve(cli: &Cli) -> Result<(), Failure> {
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
    config.socket = named_socket(cli);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime");
    let runtime = runtime.map_err(Failure::Unreached)?;
    let ended = runtime.block_on(run(config, &settings));
    // Whatever waits for a name server or a disk would keep the process, and with it the next one's heartbeats.
    runtime.shutdown_background();
    ended.map_err(Failure::Unreached)
}

async fn run(mut config: AgentConfig, settings: &Settings) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let notify = Notify::from_environment();
    let aws = aws(settings).await;
    anyhow::ensure!(
        aws.region().is_some(),
        "no AWS region: set region in the settings or AWS_REGION; on EC2 the instance metadata must be reachable"
    );
    let clients = Clients::new(&aws);
    let identity = identity(settings, AT_START).await;
    config.instance_id.clone_from(&identity.id);
    let data_dir = config.data_dir.clone();
    let agent = Agent::start(config, &clients).await?;
    tracing::info!(
        backend = ?settings.backend,
        host = identity.id,
        host_from = identity.origin,
        data_dir = %data_dir.display(),
        scripts_dir = %settings.scripts_dir.display(),
        "the agent listens at {}",
        agent.socket().display()
    );
    warn_without_scripts(&settings.scripts_dir);
    warn_of_identity(&identity);
    notify.ready("listening");
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        why = agent.failed() => anyhow::bail!(
            "the journal in {} {why}: start the agent again, which goes on with the jobs from their own files; \
             scripts that run go on", data_dir.display()
        ),
        never = notify.feed(async || agent.ping().await) => match never {},
    }
    tracing::info!("stopping; scripts that run go on");
    notify.stopping();
    agent.shutdown(Scripts::GoOn).await;
    Ok(())
}

fn warn_of_identity(Identity { id, remark, .. }: &Identity) {
    let Some(remark) = remark else { return };
    match remark.remedy() {
        Some(remedy) => tracing::warn!("this host is {id}: {}; {remedy}", remark.text()),
        None => tracing::info!("this host is {id}; {}", remark.text()),
    }
}

fn warn_without_scripts(scripts_dir: &Path) {
    if !scripts_dir.is_dir() {
        tracing::warn!("there is no scripts directory {}: no job can run", scripts_dir.display());
    }
}

pub(in crate::command) async fn aws(settings: &Settings) -> aws_config::SdkConfig {
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http);
    // By this name the calls are known in CloudTrail, and at the endpoint of `rsqlflow up`.
    if let Ok(name) = aws_config::AppName::new("rsqlflow-agent") {
        loader = loader.app_name(name);
    }
    if !settings.region.is_empty() {
        loader = loader.region(aws_config::Region::new(settings.region.clone()));
    }
    loader.load().await
}
