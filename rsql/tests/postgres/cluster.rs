//! A private PostgreSQL cluster for one test, and the two clients that talk to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Debian's `nobody`, which runs the server where the tests run as root.
const NOBODY: u32 = 65534;

/// A running server; stopped when dropped.
pub(crate) struct Cluster {
    server: Child,
    pub(crate) port: u16,
    pub(crate) directory: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("rsql").tempdir().unwrap();
        if is_root() {
            std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = directory.path().join("data");
        let made = as_server_user(program("initdb"))
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // A free port may be taken by someone else before the server has it: then try another.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(server) = start_server(&data, directory.path(), port) {
                return Self { server, port, directory };
            }
        }
        panic!("the server did not start");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a file the server's own.
    pub(crate) fn give_to_server(&self, path: &Path) {
        if is_root() {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// Runs rsql with `script` on its stdin.
    pub(crate) fn rsql(&self, arguments: &[&str], script: &str) -> Run {
        self.rsql_with(&[], arguments, script)
    }

    pub(crate) fn rsql_with(&self, environment: &[(&str, &str)], arguments: &[&str], script: &str) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsql"));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-d", "postgres"]).args(arguments);
        run(self.prepare(&mut command).envs(environment.iter().copied()), script)
    }

    /// Runs psql, for comparison.
    pub(crate) fn psql(&self, arguments: &[&str], script: &str) -> Run {
        let mut command = Command::new("psql");
        command.args(["-X", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres"]).args(arguments);
        run(self.prepare(&mut command), script)
    }

    pub(crate) fn prepare<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        for name in ["RSPASSWORD", "PGPASSWORD", "RSPORT", "RSQL_S3_ROOT", "RSQL_LOG", "RSQL_DIALECT"] {
            command.env_remove(name);
        }
        command.env("PGPORT", self.port.to_string()).current_dir(self.directory.path())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGKILL of the postmaster leaves shared memory behind; SIGQUIT ends it and its children.
        let pid = self.server.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).stderr(Stdio::null()).status();
        let _ = self.server.wait();
    }
}

/// What a client did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a command with `input` on its stdin.
pub(crate) fn run(command: &mut Command, input: &str) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // A script that leaves early does not read all of it.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.into()
}

/// Starts the server and reads its log until it is ready; `None` if it ends before that.
fn start_server(data: &Path, sockets: &Path, port: u16) -> Option<Child> {
    let mut server = as_server_user(program("postgres"))
        .arg("-D")
        .arg(data)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", sockets.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let ready = log.by_ref().any(|line| line.unwrap().contains("ready to accept connections"));
    if !ready {
        server.wait().unwrap();
        return None;
    }
    // What else it says must be read, or it would wait for that one day.
    std::thread::spawn(move || log.for_each(drop));
    Some(server)
}

/// Debian's place first, then the PATH.
fn program(name: &str) -> PathBuf {
    let debian = Path::new("/usr/lib/postgresql/15/bin").join(name);
    if debian.exists() { debian } else { PathBuf::from(name) }
}

/// PostgreSQL's server programs refuse to run as root.
fn as_server_user(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}
