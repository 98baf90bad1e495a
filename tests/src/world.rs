//! Everything that a workflow needs in an account, in front of any endpoint: what a deployment makes, an agent on a
//! host, whoever delivers commands to it, and the operators' command, set up for `backend = "aws"` on all of them.
//!
//! Agent and command reach the endpoint through a proxy each, which records what they ask for.

use std::process::Command;

use serde_json::{Value, json};

use crate::bridge::Bridge;
use crate::daemon::Daemon;
use crate::endpoint::Endpoint;
use crate::peers::provision::{SECRET, StateMachines, provision, secret};
use crate::peers::{Kind, NODE, Peer};
use crate::proxy::Proxy;
use crate::proxy::faults::Faults;
use crate::relay::{self, Relay};
use crate::site::{Ran, Site, run};
use crate::up::Up;
use crate::wait_for;

/// A world that ends with its test.
pub struct World<'a> {
    /// Its directory.
    pub site: &'a Site,
    /// What it is built on.
    pub kind: Kind,
    /// The agent.
    pub daemon: Daemon<'a>,
    /// What the agent asks for.
    pub agent_calls: Proxy,
    /// What the operators' command asks for.
    pub command_calls: Proxy,
    endpoint: Endpoint,
    server: Endpoint,
    machines: StateMachines,
    delivery: Delivery,
    // Last: everything above uses it.
    _server: Server<'a>,
}

/// Who brings commands to the agent.
enum Delivery {
    Bridge(Bridge),
    Relay(Relay),
}

#[expect(dead_code, reason = "they only have to live")]
enum Server<'a> {
    Peer(Peer),
    Up(Up<'a>),
}

impl<'a> World<'a> {
    /// Starts one where every command is delivered once.
    pub fn start(site: &'a Site, kind: Kind) -> Self {
        Self::start_with(site, kind, 1)
    }

    /// Starts one where every command is delivered so many times.
    ///
    /// # Panics
    /// When any part of it does not come up.
    pub fn start_with(site: &'a Site, kind: Kind, deliveries: usize) -> Self {
        let (server, endpoint, machines, delivery) = match kind {
            Kind::Embedded => {
                let relay = Relay::start(site, deliveries);
                let up = embedded(site);
                let endpoint = up.endpoint();
                let machines = known_machines(&endpoint);
                (Server::Up(up), endpoint, machines, Delivery::Relay(relay))
            }
            Kind::MiniStack | Kind::Moto => {
                let peer = Peer::start(site, kind);
                let endpoint = peer.endpoint().clone();
                let machines = provision(&endpoint);
                let bridge = Bridge::start(site, &endpoint, deliveries);
                (Server::Peer(peer), endpoint, machines, Delivery::Bridge(bridge))
            }
        };
        // The servers that others wrote have no trigger function: there the command starts and cancels runs itself.
        let operate_arn = match kind {
            Kind::Embedded => machines
                .master
                .replace(":states:", ":lambda:")
                .replace(":stateMachine:rsqlflow-master", ":function:rsqlflow-trigger:operate"),
            Kind::MiniStack | Kind::Moto => String::new(),
        };
        site.file("rsqlflow.toml", &settings(&machines, &operate_arn));
        let agent_calls = Proxy::start(&endpoint.url, Faults::none(), 0);
        let command_calls = Proxy::start(&endpoint.url, Faults::none(), 0);
        let daemon = Daemon::start(site, &endpoint.at(&agent_calls.url()));
        Self {
            site,
            kind,
            daemon,
            endpoint: endpoint.at(&command_calls.url()),
            server: endpoint,
            agent_calls,
            command_calls,
            machines,
            delivery,
            _server: server,
        }
    }

    /// The server itself, where nothing is recorded.
    pub fn server(&self) -> &Endpoint {
        &self.server
    }

    /// The endpoint as the operators' command sees it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The state machines.
    pub fn machines(&self) -> &StateMachines {
        &self.machines
    }

    /// Delivers every command that ever came once more.
    pub fn deliver_again(&self) {
        match &self.delivery {
            Delivery::Bridge(bridge) => bridge.deliver_again(),
            Delivery::Relay(relay) => relay.deliver_again(),
        }
    }

    /// The SSM agent, where the endpoint needs one.
    pub fn bridge(&self) -> Option<&Bridge> {
        match &self.delivery {
            Delivery::Bridge(bridge) => Some(bridge),
            Delivery::Relay(_) => None,
        }
    }

