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

use crate::asker::{self, Asker};
use crate::context::Context;
use crate::dispatcher::SubmitError;
use crate::protocol::{AgentStatus, Credentials, LINE_MAX, Reply, Request};
use crate::secret_rules;

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
    let peer = stream.peer_cred()?;
    let process = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    let own = rustix::process::geteuid().as_raw();
    let reply = if peer.uid() == own || peer.uid() == 0 {
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
                    match answer(&line, process, context).await {
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

/// `None` where the connection ends without an answer, because the agent is about to end: a job is brought again, and
/// credentials are asked for again, of the next one.
async fn answer(line: &str, process: Option<u32>, context: &Context) -> Option<Reply> {
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
            let jobs = context.dispatcher.askers().await?;
            match credentials(&secret_id, process, jobs, context).await {
                Ok(credentials) => Reply::Credentials(credentials),
                Err(message) => refused(&message),
            }
        }
        Request::Jobs {} => Reply::Jobs(context.dispatcher.jobs().await?),
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

/// The credentials of the asking job's own secret; of no other, for its log would not be masked.
async fn credentials(
    secret_id: &str,
    process: Option<u32>,
    jobs: Vec<Asker>,
    context: &Context,
) -> Result<Credentials, String> {
    let jobs_dir = context.jobs_dir.clone();
    let find = move || asker::find(process?, jobs, &jobs_dir);
    let Ok(Some(asker)) = tokio::task::spawn_blocking(find).await else {
        return Err(
            "only the scripts of running jobs are given credentials, and this is no process of one".into()
        );
    };
    let Asker { job_id, workflow_id, workflow_execution_id, job_name, secret_id: own } = asker;
    if !secret_rules::same(&own, secret_id) {
        let own = if own.is_empty() { "no secret" } else { &own };
        return Err(format!(
            "job {job_name} of run {workflow_execution_id} was given {own}, and is given no other; to use {secret_id}, \
             make it the secret_id of workflow {workflow_id}"
        ));
    }
    let fetched = context.secrets.get(&own).await.map_err(|error| error.to_string())?;
    context.config.secrets.problem_of(&workflow_id, &own, &fetched.name, &fetched.arn).map_or(Ok(()), Err)?;
    note_handed_out(context.job_dir(&job_id), fetched.version).await;
    Ok(fetched.credentials)
}

async fn note_handed_out(directory: PathBuf, version: String) {
    let noting = tokio::task::spawn_blocking(move || crate::handed_out::note(&directory, &version));
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
