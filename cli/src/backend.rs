//! The way to the AWS API, wherever it is.
//!
//! Three ways, one type: AWS itself; the endpoint of an `rsqlflow up` that runs on the data directory; or the
//! embedded default opened in this process ([`embedded`]). Commands get SDK clients and cannot tell which, except by
//! asking two things: how often it is polite to look, and whether this process carries the runs.

mod clients;
mod embedded;
mod host;
mod pace;
mod provision;

use rsqlflow_config::settings::{self, Settings};
use rsqlflow_local::endpoint::{Endpoint, discover};
use rsqlflow_trigger::{Audit, Items, Trigger, TriggerSettings};

use crate::context::Context;
use crate::error::CliError;

pub(crate) use clients::Clients;
pub(crate) use embedded::{Embedded, Need};
pub(crate) use pace::Pace;

/// The way to the AWS API.
pub(crate) struct Backend {
    /// SDK clients.
    pub(crate) clients: Clients,
    place: Place,
    settings: Settings,
}

/// Where it leads.
enum Place {
    /// AWS; the text says which account's door.
    Aws(String),
    /// An `rsqlflow up` on this machine.
    Up { endpoint: String, data_dir: String },
    /// This process.
    Here { embedded: Box<Embedded>, data_dir: String },
}

impl Backend {
    /// Opens the way that the settings name.
    ///
    /// # Errors
    /// When the embedded default cannot be opened.
    pub(crate) async fn open(context: &Context, need: Need) -> Result<Self, CliError> {
        let settings = context.settings.clone();
        let data_dir = context.shown_data_dir();
        if settings.backend == settings::Backend::Aws {
            let (clients, description) = clients::aws(&settings).await;
            return Ok(Self { clients, place: Place::Aws(description), settings });
        }
        if let Some(up) = discover(&context.data_dir) {
            let clients = clients::endpoint(&settings, &up);
            return Ok(Self { clients, place: Place::Up { endpoint: up.url, data_dir }, settings });
        }
        let embedded = Box::new(Embedded::open(context, need).await?);
        let clients = embedded.clients();
        Ok(Self { clients, place: Place::Here { embedded, data_dir }, settings })
    }

    /// Clients of an `rsqlflow up`.
    pub(crate) fn clients_of(settings: &Settings, up: &Endpoint) -> Clients {
        clients::endpoint(settings, up)
    }

    /// Where it leads, for people.
    pub(crate) fn description(&self) -> String {
        match &self.place {
            Place::Aws(description) => format!("aws ({description})"),
            Place::Up { endpoint, data_dir } => format!("local ({data_dir}, rsqlflow up at {endpoint})"),
            Place::Here { data_dir, .. } => format!("local ({data_dir})"),
        }
    }

    /// Whether runs go on only as long as this process does.
    pub(crate) fn carries_runs(&self) -> bool {
        matches!(self.place, Place::Here { .. })
    }

    /// How often to look at a run that goes on.
    pub(crate) fn pace(&self) -> Pace {
        match &self.place {
            Place::Aws(_) => Pace::aws(),
            Place::Up { .. } => Pace::up(),
            Place::Here { embedded, .. } => Pace::here(embedded.changes()),
        }
    }

    /// The config table.
    pub(crate) fn items(&self) -> Items {
        Items::new(self.clients.dynamodb.clone(), &self.settings.tables.config)
    }

    /// The audit tables.
    pub(crate) fn audit(&self) -> Audit {
        let tables = &self.settings.tables;
        Audit::new(self.clients.dynamodb.clone(), &tables.workflow_audit, &tables.job_audit)
    }

    /// What starts and cancels runs.
    pub(crate) fn trigger(&self) -> Trigger {
        let settings = &self.settings;
        let machines = match settings.backend {
            settings::Backend::Aws => settings.state_machines.clone(),
            settings::Backend::Local => provision::state_machine_arns(&settings.region),
        };
        Trigger::new(
            self.clients.dynamodb.clone(),
            self.clients.sfn.clone(),
            TriggerSettings {
                config_table: settings.tables.config.clone(),
                job_audit_table: settings.tables.job_audit.clone(),
                workflow_audit_table: settings.tables.workflow_audit.clone(),
                master_arn: machines.master,
                sequential_arn: machines.sequential,
                parallel_arn: machines.parallel,
                host: settings.host.clone(),
                secret_id: settings.secret_id.clone(),
                heartbeat_seconds: settings.heartbeat_seconds,
            },
        )
    }

    /// Ends what was opened for the command. A process that ends without it loses nothing.
    pub(crate) async fn close(self) {
        match self.place {
            Place::Aws(_) | Place::Up { .. } => {}
            Place::Here { embedded, .. } => embedded.close().await,
        }
    }
}