    /// Runs `rsqlflow`.
    pub fn rsqlflow(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// `rsqlflow`, to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.site.command(arguments);
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.endpoint.environment());
        command
    }

    /// Stores a workflow.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn put(&self, workflow: &Value) {
        let file = self.site.file("item.json", &workflow.to_string());
        self.rsqlflow(&["config", "put", file.to_str().unwrap()]).expect(0);
    }

    /// A run's status as JSON.
    ///
    /// # Panics
    /// When it cannot be had.
    #[track_caller]
    pub fn status(&self, run: &str) -> Value {
        self.rsqlflow(&["status", run, "--json"]).expect(0).json()
    }

    /// The status of a run that has ended.
    pub fn ended(&self, run: &str) -> Value {
        wait_for("the run to end", || {
            let status = self.status(run);
            (!["triggered", "running"].contains(&status["execution_status"].as_str()?)).then_some(status)
        })
    }

    /// Waits until the agent has reported everything.
    pub fn settled(&self) {
        wait_for("every job to be settled", || self.daemon.jobs().is_empty().then_some(()));
    }

    /// The lines of a log stream, which must be there.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn log(&self, stream: &str) -> Vec<String> {
        self.endpoint.log_stream(stream).unwrap_or_else(|| panic!("no log stream {stream}"))
    }
}

/// A job of a run's status.
///
/// # Panics
/// When there is no such job.
#[track_caller]
pub fn job<'v>(status: &'v Value, name: &str) -> &'v Value {
    let jobs = status["jobs"].as_array().expect("jobs");
    jobs.iter().find(|job| job["job_name"] == name).unwrap_or_else(|| panic!("no job {name} in {status}"))
}

/// An `rsqlflow up` whose agent is a process of its own, behind the relay.
fn embedded(site: &Site) -> Up<'_> {
    let secret: Value = serde_json::from_str(&secret()).unwrap();
    let text = |name: &str| json!(secret[name]).to_string();
    let settings = format!(
        "scripts_dir = \"scripts\"\nhost = \"{NODE}\"\nheartbeat_seconds = 6\nsecret_id = \"{SECRET}\"\n\
         [local]\nagent_socket = \"{}\"\n\
         [local.secrets.\"{SECRET}\"]\nhost = {}\nport = {}\nusername = {}\npassword = {}\ndbname = {}\n",
        relay::socket(site).display(),
        text("host"),
        secret["port"],
        text("username"),
        text("password"),
        text("dbname"),
    );
    let file = site.file("up.toml", &settings);
    Up::start_with(site, &["--settings", file.to_str().unwrap()])
}

fn known_machines(endpoint: &Endpoint) -> StateMachines {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = aws_sdk_sfn::Client::new(&endpoint.config());
    let listed = runtime.block_on(client.list_state_machines().send()).expect("the state machines");
    let arn = |name: &str| {
        let machine = listed.state_machines.iter().find(|machine| machine.name == name);
        machine.unwrap_or_else(|| panic!("no state machine {name}")).state_machine_arn.clone()
    };
    StateMachines {
        master: arn("rsqlflow-master"),
        sequential: arn("rsqlflow-sequential"),
        parallel: arn("rsqlflow-parallel"),
    }
}

/// What operators and the host have in their `rsqlflow.toml`.
fn settings(machines: &StateMachines, operate_arn: &str) -> String {
    let account = machines.master.split(':').nth(4).unwrap_or_default();
    format!(
        "backend = \"aws\"\nregion = \"us-east-1\"\nhost = \"{NODE}\"\nscripts_dir = \"scripts\"\nsecret_id = \"{SECRET}\"\n\
         heartbeat_seconds = 6\noperate_arn = \"{operate_arn}\"\ntrigger_arn = \"arn:aws:lambda:us-east-1:{account}:function:rsqlflow-trigger\"\n\
         scheduler_role_arn = \"arn:aws:iam::{account}:role/rsqlflow-scheduler\"\n[state_machines]\nmaster = \"{}\"\nsequential = \"{}\"\nparallel = \"{}\"\n\
         [agent]\ngrace_seconds = 1\ntags = \"etl\"\n",
        machines.master, machines.sequential, machines.parallel,
    )
}
