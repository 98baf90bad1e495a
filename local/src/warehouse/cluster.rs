//! Making the cluster, once.
//!
//! It is made under another name, flushed to disk as a whole, and renamed when complete: whatever interrupts this,
//! the next start finds a whole cluster or none. The password is recorded before the rename, so there is never a
//! cluster whose password nobody knows.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;

use crate::credentials::random_text;
use crate::data_dir::{private_file, replace_private_file};

use super::binaries::Binaries;
use super::home::Home;
use super::{Connection, WarehouseError, io, tail};

/// Redshift's defaults.
const USER: &str = "awsuser";
/// See [`USER`].
const DATABASE: &str = "dev";

/// The connection's record; the port is the one to try first.
pub(super) fn record_path(data_dir: &Path) -> PathBuf {
    data_dir.join("warehouse").join("connection.json")
}

pub(super) fn save(data_dir: &Path, record: &Connection) -> Result<(), WarehouseError> {
    let content = serde_json::to_vec_pretty(record).unwrap_or_default();
    Ok(replace_private_file(&record_path(data_dir), &content)?)
}

/// The cluster's record; makes the cluster if there is none.
pub(super) async fn open(
    data_dir: &Path,
    home: &Home,
    binaries: &Binaries,
) -> Result<Connection, WarehouseError> {
    if !home.cluster().join("PG_VERSION").exists() {
        return create(data_dir, home, binaries).await;
    }
    let record = record_path(data_dir);
    let known = std::fs::read(&record).ok().and_then(|content| serde_json::from_slice(&content).ok());
    known.ok_or_else(|| WarehouseError::RecordLost { record, home: home.path.clone() })
}

async fn create(data_dir: &Path, home: &Home, binaries: &Binaries) -> Result<Connection, WarehouseError> {
    let (cluster, password_file) = (home.path.join("cluster.new"), home.path.join("password"));
    for leftover in [home.cluster(), cluster.clone()] {
        if leftover.exists() {
            std::fs::remove_dir_all(&leftover).map_err(io("remove an unfinished warehouse"))?;
        }
    }
    let record = Connection {
        host: "127.0.0.1".into(),
        port: 0,
        user: USER.into(),
        password: random_text(40),
        dbname: DATABASE.into(),
    };
    write_password(home, &password_file, &record.password)?;
    let made = initdb(home, binaries, &cluster, &password_file).await;
    std::fs::remove_file(&password_file).map_err(io("remove the password file"))?;
    made?;
    create_database(home, binaries, &cluster).await?;
    let flushed = home
        .command(&binaries.program("initdb"))
        .arg("--sync-only")
        .arg("-D")
        .arg(&cluster)
        .output()
        .await
        .map_err(io("run initdb"))?;
    check("initdb --sync-only", &flushed)?;
    save(data_dir, &record)?;
    std::fs::rename(&cluster, home.cluster()).map_err(io("finish the warehouse"))?;
    Ok(record)
}

/// A file that was not there before, which the cluster's user may read.
fn write_password(home: &Home, path: &Path, password: &str) -> Result<(), WarehouseError> {
    let written = match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(password.as_bytes())),
    };
    written.map_err(io("write the password file"))?;
    home.give(path)
}

async fn initdb(
    home: &Home,
    binaries: &Binaries,
    cluster: &Path,
    password: &Path,
) -> Result<(), WarehouseError> {
    let output = home
        .command(&binaries.program("initdb"))
        .arg("-D")
        .arg(cluster)
        .arg("--pwfile")
        .arg(password)
        .args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
        .args(["--no-sync", "--no-instructions"])
        .output()
        .await
        .map_err(io("run initdb"))?;
    check("initdb", &output)
}

/// In single-user mode, which needs neither a port nor a client.
async fn create_database(home: &Home, binaries: &Binaries, cluster: &Path) -> Result<(), WarehouseError> {
    let mut single = home
        .command(&binaries.program("postgres"))
        .arg("--single")
        .arg("-D")
        .arg(cluster)
        .args(["-c", "fsync=off", "postgres"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io("run postgres"))?;
    if let Some(mut input) = single.stdin.take() {
        let statement = format!("create database {DATABASE}\n");
        input.write_all(statement.as_bytes()).await.map_err(io("speak to postgres"))?;
    }
    let output = single.wait_with_output().await.map_err(io("run postgres"))?;
    check("postgres --single", &output)?;
    // Its exit code does not tell whether the statement worked.
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("ERROR:") || errors.contains("FATAL:") {
        return Err(WarehouseError::Tool { tool: "postgres --single", output: tail(&errors) });
    }
    Ok(())
}

fn check(tool: &'static str, output: &Output) -> Result<(), WarehouseError> {
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Err(WarehouseError::Tool { tool, output: tail(&String::from_utf8_lossy(&text)) })
}

/// Deletes the cluster and its record.
pub(super) fn remove(data_dir: &Path, home: &Home) -> Result<(), WarehouseError> {
    for directory in [home.path.clone(), data_dir.join("warehouse")] {
        if directory.exists() {
            std::fs::remove_dir_all(&directory).map_err(io("remove the warehouse"))?;
        }
    }
    Ok(())
}

/// The server's log, opened by us: its user need not reach it.
pub(super) fn open_log(path: &Path) -> Result<std::fs::File, WarehouseError> {
    /// A log beyond this starts anew.
    const MAX_LOG: u64 = 10 * 1024 * 1024;
    let mut log = private_file(path)?;
    let length = log.seek(SeekFrom::End(0)).map_err(io("write the warehouse's log"))?;
    if length > MAX_LOG {
        log.set_len(0).and_then(|()| log.rewind()).map_err(io("write the warehouse's log"))?;
    }
    Ok(log)
}
