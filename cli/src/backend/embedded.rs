//! The embedded default in this process, for as long as a command needs it.
//!
//! Looking at records takes the services alone. Carrying runs ([`Need::Runs`]) takes the States Language engine and
//! the agent as well, and with them every run that was under way goes on: what a process that was killed left is
//! taken up by the next one that opens the directory for runs, whichever command that is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_sfn::config::SharedHttpClient;
use rsqlflow_agent::{AgentConfig, Scripts};
use rsqlflow_config::settings::Settings;
use rsqlflow_local::clock::Clock;
use rsqlflow_local::cloud::{CloudError, CloudOptions, LocalCloud};
use rsqlflow_local::data_dir::DataDirError;
use rsqlflow_local::endpoint::{Endpoint, Serving};
use rsqlflow_local::place::Place;
use rsqlflow_local::scheduler::Firing;
use rsqlflow_local::stepfunctions::{StatusChange, StepFunctions};
use rsqlflow_local::warehouse::WarehouseError;
use rsqlflow_trigger::Schedules;
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinHandle;

use super::host::Host;
use super::secrets::secrets;
use super::{Clients, clients, ended, function, provision, schedules, state_machines, trigger};
use crate::context::Context;
use crate::error::CliError;

/// What a command needs of the backend; of AWS and of a running `up` it gets everything anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To read and write records.
    Records,
    /// To carry runs.
    Runs,
}

/// The warehouse that scripts find.
pub(crate) enum Warehouse {
    /// A cluster of our own, which starts with its first use.
    Private,
    /// That of `local.warehouse.url`: the address, without who and with what password.
    Elsewhere(String),
    /// None: the cluster of our own could not start.
    Missing(WarehouseError),
}

/// The embedded default, open.
pub(crate) struct Embedded {
    cloud: LocalCloud,
    settings: Settings,
    runtime: Option<Runtime>,
}

/// What carries runs.
struct Runtime {
    step_functions: Arc<StepFunctions>,
    host: Arc<Host>,
    serving: Option<Serving>,
    /// Fires schedules, where it was asked to.
    firing: Option<Firing>,
    /// Does what the trigger function does when an execution ends.
    records: JoinHandle<()>,
}

impl Embedded {
    /// Opens the data directory and makes what is missing in it.
    ///
    /// # Errors
    /// When another process uses the directory, or it cannot be read or written.
    pub(crate) async fn open(context: &Context, need: Need) -> Result<Self, CliError> {
        let settings = context.settings.clone();
        let secrets = secrets(&settings)?;
        let options = CloudOptions {
            place: Place::in_region(&settings.region),
            secrets: secrets.known,
            warehouse_secret: secrets.private_warehouse,
            clock: Clock::system(),
        };
        let cloud = LocalCloud::open(&context.data_dir, options).await.map_err(|error| match error {
            CloudError::DataDir(DataDirError::InUse { path, pid }) => CliError::InUse { data_dir: path, pid },
            error => CliError::embedded("cannot open the embedded default")(error),
        })?;
        let mut embedded = Self { cloud, settings, runtime: None };
        let clients = embedded.clients();
        provision::make_tables(&clients, &embedded.settings).await?;
        provision::make_schedule_group(&clients, &embedded.settings.schedule_group).await?;
        if need == Need::Runs {
            embedded.carry(&clients).await?;
        }
        Ok(embedded)
    }

    /// Starts what carries runs: Step Functions, then the agent that reports to it, then the runs themselves.
    async fn carry(&mut self, clients: &Clients) -> Result<(), CliError> {
        let failed = || CliError::embedded("cannot open Step Functions");
        let cloud = &self.cloud;
        let step_functions = StepFunctions::open(
            cloud.store().clone(),
            cloud.place().clone(),
            cloud.services().clone(),
            cloud.clock().clone(),
        )
        .await
        .map_err(failed())?;
        cloud.register(step_functions.clone());
        provision::make_runtime(clients, &self.settings).await?;
        let separate = &self.settings.local.agent_socket;
        let host = if separate.as_os_str().is_empty() {
            self.start_agent().await?
        } else {
            Host::separate(&self.settings.host, separate)
        };
        let attached = || CliError::embedded("cannot attach the agent");
        cloud.ssm().attach(host.clone()).await.map_err(attached())?;
        for (instance_id, socket) in &self.settings.local.agents {
            cloud.ssm().attach(Host::separate(instance_id, socket)).await.map_err(attached())?;
        }
        let function = function::TriggerFunction::new(trigger(clients, &self.settings));
        cloud.lambda().register(provision::TRIGGER_FUNCTION, Arc::new(function));
        let changes = step_functions.subscribe();
        let resumed = step_functions.resume().await.map_err(failed())?;
        let records = tokio::spawn(ended::handle_ends(
            changes,
            trigger(clients, &self.settings),
            clients.sfn.clone(),
            state_machines(&self.settings).master,
        ));
        if resumed > 0 {
            tracing::info!(executions = resumed, "going on with executions that were running");
        }
        self.runtime = Some(Runtime { step_functions, host, serving: None, firing: None, records });
        Ok(())
    }

