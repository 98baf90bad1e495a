//! The endpoints that the scenarios run against: the embedded default, and two AWS-compatible servers that others
//! wrote.
//!
//! The peers are started from the virtual environment that `setup/install peers` makes, by the launchers in
//! `tests/peers/`, which patch what keeps our state machines from running there and say why. Each listens on the
//! loopback interface only, on a port of its own, keeps everything in memory and ends with its test. What an account
//! gets from its deployment is made there by plain API calls ([`provision`]).

pub mod provision;

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::endpoint::Endpoint;
use crate::site::{Site, project};
use crate::wait_for;

/// How many ports a peer is started at before it is given up.
const PORTS: usize = 5;

/// The managed node that runs scripts, as a hybrid activation names one.
pub const NODE: &str = "mi-0123456789abcdef0";

/// An endpoint to run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `rsqlflow up`.
    Embedded,
    /// MiniStack.
    MiniStack,
    /// moto's server.
    Moto,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Embedded, Self::MiniStack, Self::Moto];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::MiniStack => "MiniStack",
            Self::Moto => "moto",
        }
    }
}

/// Whether the patches of `tests/peers/` are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patches {
    /// As in every scenario.
    Applied,
    /// The server as its authors made it; moto is only told to run state machines.
    None,
}

/// moto as it is.
const PLAIN_MOTO: &str = "import sys\nfrom moto import server\nfrom moto.core.config import default_user_config\n\
default_user_config['stepfunctions'] = {'execute_state_machine': True}\nserver.main(sys.argv[1:])";

/// A peer that runs, and ends with its test.
pub struct Peer {
    child: Child,
    endpoint: Endpoint,
    log: PathBuf,
}

impl Peer {
    /// Starts one, with its files in the site, and waits until it answers.
    ///
    /// # Panics
    /// When it is not installed, or ends first; what it printed is shown.
    pub fn start(site: &Site, kind: Kind) -> Self {
        Self::start_with(site, kind, Patches::Applied)
    }

    /// Starts one with or without patches, with its files in the site, and waits until it answers.
    ///
    /// # Panics
    /// When it is not installed, or ends first; what it printed is shown.
    pub fn start_with(site: &Site, kind: Kind, patches: Patches) -> Self {
        // The port may be taken in the moment before the peer wants it, by another peer as well, which would answer for it.
        for _ in 0..PORTS {
            let port = free_port();
            let mut peer = Self::spawn(site, kind, patches, port);
            let listens = wait_for("the peer to listen", || match peer.child.try_wait() {
                Ok(Some(_)) => Some(false),
                _ => is_heard(&peer.child, port).then_some(true),
            });
            if listens {
                return peer;
            }
        }
        let said = std::fs::read_to_string(site.path("peer.log")).unwrap_or_default();
        panic!("{} ends each time it is started\n{said}", kind.name());
    }

    fn spawn(site: &Site, kind: Kind, patches: Patches, port: u16) -> Self {
        let python = python();
        assert!(python.exists(), "{} is missing: run `setup/install peers`", python.display());
        let (launcher, plain) = match kind {
            Kind::MiniStack => ("ministack_peer.py", "from ministack import app\napp.main()"),
            Kind::Moto => ("moto_peer.py", PLAIN_MOTO),
            Kind::Embedded => panic!("the embedded default is no peer"),
        };
        let log = site.path("peer.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(python);
        match patches {
            Patches::Applied => command.arg(project().join("tests/peers").join(launcher)),
            Patches::None => command.arg("-c").arg(plain),
        };
        if kind == Kind::Moto {
            command.args(["-H", "127.0.0.1", "-p"]).arg(port.to_string());
        }
        command.current_dir(site.path("")).stdin(Stdio::null());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        for (name, _) in std::env::vars() {
            if name.starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        // MiniStack listens on every interface and keeps S3 objects on disk unless told; moto calls itself at this port.
        command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string()).env("S3_PERSIST", "0");
        command.env("RSQLFLOW_PEER_NODES", NODE).env("MOTO_PORT", port.to_string());
        command.env("TMPDIR", site.path("")).env("PYTHONDONTWRITEBYTECODE", "1");
        let endpoint = Endpoint {
            url: format!("http://127.0.0.1:{port}"),
            region: "us-east-1".into(),
            access_key_id: "test".into(),
            secret_access_key: "test".into(),
        };
        Self { child: command.spawn().expect("the peer starts"), endpoint, log }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            eprintln!("what the peer said last:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // TERM, so that MiniStack removes its pid file; the wait ends with the process either way.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let gone = (0..100).any(|_| {
            std::thread::park_timeout(std::time::Duration::from_millis(20));
            matches!(self.child.try_wait(), Ok(Some(_)))
        });
        if !gone {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The interpreter of the virtual environment that `setup/install peers` makes.
fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).expect("a home");
    cache.join("rsqlflow-tools/peers/bin/python")
}

/// Whether a process listens at a port of the loopback interface, and not another one.
fn is_heard(child: &Child, port: u16) -> bool {
    // Address and port in hexadecimal, 0A for listening, and the socket's inode as the tenth word
    // (<https://docs.kernel.org/networking/proc_net_tcp.html>).
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let listening = sockets.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let there = words.get(1) == Some(&format!("0100007F:{port:04X}").as_str()) && words[3] == "0A";
        there.then(|| format!("socket:[{}]", words[9]))
    });
    let files = std::fs::read_dir(format!("/proc/{}/fd", child.id()));
    listening.is_some_and(|socket| {
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == socket.as_str()))
    })
}

/// A port that was free a moment ago: both peers want to be told theirs.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
