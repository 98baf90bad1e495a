//! The agent's socket: who may speak, how long and how much.
//!
//! The file is in the data directory and open to the agent's user and group; of those who can open it, only the
//! agent's own user and root are listened to. A path that is too long for a socket address is reached through its
//! directory's descriptor, so data directories may lie anywhere.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rsqlflow_door::{Places, Seat};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::context::Context;
use crate::dispatcher::SubmitError;
use crate::protocol::{AgentStatus, LINE_MAX, Reply, Request};

/// The socket's name in the data directory.
pub const FILE_NAME: &str = "agent.sock";

/// Longest path of a socket address, without its final NUL.
/// <https://man7.org/linux/man-pages/man7/unix.7.html>
const PATH_MAX: usize = 107;

/// A client that has not said what it wants by then is dropped.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// Most connections at once; one more takes the place of the one that has said nothing for longest. Whatever runs as the
/// agent's user can connect, scripts among it, and none of that may keep a job from being handed over.
const CONNECTIONS_MAX: usize = 128;

/// A socket path that fits an address; the file keeps it valid and must outlive its use.
pub(crate) fn short_path(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= PATH_MAX {
        return Ok((path.to_owned(), None));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let directory = File::open(parent)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok((short, Some(directory)))
}

/// Listens. A file that nobody answers at is what a dead agent left; one where somebody does belongs to an agent with
/// another data directory.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let (short, _directory) = short_path(path)?;
    if std::os::unix::net::UnixStream::connect(&short).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent listens there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(short)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Which file it is.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

/// Serves clients until it is aborted.
pub(crate) async fn serve(listener: UnixListener, context: Arc<Context>) {
    let places = Places::new(CONNECTIONS_MAX, 0);
    let mut clients = tokio::task::JoinSet::new();
    loop {
        places.room().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let (context, seat) = (Arc::clone(&context), places.take());
                clients.spawn(async move {
                    let served = tokio::select! {
                        served = client(stream, &context, &seat) => served,
                        () = seat.evicted() => Err(io::Error::other("it said nothing, and another came")),
                    };
                    if let Err(error) = served {
                        tracing::debug!(%error, "a client of the socket went away");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely; some will be closed.
                tracing::warn!(%error, "the socket cannot accept a client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

async fn client(mut stream: UnixStream, context: &Context, seat: &Seat) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    let reply = if peer == own || peer == 0 {
        let mut line = String::new();
        // One byte more than the longest line tells a line that is too long.
        let mut reader = BufReader::new((&mut stream).take(LINE_MAX as u64 + 1));
        match tokio::time::timeout(REQUEST_PATIENCE, reader.read_line(&mut line)).await {
            Err(_) => refused("no request came in time"),
            Ok(read) => {
                seat.busy();
                if read? > LINE_MAX {
                    refused("the request is too long")
                } else {
                    match answer(&line, context).await {
                        Some(reply) => reply,
                        None => return Ok(()),
                    }
                }
            }
        }
    } else {
        refused("only the agent's own user and root may speak to it")
    };
    let mut text = serde_json::to_string(&reply).map_err(io::Error::other)?;
    text.push('\n');
    tokio::time::timeout(REQUEST_PATIENCE, stream.write_all(text.as_bytes())).await??;
    stream.shutdown().await
}

/// `None` where the connection ends without an answer: whoever brings a job to an agent that is about to end brings it
/// again, to the next one, and who asks how it is asks that one.
async fn answer(line: &str, context: &Context) -> Option<Reply> {
    let Ok(request) = serde_json::from_str(line) else {
        return Some(refused("this is not a request that this version of the agent knows"));
    };
    Some(match request {
        Request::Submit { request, ssm_command_id } => {
            match context.dispatcher.submit(&request, ssm_command_id).await {
                Ok(accepted) => Reply::Accepted(accepted),
                Err(SubmitError::Stopping) => return None,
                Err(error) => {
                    context.metrics.job_refused(error.reason());
                    refused(&sources(&error))
                }
            }
        }
        Request::Credentials { secret_id } => {
            let jobs = context.dispatcher.uses_secret(&secret_id).await;
            if jobs.is_empty() {
                return Some(refused(&format!(
                    "no running job was given secret {secret_id}; scripts get the credentials of their own secret"
                )));
            }
            match context.secrets.get(&secret_id).await {
                Ok(fetched) => {
                    note_handed_out(context, &jobs, fetched.version).await;
                    Reply::Credentials(fetched.credentials)
                }
                Err(error) => refused(&error.to_string()),
            }
        }
        Request::Jobs {} => Reply::Jobs(context.dispatcher.jobs().await),
        Request::Kill { job } => match context.dispatcher.kill(&job).await {
            Ok(job) => Reply::Killing(job),
            Err(error) => refused(&sources(&error)),
        },
        Request::Drain { drained } => match context.dispatcher.drain(drained).await {
            Ok(()) => status(context).await?,
            Err(error) => refused(&format!("the host cannot be drained or undrained: {error}")),
        },
        Request::Status {} => status(context).await?,
    })
}

/// Which of the jobs asks is not known; each of them may.
async fn note_handed_out(context: &Context, jobs: &[String], version: String) {
    let directories: Vec<PathBuf> = jobs.iter().map(|job_id| context.job_dir(job_id)).collect();
    let noting = tokio::task::spawn_blocking(move || {
        directories.iter().try_for_each(|directory| crate::handed_out::note(directory, &version))
    });
    if let Ok(Err(error)) = noting.await {
        // A full disk, most likely. The password is masked by this process, and by the next if it can have it at once.
        tracing::warn!(%error, "it cannot be noted that a script is given credentials");
    }
}

async fn status(context: &Context) -> Option<Reply> {
    let overview = context.dispatcher.overview().await?;
    Some(Reply::Status(AgentStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        since: context.metrics.since().into(),
        drained: overview.drained,
        running: overview.running,
        queued: overview.queued,
        reporting: overview.reporting,
        max_running_jobs: context.config.max_running_jobs,
        free_bytes: overview.free_bytes,
        min_free_bytes: context.config.min_free_bytes,
        cgroup: context.cgroup.as_ref().map(|path| path.display().to_string()),
    }))
}

fn refused(message: &str) -> Reply {
    Reply::Refused { message: message.to_owned() }
}

pub(crate) fn sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
