//! The seam between Run Command and the hosts that run commands.
//!
//! In AWS the SSM agent polls; here a host is a value in this process that implements [`CommandHost`]. Whoever wires
//! the process together attaches one, for instance the rsqlflow agent for the document `Rsqlflow-RunScript`.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// The future of one command on a host.
pub type Running<'a> = Pin<Box<dyn Future<Output = CommandOutcome> + Send + 'a>>;

/// A host that takes commands.
pub trait CommandHost: Send + Sync {
    /// Its managed instance id: `i-` and 8 or 17, or `mi-` and 17 word characters.
    fn instance_id(&self) -> &str;

    /// Runs one command to its end. The same command may come again after a restart of either side. Dropping the
    /// future means the command was cancelled or took too long.
    fn run(&self, command: HostCommand) -> Running<'_>;
}

/// A command as a host gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct HostCommand {
    /// A UUID.
    pub command_id: String,
    /// The document's name.
    pub document: String,
    /// The document's parameters; they may hold task tokens, so `Debug` leaves their values out.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// How long the command may run.
    pub timeout: Duration,
}

impl std::fmt::Debug for HostCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostCommand")
            .field("command_id", &self.command_id)
            .field("document", &self.document)
            .field("parameters", &self.parameters.keys())
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// How a command ended on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandOutcome {
    /// The exit code; 0 is success.
    pub response_code: i32,
    /// Standard output; the service keeps the first 24,000 characters.
    pub stdout: String,
    /// Standard error; the service keeps the first 8,000 characters.
    pub stderr: String,
}
