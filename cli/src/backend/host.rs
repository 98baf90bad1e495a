//! This machine as a host of Systems Manager: the agent, in the same process.
//!
//! In an account the document's step runs `rsqlflow-agent submit`; here the command is handed over as a value, and the
//! job request never becomes an argument or a file of anybody else's. The agent listens at its socket as well, for the
//! scripts that ask it for credentials.

use std::sync::Arc;

use rsqlflow_agent::{Agent, AgentConfig, StartError};
use rsqlflow_config::settings::Settings;
use rsqlflow_local::ssm::{CommandHost, CommandOutcome, HostCommand, RUN_SCRIPT, Running};
use tokio::sync::RwLock;

/// The parameter of the document that holds the job request.
const REQUEST: &str = "request";

/// The agent of this machine, for as long as it takes commands.
pub(super) struct Host {
    instance_id: String,
    /// Read by every command; written once, when the agent is taken away to be shut down.
    agent: RwLock<Option<Agent>>,
}

impl Host {
    /// Starts the agent.
    pub(super) async fn start(
        config: AgentConfig,
        settings: &Settings,
        clients: &rsqlflow_agent::Clients,
    ) -> Result<Arc<Self>, StartError> {
        let agent = Agent::start(config, clients).await?;
        Ok(Arc::new(Self { instance_id: settings.host.clone(), agent: RwLock::new(Some(agent)) }))
    }

    /// Ends the scripts that run and reports what can be reported; the rest is reported after the next start.
    pub(super) async fn shutdown(&self) {
        // Commands that are being handed over hold the lock until they are on disk.
        let agent = self.agent.write().await.take();
        if let Some(agent) = agent {
            agent.shutdown().await;
        }
    }

    /// How many jobs are accepted, running or not yet reported.
    pub(super) async fn jobs(&self) -> usize {
        match self.agent.read().await.as_ref() {
            Some(agent) => agent.jobs().await.len(),
            None => 0,
        }
    }

    async fn submit(&self, command: HostCommand) -> Result<String, String> {
        if command.document != RUN_SCRIPT {
            return Err(format!("document {} is not one that this host runs", command.document));
        }
        let word = command.parameters.get(REQUEST).and_then(|values| values.first());
        let word = word.ok_or_else(|| format!("parameter {REQUEST} is missing"))?;
        let agent = self.agent.read().await;
        let agent = agent.as_ref().ok_or("the agent is stopping; send the command again")?;
        match agent.submit(word, Some(command.command_id)).await {
            Ok(accepted) if accepted.duplicate => Ok(format!("accepted before: {}", accepted.job_id)),
            Ok(accepted) => Ok(format!("accepted: {}", accepted.job_id)),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl CommandHost for Host {
    fn instance_id(&self) -> &str {
        &self.instance_id
    }

    fn run(&self, command: HostCommand) -> Running<'_> {
        Box::pin(async move {
            match self.submit(command).await {
                Ok(said) => CommandOutcome { response_code: 0, stdout: said + "\n", stderr: String::new() },
                Err(said) => CommandOutcome { response_code: 1, stdout: String::new(), stderr: said + "\n" },
            }
        })
    }
}
