//! Starting, adopting and stopping the server process.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::binaries::Binaries;
use super::cluster;
use super::home::Home;
use super::probe;
use super::{Connection, START_PATIENCE, WarehouseError, io, tail_of};

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);
/// A predecessor that was just killed leaves its lock file for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// SIGINT ends sessions and writes a checkpoint, SIGQUIT just ends.
const STOP_STEPS: [(Signal, Duration); 2] =
    [(Signal::INT, Duration::from_secs(20)), (Signal::QUIT, Duration::from_secs(5))];
/// A socket's path fits 107 bytes; the socket's own name takes some 20 of them.
const MAX_SOCKET_DIRECTORY: usize = 85;

/// What a laptop can spare; data stays as safe as PostgreSQL's defaults keep it (fsync on).
const SETTINGS: [(&str, &str); 8] = [
    ("listen_addresses", "127.0.0.1"),
    ("shared_buffers", "64MB"),
    ("max_connections", "100"),
    // Nobody replicates from here, and bulk loads into new tables then skip the log.
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    // Redshift's sessions are in UTC.
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("unix_socket_permissions", "0700"),
];

/// A server and how to reach it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) connection: Connection,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Started(Child),
    Adopted(LeftOver),
}

/// A server that an earlier process of ours started.
#[derive(Debug, Clone)]
pub(super) struct LeftOver {
    pid: Pid,
    port: u16,
    cluster: PathBuf,
}

impl LeftOver {
    /// The server works in its cluster's directory, by which it is told from another process that got its number.
    fn is_alive(&self) -> bool {
        let process = PathBuf::from(format!("/proc/{}", self.pid.as_raw_nonzero()));
        let works_in = std::fs::read_link(process.join("cwd")).ok();
        works_in.is_some() && works_in == self.cluster.canonicalize().ok()
    }
}

/// What the cluster's `postmaster.pid` names, if it is alive. Its first line is the process, its fourth the port.
pub(super) fn left_over(home: &Home) -> Option<LeftOver> {
    let cluster = home.cluster();
    let text = std::fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = Pid::from_raw(lines.next()?.trim().parse().ok()?)?;
    let port = lines.nth(2)?.trim().parse().ok()?;
    let found = LeftOver { pid, port, cluster };
    found.is_alive().then_some(found)
}

/// Starts the server or adopts the one that runs, and waits until it accepts connections.
pub(super) async fn start(
    data_dir: &Path,
    home: &Home,
    binaries: &Binaries,
    mut record: Connection,
    log: &Path,
) -> Result<Running, WarehouseError> {
    let deadline = Instant::now() + START_PATIENCE;
    let failed = || WarehouseError::DidNotStart { log: log.to_owned(), tail: tail_of(log) };
    if let Some(found) = left_over(home) {
        tracing::info!(pid = found.pid.as_raw_nonzero(), "a warehouse is running already and is adopted");
        record.port = found.port;
        let mut running = Running { connection: record.clone(), process: Process::Adopted(found) };
        if running.wait_until_ready(deadline).await {
            return Ok(running);
        }
        if running.is_alive() {
            return Err(failed());
        }
        // It was about to end.
    }
    let locked_until = Instant::now() + LOCK_PATIENCE;
    loop {
        let port = free_port(record.port)?;
        if port != record.port {
            record.port = port;
            cluster::save(data_dir, &record)?;
        }
        let child = spawn(home, binaries, port, log)?;
        let mut running = Running { connection: record.clone(), process: Process::Started(child) };
        if running.wait_until_ready(deadline).await {
            return Ok(running);
        }
        let error = failed();
        if running.is_alive() {
            running.stop().await?;
            return Err(error);
        }
        // Two ways of failing pass: the predecessor's lock, and a port that was taken since we looked.
        let WarehouseError::DidNotStart { tail, .. } = &error else { return Err(error) };
        let passing = tail.contains("postmaster.pid") || tail.contains("could not bind");
        if !passing || Instant::now() > locked_until {
            return Err(error);
        }
        tokio::time::sleep(LOOK * 5).await;
    }
}

fn spawn(home: &Home, binaries: &Binaries, port: u16, log: &Path) -> Result<Child, WarehouseError> {
    let output = cluster::open_log(log)?;
    let errors = output.try_clone().map_err(io("write the warehouse's log"))?;
    let mut command = home.command(&binaries.program("postgres"));
    command.arg("-D").arg(home.cluster()).arg("-p").arg(port.to_string());
    for (name, value) in SETTINGS {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    // In its own group, so that Ctrl-C in our terminal is ours to handle.
    command
        .arg("-c")
        .arg(format!("unix_socket_directories={}", sockets(home)))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors))
        .process_group(0)
        .spawn()
        .map_err(io("run postgres"))
}

/// The socket's directory, or none where its path would be too long for a socket.
fn sockets(home: &Home) -> String {
    let directory = home.sockets();
    let text = directory.to_str().filter(|text| text.len() <= MAX_SOCKET_DIRECTORY);
    text.filter(|text| !text.contains([',', '"', '\''])).unwrap_or_default().to_owned()
}

/// The port of last time while it is free, or another.
fn free_port(last: u16) -> Result<u16, WarehouseError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|socket| socket.local_addr());
    let found = if last == 0 { bind(0) } else { bind(last).or_else(|_| bind(0)) };
    found.map(|address| address.port()).map_err(io("find a free port for the warehouse"))
}

impl Running {
    pub(super) fn adopted(found: LeftOver) -> Self {
        let connection = Connection {
            host: "127.0.0.1".into(),
            port: found.port,
            user: String::new(),
            password: String::new(),
            dbname: String::new(),
        };
        Self { connection, process: Process::Adopted(found) }
    }

    pub(super) fn is_alive(&mut self) -> bool {
        match &mut self.process {
            Process::Started(child) => matches!(child.try_wait(), Ok(None)),
            Process::Adopted(found) => found.is_alive(),
        }
    }

    /// False when the server ended, or the deadline passed.
    async fn wait_until_ready(&mut self, deadline: Instant) -> bool {
        while self.is_alive() && Instant::now() < deadline {
            if probe::accepts(self.connection.port, &self.connection.user).await {
                // The answer was ours and not that of whoever took the port while our server gave up.
                return self.is_alive();
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }

    pub(super) async fn stop(mut self) -> Result<(), WarehouseError> {
        let pid = match &self.process {
            Process::Started(child) => child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)),
            Process::Adopted(found) => Some(found.pid),
        };
        let Some(pid) = pid else { return Ok(()) };
        for (signal, patience) in STOP_STEPS {
            if !self.is_alive() {
                return Ok(());
            }
            // It may end by itself between the look and the signal.
            let _ = kill_process(pid, signal);
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if !self.is_alive() {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Err(WarehouseError::DidNotStop { pid: pid.as_raw_nonzero().get() })
    }
}
