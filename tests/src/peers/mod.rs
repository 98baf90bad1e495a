//! The endpoints that the scenarios run against: the embedded default, and two AWS-compatible servers that others
//! wrote.
//!
//! The peers are started from the virtual environment that `setup/install peers` makes, by the launchers in
//! `tests/peers/`, which patch what keeps our state machines from running there and say why. Each listens on the
//! loopback interface only, on a port of its own, keeps everything in memory and ends with its test. What an account
//! gets from its deployment is made there by plain API calls ([`provision`]).

pub mod provision;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::endpoint::Endpoint;
use crate::site::{Site, project};
use crate::wait_for;

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
        let python = python();
        assert!(python.exists(), "{} is missing: run `setup/install peers`", python.display());
        let port = free_port();
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
        let mut peer = Self { child: command.spawn().expect("the peer starts"), endpoint, log };
        wait_for("the peer to listen", || {
            if let Ok(Some(status)) = peer.child.try_wait() {
                panic!(
                    "{} ended: {status}\n{}",
                    kind.name(),
                    std::fs::read_to_string(&peer.log).unwrap_or_default()
                );
            }
            TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
        });
        peer
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

/// A port that was free a moment ago: both peers want to be told theirs.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