    async fn start_agent(&self) -> Result<Arc<Host>, CliError> {
        let mut config = AgentConfig::from_settings(&self.settings, self.agent_dir());
        // Where rsql finds what a script's COPY reads from S3.
        let s3 = self.cloud.data_dir().join("s3").display().to_string();
        config.environment.entry("RSQL_S3_ROOT".into()).or_insert(s3);
        Host::start(config, &self.settings, &rsqlflow_agent::Clients::new(&self.sdk_config()))
            .await
            .map_err(CliError::embedded("cannot start the agent"))
    }

    fn agent_dir(&self) -> PathBuf {
        let set = &self.settings.agent.data_dir;
        if set.as_os_str().is_empty() { self.cloud.data_dir().join("agent") } else { set.clone() }
    }

    /// Serves the endpoint, for other commands and for the `aws` command line.
    ///
    /// # Errors
    /// When `local.listen` is not a loopback address, or is taken.
    pub(crate) async fn serve(&mut self) -> Result<Endpoint, CliError> {
        let listen = &self.settings.local.listen;
        let address: SocketAddr =
            listen.parse().map_err(CliError::embedded("local.listen is not ADDRESS:PORT"))?;
        let serving =
            self.cloud.serve(address).await.map_err(CliError::embedded("cannot serve the endpoint"))?;
        let endpoint = serving.endpoint().clone();
        if let Some(runtime) = &mut self.runtime {
            runtime.serving = Some(serving);
        }
        Ok(endpoint)
    }

    /// Fires schedules from now on, where runs are carried.
    pub(crate) fn fire_schedules(&mut self) {
        if let Some(runtime) = &mut self.runtime {
            runtime.firing = Some(self.cloud.scheduler().fire(self.cloud.services().clone()));
        }
    }

    /// The schedules of the workflows.
    pub(crate) fn schedules(&self) -> Option<Schedules> {
        schedules(&self.clients(), &self.settings)
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        self.cloud.data_dir()
    }

    /// What the warehouse is.
    pub(crate) fn warehouse(&self) -> Warehouse {
        match self.settings.local.warehouse.url.rsplit_once('@') {
            Some((_, place)) => Warehouse::Elsewhere(place.into()),
            None => match self.cloud.warehouse().check() {
                Ok(()) => Warehouse::Private,
                Err(error) => Warehouse::Missing(error),
            },
        }
    }

    /// SDK clients on the connector of this process.
    pub(crate) fn clients(&self) -> Clients {
        Clients::new(&self.sdk_config())
    }

    fn sdk_config(&self) -> SdkConfig {
        let key = self.cloud.credentials();
        let http = SharedHttpClient::new(self.cloud.connector());
        clients::local(&self.settings, &key.access_key_id, &key.secret_access_key, http)
    }

    /// Ready once the agent's journal was found corrupt or gone, with which of them it was: then nothing goes on here
    /// before a new start.
    pub(crate) async fn failed(&self) -> &'static str {
        match &self.runtime {
            Some(runtime) => runtime.host.failed().await,
            None => std::future::pending().await,
        }
    }

    /// How many jobs the agent has that are not settled.
    pub(crate) async fn unsettled_jobs(&self) -> usize {
        match &self.runtime {
            Some(runtime) => runtime.host.jobs().await,
            None => 0,
        }
    }

    /// Every beginning and end of an execution from now on, where runs are carried.
    pub(super) fn changes(&self) -> Option<Receiver<StatusChange>> {
        self.runtime.as_ref().map(|runtime| runtime.step_functions.subscribe())
    }

    /// Ends it: schedules and the endpoint first, then the agent and the scripts it runs, then the warehouse they use.
    /// Scripts that go on keep their warehouse, as they do under a command that carries no runs.
    pub(crate) async fn close(self, scripts: Scripts) {
        let ends = match self.runtime {
            Some(_) => scripts == Scripts::End,
            None => self.cloud.warehouse().is_running().await,
        };
        if let Some(runtime) = self.runtime {
            // A delivery that finds no function would count as one that no other try can mend.
            if let Some(firing) = runtime.firing {
                firing.stop().await;
            }
            // The function holds clients of the services that hold it.
            self.cloud.lambda().clear();
            if let Some(serving) = runtime.serving {
                serving.stop().await;
            }
            for host in std::iter::once(&self.settings.host).chain(self.settings.local.agents.keys()) {
                self.cloud.ssm().detach(host);
            }
            runtime.host.shutdown(scripts).await;
            runtime.records.abort();
        }
        if ends {
            self.cloud.close().await;
        }
    }
}
