//! This machine as a host of Systems Manager: what a command of Run Command becomes.
//!
//! The agent is either in this process ([`embedded`]) or a daemon of its own, reached at its socket ([`separate`]), as
//! in an account, where the document's step runs `rsqlflow-agent submit`. Either way the command is handed over as a
//! value, and the job request never becomes an argument or a file of anybody else's. The same command may come again
//! after a restart of either side; the agent recognises it.

mod embedded;
mod separate;

use std::path::Path;
use std::sync::Arc;

use rsqlflow_agent::{Accepted, AgentConfig, Clients, Scripts, StartError};
use rsqlflow_config::settings::Settings;
use rsqlflow_local::ssm::{CommandHost, CommandOutcome, HostCommand, RUN_SCRIPT, Running};

use embedded::Embedded;
use separate::Separate;

/// The parameter of the document that holds the job request.
const REQUEST: &str = "request";

/// This machine, for as long as it takes commands.
pub(super) struct Host {
    instance_id: String,
    agent: Agent,
}

enum Agent {
    Embedded(Embedded),
    Separate(Separate),
}

impl Host {
    /// Starts an agent in this process.
    pub(super) async fn start(
        config: AgentConfig,
        settings: &Settings,
        clients: &Clients,
    ) -> Result<Arc<Self>, StartError> {
        let agent = Agent::Embedded(Embedded::start(config, clients).await?);
        Ok(Arc::new(Self { instance_id: settings.host.clone(), agent }))
    }

    /// Hands commands to the agent that listens at `socket`, whenever it does.
    pub(super) fn separate(instance_id: &str, socket: &Path) -> Arc<Self> {
        let agent = Agent::Separate(Separate::at(socket));
        Arc::new(Self { instance_id: instance_id.to_owned(), agent })
    }

    /// Ends the agent of this process; a daemon of its own goes on.
    pub(super) async fn shutdown(&self, scripts: Scripts) {
        if let Agent::Embedded(agent) = &self.agent {
            agent.shutdown(scripts).await;
        }
    }

    /// Ready once the agent of this process can do nothing any more but be started again; what became of its journal.
    pub(super) async fn failed(&self) -> &'static str {
        match &self.agent {
            Agent::Embedded(agent) => agent.failed().await,
            Agent::Separate(_) => std::future::pending().await,
        }
    }

    /// How many jobs the agent of this process has accepted and not yet settled.
    pub(super) async fn jobs(&self) -> usize {
        match &self.agent {
            Agent::Embedded(agent) => agent.jobs().await,
            Agent::Separate(_) => 0,
        }
    }

    async fn submit(&self, command: HostCommand) -> Result<String, String> {
        if command.document != RUN_SCRIPT {
            return Err(format!("document {} is not one that this host runs", command.document));
        }
        let word = command.parameters.get(REQUEST).and_then(|values| values.first());
        let word = word.ok_or_else(|| format!("parameter {REQUEST} is missing"))?;
        let Accepted { job_id, duplicate } = match &self.agent {
            Agent::Embedded(agent) => agent.submit(word, command.command_id).await,
            Agent::Separate(agent) => agent.submit(word, command.command_id).await,
        }?;
        Ok(if duplicate { format!("accepted before: {job_id}") } else { format!("accepted: {job_id}") })
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
