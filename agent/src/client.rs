//! The other end of the socket: what `rsqlflow-agent submit`, `credentials` and `jobs` use.
//!
//! Blocking and without a runtime: scripts call it, and it should be over in milliseconds.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::protocol::{Reply, Request};

/// The agent answers at once, or after asking AWS.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the agent was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no agent listens at {}", .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the agent did not answer")]
    Broken(#[source] io::Error),
    /// Another version's answer.
    #[error("the agent's answer is not one that this version knows")]
    Unknown,
}

/// Asks the agent that listens at `socket`.
///
/// # Errors
/// [`ClientError`], when there is no answer; a refusal is an answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply, ClientError> {
    let connect = || {
        let (short, _directory) = crate::socket::short_path(socket)?;
        UnixStream::connect(short)
    };
    let mut stream =
        connect().map_err(|source| ClientError::Connect { socket: socket.to_owned(), source })?;
    let mut exchange = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        stream.write_all(text.as_bytes())?;
        let mut line = String::new();
        BufReader::new(&mut stream).read_line(&mut line)?;
        Ok(line)
    };
    let line = exchange().map_err(ClientError::Broken)?;
    if line.is_empty() {
        return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_str(&line).map_err(|_| ClientError::Unknown)
}
