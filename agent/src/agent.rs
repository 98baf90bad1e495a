//! The agent as others see it: start, submit, list, stop.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{AgentConfig, Clients};
use crate::context::Context;
use crate::dispatcher::{self, Handle, SubmitError};
use crate::interrupt::Interrupt;
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::protocol::{Accepted, JobInfo};
use crate::secrets::Secrets;
use crate::started::Started;
use crate::undelivered::Undelivered;
use crate::{host_record, http, library, reconcile, socket};

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another agent works in the data directory.
    #[error("another agent works in {}", .0.display())]
    Taken(PathBuf),
    /// The data directory cannot be used.
    #[error("{} cannot be used", .path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The metrics and health pages cannot be served.
    #[error("metrics and health cannot be served at {address} (agent.listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program that supervises scripts is missing.
    #[error("{} is missing: install it beside rsqlflow-agent", .0.display())]
    NoSupervisor(PathBuf),
    /// The journal cannot be used.
    #[error("the journal {} cannot be used", .path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What becomes of the scripts that run when the agent stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    /// They go on; the next agent adopts them.
    GoOn,
    /// They are ended with the agent, and reported as `Rsql.HostLost`.
    End,
}

/// Counters for benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Transactions of the journal that were flushed to disk.
    pub durable_commits: u64,
    /// All transactions of the journal.
    pub commits: u64,
}

/// A running agent. Dropping it is like killing its process: scripts go on without it, and the journal knows them.
pub struct Agent {
    context: Arc<Context>,
    journal: Journal,
    watched_at: Option<SocketAddr>,
    /// The file that it listens at.
    socket_file: Option<(u64, u64)>,
    tasks: JoinSet<()>,
    /// Held for as long as the agent lives.
    _lock: File,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("socket", &self.context.socket).finish_non_exhaustive()
    }
}

impl Agent {
    /// Starts an agent on its data directory: takes up every job that an earlier one left, then listens.
    ///
    /// # Errors
    /// [`StartError`], when the data directory, the journal or the socket cannot be used.
    pub async fn start(config: AgentConfig, clients: &Clients) -> Result<Self, StartError> {
        let jobs_dir = config.data_dir.join("jobs");
        create_private(&config.data_dir)?;
        create_private(&jobs_dir)?;
        // Scripts run elsewhere and are given paths of ours.
        let data_dir = config.data_dir.canonicalize().map_err(at(&config.data_dir))?;
        let lock = take(&data_dir)?;
        let lib_dir = library::write(&data_dir).map_err(at(&data_dir.join("lib")))?;
        let path = data_dir.join("journal.db");
        let journal_error = |source| StartError::Journal { path: path.clone(), source: Box::new(source) };
        let jobs_dir = data_dir.join("jobs");
        let (journal, left) = reconcile::open(&path, &jobs_dir).await.map_err(journal_error)?;
        if !config.supervisor.is_file() {
            return Err(StartError::NoSupervisor(config.supervisor));
        }

        let started = Started::of(&data_dir);
        let mut config = config;
        config.data_dir = data_dir;
        let socket = config.socket_path();
        let listener = socket::listen(&socket).map_err(at(&socket))?;
        let socket = socket.canonicalize().map_err(at(&socket))?;
        let socket_file = socket::identity(&socket);
        let metrics = Arc::new(Metrics::default());
        let undelivered = Arc::new(Undelivered::default());
        let clients = clients.single_attempts(&metrics, &undelivered);
        let (handle, mailbox) = dispatcher::channel(journal.clone(), config.parameter_names.clone());
        let (stop, stop_seen) = watch::channel(None);
        let context = Arc::new(Context {
            run_id: format!("{}/{}", rsqlflow_config::time::now(), std::process::id()),
            jobs_dir,
            started,
            cgroup: rsqlflow_supervisor::cgroup::delegated(),
            secrets: Secrets::new(clients.secrets.clone()),
            clients,
            config,
            dispatcher: handle.clone(),
            metrics,
            undelivered,
            host_key: std::sync::OnceLock::new(),
            lib_dir,
            socket,
            host_changed: tokio::sync::Notify::new(),
            stop: stop_seen,
        });
        let pages = match context.config.listen {
            Some(address) => {
                Some(http::listen(address).map_err(|source| StartError::Listen { address, source })?)
            }
            None => None,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(dispatcher::run(Arc::clone(&context), journal.clone(), mailbox, stop));
        // Before any command is taken that may be of the same jobs.
        let strays = left.take_up(&context);
        let watched_at = pages.as_ref().and_then(|pages| pages.local_addr().ok());
        if let Some(pages) = pages {
            tasks.spawn(http::serve(pages, Arc::clone(&context), journal.clone()));
        }
        if !context.config.hosts_table.is_empty() {
            let context = Arc::clone(&context);
            tasks.spawn(async move { host_record::keep(&context).await });
        }
        tasks.spawn(socket::serve(listener, Arc::clone(&context)));
        let ending = Arc::clone(&context);
        tasks.spawn(async move { strays.end(&ending).await });
        Ok(Self { context, journal, watched_at, socket_file, tasks, _lock: lock })
    }

    /// Takes a job: `word` is the encoded [`rsqlflow_config::job::JobRequest`]. Answers once the job is on disk.
    ///
    /// # Errors
    /// [`SubmitError`], when it is no job request, or cannot be kept.
    pub async fn submit(&self, word: &str, ssm_command_id: Option<String>) -> Result<Accepted, SubmitError> {
        let answer = self.handle().submit(word, ssm_command_id).await;
        answer.inspect_err(|error| self.context.metrics.job_refused(error.reason()))
    }

    /// The jobs that are not settled: accepted, running, or not yet reported to everyone.
    pub async fn jobs(&self) -> Vec<JobInfo> {
        self.handle().jobs().await.unwrap_or_default()
    }

    /// How many jobs are not settled, once the dispatcher and the journal's thread have both answered; nothing when one
    /// of them has ended. A journal that answers with a failure, for instance of a full disk, has answered.
    pub async fn ping(&self) -> Option<usize> {
        let jobs = self.handle().ping().await?;
        match self.journal.settle().await {
            Err(JournalError::Closed) => None,
            Ok(()) | Err(_) => Some(jobs),
        }
    }

    /// Ready once the agent can do nothing any more but be started again: with what became of its journal, in words that
    /// follow "the journal".
    pub async fn failed(&self) -> &'static str {
        self.journal.failed().await
    }

