//! The agent in this process. It listens at its socket as well, for the scripts that ask it for credentials.

use rsqlflow_agent::{Accepted, Agent, AgentConfig, Clients, Scripts, StartError};
use tokio::sync::RwLock;

pub(super) struct Embedded {
    /// Read by every command; written once, when the agent is taken away to be shut down.
    agent: RwLock<Option<Agent>>,
}

impl Embedded {
    pub(super) async fn start(config: AgentConfig, clients: &Clients) -> Result<Self, StartError> {
        Ok(Self { agent: RwLock::new(Some(Agent::start(config, clients).await?)) })
    }

    pub(super) async fn submit(&self, word: &str, command_id: String) -> Result<Accepted, String> {
        let agent = self.agent.read().await;
        let agent = agent.as_ref().ok_or("the agent is stopping; send the command again")?;
        agent.submit(word, Some(command_id)).await.map_err(|error| error.to_string())
    }

    /// Reports what can be reported; the rest is reported after the next start.
    pub(super) async fn shutdown(&self, scripts: Scripts) {
        // Commands that are being handed over hold the lock until they are on disk.
        let agent = self.agent.write().await.take();
        if let Some(agent) = agent {
            agent.shutdown(scripts).await;
        }
    }

    pub(super) async fn failed(&self) -> &'static str {
        match self.agent.read().await.as_ref() {
            Some(agent) => agent.failed().await,
            None => std::future::pending().await,
        }
    }

    pub(super) async fn jobs(&self) -> usize {
        match self.agent.read().await.as_ref() {
            Some(agent) => agent.jobs().await.len(),
            None => 0,
        }
    }
}
