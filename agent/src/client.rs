//! The other end of the socket: what `rsqlflow-agent submit`, `credentials` and `jobs` use.
//!
//! Blocking and without a runtime: scripts call it, and it should be over in milliseconds. An agent that is not there may
//! be back within seconds, as after a restart or an upgrade. Jobs that are handed over, and everything that a script
//! asks, wait for that ([`ask_patiently`]): a command of Systems Manager is delivered once, and a load of six hours must
//! not fail for it. Operators are told at once.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::protocol::{Reply, Request};

/// Who asks the agent for something that it asks AWS for, or has to write to disk, waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it knows by itself it answers at once.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(10);

/// How long a job request waits for an agent that is not there: longer than a restart takes, and shorter than any
/// limit on the command that brought it (the document's step has an hour, its delivery at least thirty seconds).
pub const SUBMIT_PATIENCE: Duration = Duration::from_secs(30);

/// How long a script that asks for something waits for the agent: as long as Step Functions waits for a job's heartbeat
/// in an account. Without an agent for longer the job is lost, whatever its script does.
pub const SCRIPT_PATIENCE: Duration = Duration::from_secs(120);

/// Pauses between two tries grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Why the agent was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or not to everyone.
    #[error("cannot speak to the agent at {}", .socket.display())]
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
    /// It has the question and says nothing.
    #[error("the agent does not answer within {} s", .patience.as_secs())]
    Silent {
        /// How long it was given.
        patience: Duration,
    },
    /// Another version's answer.
    #[error("the agent's answer is not one that this version knows")]
    Unknown,
}

impl ClientError {
    /// Whether an agent that is about to be back would have caused it: nobody listens, or whoever did went away in
    /// the middle, or is stuck and will be started anew. A socket that may not be opened is not helped by waiting.
    pub fn passes(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
        match self {
            Self::Connect { source, .. } => matches!(source.kind(), NotFound | ConnectionRefused),
            Self::Broken(source) => matches!(source.kind(), BrokenPipe | ConnectionReset | UnexpectedEof),
            Self::Silent { .. } => true,
            Self::Unknown => false,
        }
    }
}

/// Hands a job request over, and tries again for up to `patience` where nobody listens or the connection breaks. That
/// changes nothing where the request had arrived: the same task token is the same job.
///
/// # Errors
/// [`ClientError`], the last one met; a refusal is an answer.
pub fn submit(
    socket: &Path,
    request: &str,
    ssm_command_id: Option<String>,
    patience: Duration,
) -> Result<Reply, ClientError> {
    ask_patiently(socket, &Request::Submit { request: request.to_owned(), ssm_command_id }, patience)
}

/// As [`ask`], and tries again for up to `patience` where nobody listens or the connection breaks.
///
/// # Errors
/// [`ClientError`], the last one met; a refusal is an answer.
pub fn ask_patiently(socket: &Path, request: &Request, patience: Duration) -> Result<Reply, ClientError> {
    // One beyond what can be counted never comes.
    let deadline = Instant::now().checked_add(patience);
    let (mut pause, longest) = PAUSES;
    loop {
        match ask(socket, request) {
            Err(error)
                if error.passes() && deadline.is_none_or(|deadline| Instant::now() + pause <= deadline) =>
            {
                std::thread::sleep(pause);
                pause = (pause * 2).min(longest);
            }
            answer => return answer,
        }
    }
}

/// Asks the agent that listens at `socket`.
///
/// # Errors
/// [`ClientError`], when there is no answer; a refusal is an answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply, ClientError> {
    let patience = match request {
        Request::Submit { .. } | Request::Credentials { .. } => PATIENCE,
        Request::Jobs {} | Request::Kill { .. } | Request::Drain { .. } | Request::Status {} => {
            OPERATOR_PATIENCE
        }
    };
    ask_within(socket, request, patience)
}

fn ask_within(socket: &Path, request: &Request, patience: Duration) -> Result<Reply, ClientError> {
    let connect = || {
        let (short, _directory) = crate::socket::short_path(socket)?;
        UnixStream::connect(short)
    };
    let mut stream =
        connect().map_err(|source| ClientError::Connect { socket: socket.to_owned(), source })?;
    let mut exchange = || {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        // One who may not ask is told before the request is read, which then finds nobody.
        let written = stream.write_all(text.as_bytes());
        let mut line = String::new();
        let read = BufReader::new(&mut stream).read_line(&mut line);
        if line.ends_with('\n') {
            return Ok(line);
        }
        written.and(read).map(|_| line)
    };
    let line = exchange().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent { patience },
        _ => ClientError::Broken(error),
    })?;
    if line.is_empty() {
        return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_str(&line).map_err(|_| ClientError::Unknown)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_submit_outlives_a_restart_of_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        // What a killed agent leaves: a file that nobody listens at.
        drop(UnixListener::bind(&socket).unwrap());
        let path = socket.clone();
        let agent = std::thread::spawn(move || {
            std::fs::remove_file(&path).unwrap();
            let listener = UnixListener::bind(&path).unwrap();
            // The first one it accepts is lost with it, the second is answered.
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&mut stream).read_line(&mut line).unwrap();
            assert!(line.contains("word") && line.contains("command"), "{line}");
            stream.write_all(b"{\"refused\":{\"message\":\"no\"}}\n").unwrap();
        });
        let reply = submit(&socket, "word", Some("command".into()), Duration::from_secs(60)).unwrap();
        assert!(matches!(reply, Reply::Refused { message, .. } if message == "no"));
        agent.join().unwrap();
    }

    #[test]
    fn a_refusal_is_heard_whether_or_not_the_request_was() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        // More than the socket holds, so that the client still writes when the agent is gone.
        let request = Request::Submit { request: "x".repeat(1 << 20), ssm_command_id: None };
        let asked = std::thread::spawn(move || ask(&socket, &request));
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"refused\":{\"message\":\"no\"}}\n").unwrap();
        drop(stream);
        assert!(matches!(asked.join().unwrap(), Ok(Reply::Refused { message, .. }) if message == "no"));
    }

    #[test]
    fn a_silent_agent_is_called_so() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        // Connected to, as that is the system's own doing, and never accepted.
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = ask_within(&socket, &Request::Jobs {}, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, ClientError::Silent { .. }), "{error:?}");
    }

    #[test]
    fn patience_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("no-socket");
        std::fs::write(&file, "").unwrap();
        // As long as there are numbers, and no reason to use it.
        let other = ask_patiently(&file.join("x"), &Request::Jobs {}, Duration::MAX);
        assert!(matches!(other, Err(ClientError::Connect { .. })), "{other:?}");
        let missing = submit(&dir.path().join("agent.sock"), "word", None, Duration::from_millis(50));
        assert!(matches!(missing, Err(ClientError::Connect { .. })), "is refused in the end");
    }
}