    /// Where the agent listens.
    pub fn socket(&self) -> &Path {
        &self.context.socket
    }

    /// Where the metrics and health pages are, if anywhere.
    pub fn watched_at(&self) -> Option<SocketAddr> {
        self.watched_at
    }

    /// Counters for benchmarks.
    pub fn stats(&self) -> Stats {
        let (durable_commits, commits) = self.journal.commits();
        Stats { durable_commits, commits }
    }

    /// Stops: takes no more jobs, leaves or ends the scripts that run, and reports what can be reported within seconds.
    /// The rest is reported after the next start.
    pub async fn shutdown(mut self, scripts: Scripts) {
        let how = match scripts {
            Scripts::GoOn => Interrupt::Leaving,
            Scripts::End => Interrupt::Stopping,
        };
        self.handle().stop(how).await;
        self.tasks.shutdown().await;
        if !self.context.config.hosts_table.is_empty() {
            host_record::leave(&self.context).await;
        }
        // What was noted last is written before the lock is let go.
        if let Err(error) = self.journal.settle().await {
            tracing::warn!(%error, "the journal could not be written to its end");
        }
        self.journal.scrub().await;
        // It leads nowhere now; the next start would remove it too. Another's leads to that one.
        if socket::identity(&self.context.socket) == self.socket_file {
            let _ = std::fs::remove_file(&self.context.socket);
        }
    }

    fn handle(&self) -> &Handle {
        &self.context.dispatcher
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> StartError {
    let path = path.to_owned();
    |source| StartError::Io { path, source }
}

/// The directory itself may be entered by the group, for the socket; what is in it is protected file by file.
fn create_private(path: &Path) -> Result<(), StartError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(at(path))
}

fn take(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join("agent.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(at(&path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Taken(data_dir.to_owned())),
        Err(error) => Err(at(&path)(error.into())),
    }
}
