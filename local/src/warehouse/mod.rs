//! The private warehouse: a PostgreSQL cluster of our own, for whoever has no Redshift at hand.
//!
//! It is made on first use and started when somebody asks for its connection, so nobody who needs no warehouse waits
//! for one. It listens on 127.0.0.1 only and wants a password, which is made at random and kept in the data
//! directory. The database is `dev` and its owner `awsuser`, as Redshift's defaults are.
//!
//! PostgreSQL refuses to run as root. When we are root it runs as `postgres` or `nobody`, and its files live where
//! that user can reach them (see `home.rs`); otherwise they are in the data directory.
//!
//! A server that outlived its parent (`kill -9`) is adopted, not started twice. What it does not do: upgrade a
//! cluster to another major version, replicate, or accept connections from other machines.

mod binaries;
mod cluster;
mod home;
mod probe;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::data_dir::DataDirError;
use crate::secrets::{SecretProvider, SecretValue};

/// How long the server may take to accept connections; recovery after a crash is part of it.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no warehouse. Every variant is a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum WarehouseError {
    /// No binaries.
    #[error(
        "PostgreSQL is not installed: run `apt-get install postgresql` (or set url under [local.warehouse] to use \
         another warehouse)"
    )]
    NotInstalled,
    /// Binaries, but not for this cluster.
    #[error(
        "the warehouse in {} was made by PostgreSQL {wanted}, which is not installed any more: run `apt-get install \
         postgresql-{wanted}`, or remove that directory to start with an empty warehouse",
        home.display()
    )]
    WrongVersion {
        /// Where the cluster is.
        home: PathBuf,
        /// The major version that made it.
        wanted: String,
    },
    /// We are root and there is nobody else.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody: run `useradd postgres`"
    )]
    NoUser,
    /// Somebody else's directory is where ours should be.
    #[error("{} belongs to another user: remove it, or use another --data-dir", _0.display())]
    NotOurs(PathBuf),
    /// The password is gone.
    #[error(
        "the record of the warehouse's password, {}, cannot be read: restore it, or remove {} to start with an empty \
         warehouse",
        record.display(),
        home.display()
    )]
    RecordLost {
        /// The file.
        record: PathBuf,
        /// Where the cluster is.
        home: PathBuf,
    },
    /// A tool failed.
    #[error("{tool} failed: {output}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// The end of what it printed.
        output: String,
    },
    /// The server did not come up, or ended.
    #[error("the warehouse did not start; the end of {} is: {tail}", log.display())]
    DidNotStart {
        /// The server's log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// The server does not end.
    #[error("the warehouse (process {pid}) did not stop: run `kill -QUIT {pid}`")]
    DidNotStop {
        /// The server's main process.
        pid: i32,
    },
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The operating system refused.
    #[error("cannot {act}: {source}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// The reason.
        source: std::io::Error,
    },
}

/// Turns an input/output error into ours.
fn io(act: &'static str) -> impl FnOnce(std::io::Error) -> WarehouseError {
    move |source| WarehouseError::Io { act, source }
}

/// How to connect. `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Always 127.0.0.1.
    pub host: String,
    /// The port, kept from start to start while it is free.
    pub port: u16,
    /// The database's owner.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database.
    pub dbname: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("password", &"[hidden]")
            .field("dbname", &self.dbname)
            .finish()
    }
}

impl Connection {
    /// The secret string, with the keys of a Redshift secret
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html>).
    pub fn to_secret(&self) -> String {
        serde_json::json!({
            "engine": "postgres",
            "host": self.host,
            "port": self.port,
            "username": self.user,
            "password": self.password,
            "dbname": self.dbname,
        })
        .to_string()
    }
}

/// The private warehouse of one data directory. Only the holder of the directory's lock may have one.
#[derive(Debug)]
pub struct Warehouse {
    data_dir: PathBuf,
    running: Mutex<Option<server::Running>>,
}

impl Warehouse {
    /// Nothing is made or started yet.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), running: Mutex::new(None) }
    }

    /// Where the server logs.
    pub fn log_path(&self) -> PathBuf {
        self.data_dir.join("warehouse").join("postgres.log")
    }

    /// The connection of the running server; makes and starts it where needed. Callers share one start; after a
    /// failure the next caller tries again.
    ///
    /// # Errors
    /// Those of [`WarehouseError`].
    pub async fn connection(&self) -> Result<Connection, WarehouseError> {
        let mut running = self.running.lock().await;
        if let Some(server) = running.as_mut()
            && server.is_alive()
        {
            return Ok(server.connection.clone());
        }
        *running = None;
        let home = home::Home::of(&self.data_dir)?;
        home.create(&self.data_dir).await?;
        let binaries = binaries::Binaries::find(&home)?;
        let record = cluster::open(&self.data_dir, &home, &binaries).await?;
        let server = server::start(&self.data_dir, &home, &binaries, record, &self.log_path()).await?;
        let connection = server.connection.clone();
        tracing::info!(port = connection.port, files = %home.path.display(), "the private warehouse is running");
        *running = Some(server);
        Ok(connection)
    }

    /// Whether there is what it takes to make and start it, without doing either.
    ///
    /// # Errors
    /// Those of [`WarehouseError`] that say what to install.
    pub fn check(&self) -> Result<(), WarehouseError> {
        let home = home::Home::of(&self.data_dir)?;
        binaries::Binaries::find(&home).map(drop)
    }

    /// Whether a server is running that this value knows of.
    pub async fn is_running(&self) -> bool {
        self.running.lock().await.as_mut().is_some_and(server::Running::is_alive)
    }

    /// Where the cluster's files are, or will be.
    ///
    /// # Errors
    /// When we are root and nobody can run the server.
    pub fn files(&self) -> Result<PathBuf, WarehouseError> {
        home::Home::of(&self.data_dir).map(|home| home.path)
    }

    /// Stops the server, if one runs: open sessions are ended, what they committed is kept.
    ///
    /// # Errors
    /// [`WarehouseError::DidNotStop`] when it resists.
    pub async fn stop(&self) -> Result<(), WarehouseError> {
        let mut running = self.running.lock().await;
        if running.is_none()
            && let Ok(home) = home::Home::of(&self.data_dir)
        {
            // One that an earlier process left behind is stopped, too.
            *running = server::left_over(&home).map(server::Running::adopted);
        }
        match running.take() {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Stops the server and deletes the cluster with everything in it.
    ///
    /// # Errors
    /// As [`Warehouse::stop`], and the file system's.
    pub async fn destroy(&self) -> Result<(), WarehouseError> {
        self.stop().await?;
        cluster::remove(&self.data_dir, &home::Home::of(&self.data_dir)?)
    }
}

impl SecretProvider for Warehouse {
    fn secret(&self) -> SecretValue<'_> {
        Box::pin(async move {
            self.connection()
                .await
                .map(|connection| connection.to_secret())
                .map_err(|error| error.to_string())
        })
    }
}

/// The last lines of a log, for an error message.
fn tail(text: &str) -> String {
    const LINES: usize = 5;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" / ")
}

/// The last lines of a log file.
fn tail_of(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let from = bytes.len().saturating_sub(4096);
    tail(&String::from_utf8_lossy(&bytes[from..]))
}
