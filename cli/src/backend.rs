//! The way to the AWS API, wherever it is.
//!
//! Three ways, one type: AWS itself; the endpoint of an `rsqlflow up` that runs on the data directory; or the
//! embedded default opened in this process ([`embedded`]). Commands get SDK clients and cannot tell which, except by
//! asking two things: how often it is polite to look, and whether this process carries the runs.

pub(crate) mod account;
pub(crate) mod clients;
mod embedded;
mod ended;
mod function;
mod host;
mod operate;
mod pace;
mod provision;
pub(crate) mod refused;
mod secrets;

use std::time::Duration;

use aws_sdk_sfn::types::ExecutionStatus;
use rsqlflow_agent::Scripts;
use rsqlflow_config::settings::{self, Settings, StateMachines};
use rsqlflow_local::endpoint::{Endpoint, discover};
use rsqlflow_trigger::{
    Audit, Cancelled, Items, ScheduleSettings, Schedules, StartRequest, Started, Trigger, TriggerSettings,
};

use tokio::time::Instant;

use crate::context::Context;
use crate::error::CliError;
use crate::interrupt::interrupted;

use account::Account;
pub(crate) use clients::Clients;
pub(crate) use embedded::{Embedded, Need, Warehouse};
pub(crate) use pace::Pace;

/// How long a data directory may be in use by a process that serves nothing.
const IN_USE_PATIENCE: Duration = Duration::from_secs(10);

/// The way to the AWS API.
pub(crate) struct Backend {
    /// SDK clients.
    pub(crate) clients: Clients,
    place: Place,
    settings: Settings,
}

/// Where it leads.
enum Place {
    /// AWS.
    Aws(Box<Account>),
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
            settings.check_state_machines().map_err(CliError::Settings)?;
            let account = account::open(&settings, clients::https()).await?;
            let clients = Clients::new(&account.config);
            return Ok(Self { clients, place: Place::Aws(Box::new(account)), settings });
        }
        let deadline = Instant::now() + IN_USE_PATIENCE;
        loop {
            if let Some(up) = discover(&context.data_dir) {
                let clients = clients::endpoint(&settings, &up);
                return Ok(Self { clients, place: Place::Up { endpoint: up.url, data_dir }, settings });
            }
            match Embedded::open(context, need).await {
                Ok(embedded) => {
                    let (clients, embedded) = (embedded.clients(), Box::new(embedded));
                    return Ok(Self { clients, place: Place::Here { embedded, data_dir }, settings });
                }
                // A short command that is about to end, or an `up` that is about to serve.
                Err(CliError::InUse { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The way to an `rsqlflow up` that was started anew since, which has another port; none where nothing is new.
    pub(crate) fn anew(&self, context: &Context) -> Option<Self> {
        let Place::Up { endpoint, data_dir } = &self.place else { return None };
        let up = discover(&context.data_dir).filter(|up| up.url != *endpoint)?;
        let clients = clients::endpoint(&self.settings, &up);
        let place = Place::Up { endpoint: up.url, data_dir: data_dir.clone() };
        Some(Self { clients, place, settings: self.settings.clone() })
    }

    /// Clients of an `rsqlflow up`.
    pub(crate) fn clients_of(settings: &Settings, up: &Endpoint) -> Clients {
        clients::endpoint(settings, up)
    }

    /// Where it leads, for people, once it is known to be where the settings mean.
    ///
    /// # Errors
    /// [`CliError::Account`] where the credentials are of another account, or STS does not say.
    pub(crate) async fn checked(&self) -> Result<String, CliError> {
        Ok(match &self.place {
            Place::Aws(account) => {
                let id = account::checked(&account.config, &self.settings).await?;
                format!("aws ({id}, {}, {})", account.region, account.identity)
            }
            Place::Up { endpoint, data_dir } => format!("local ({data_dir}, rsqlflow up at {endpoint})"),
            Place::Here { data_dir, .. } => format!("local ({data_dir})"),
        })
    }

    /// Whether it leads to this machine.
    pub(crate) fn is_local(&self) -> bool {
        !matches!(self.place, Place::Aws(_))
    }

    /// Whether runs go on only as long as this process does.
    pub(crate) fn carries_runs(&self) -> bool {
        matches!(self.place, Place::Here { .. })
    }

    /// Lets other commands reach what this process carries, for as long as it does.
    ///
    /// # Errors
    /// When the endpoint cannot be served.
    pub(crate) async fn serve(&mut self) -> Result<(), CliError> {
        match &mut self.place {
            Place::Aws(_) | Place::Up { .. } => Ok(()),
            Place::Here { embedded, .. } => embedded.serve().await.map(|_| ()),
        }
    }

    /// The runs that are under way.
    ///
    /// # Errors
    /// Step Functions'.
    pub(crate) async fn running(&self) -> Result<Vec<String>, CliError> {
        let listed = self
            .clients
            .sfn
            .list_executions()
            .state_machine_arn(state_machines(&self.settings).master)
            .status_filter(ExecutionStatus::Running)
            .send()
            .await
            .map_err(CliError::aws("listing the executions"))?;
        Ok(listed.executions.into_iter().map(|execution| execution.name).collect())
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

    /// The schedules of the workflows; none where the settings do not say what schedules start.
    pub(crate) fn schedules(&self) -> Option<Schedules> {
        schedules(&self.clients, &self.settings)
    }

    /// What starts and cancels runs from here.
    fn trigger(&self) -> Trigger {
        trigger(&self.clients, &self.settings)
    }

    /// Starts a run: by the trigger function where the settings name it, and otherwise from here.
    ///
    /// # Errors
    /// The trigger's.
    pub(crate) async fn start(&self, request: StartRequest) -> Result<Started, CliError> {
        match self.function() {
            Some(arn) => operate::start(&self.clients.lambda, &self.audit(), arn, request).await,
            None => Ok(self.trigger().start(request).await?),
        }
    }

    /// Cancels a run, in the same way.
    ///
    /// # Errors
    /// The trigger's.
    pub(crate) async fn cancel(&self, run_id: &str, by: &str) -> Result<Cancelled, CliError> {
        match self.function() {
            Some(arn) => operate::cancel(&self.clients.lambda, arn, run_id, by).await,
            None => Ok(self.trigger().cancel(run_id, by).await?),
        }
    }

    /// The name by which people call the trigger function of an account.
    fn function(&self) -> Option<&str> {
        Some(self.settings.operate_arn.as_str()).filter(|arn| !self.is_local() && !arn.is_empty())
    }

    /// What Step Functions says of a run's execution, for those who cannot read its record; nothing where there is none.
    ///
    /// # Errors
    /// Step Functions'.
    pub(crate) async fn execution_status(&self, run_id: &str) -> Result<Option<String>, CliError> {
        Ok(self.trigger().execution_status(run_id).await?)
    }

    /// Ends what was opened for the command, with the scripts that run here. A process that ends without it loses
    /// nothing.
    pub(crate) async fn close(self) {
        self.leave(Scripts::End).await;
    }

    /// Ends what was opened for the command. Scripts that go on are taken up by the next process that carries runs.
    pub(crate) async fn leave(self, scripts: Scripts) {
        match self.place {
            Place::Aws(_) | Place::Up { .. } => {}
            Place::Here { embedded, .. } => tokio::select! {
                () = embedded.close(scripts) => {}
                // Whoever is in a hurry; the next process cleans up.
                () = interrupted() => {}
            },
        }
    }
}

fn trigger(clients: &Clients, settings: &Settings) -> Trigger {
    let backend = settings.backend;
    let settings = TriggerSettings::new(settings, state_machines(settings));
    let trigger = Trigger::new(clients.dynamodb.clone(), clients.sfn.clone(), settings);
    match backend {
        // Telling people is the trigger function's.
        settings::Backend::Aws => trigger,
        settings::Backend::Local => trigger.notifying(clients.sns.clone()),
    }
}

fn schedules(clients: &Clients, settings: &Settings) -> Option<Schedules> {
    let (trigger_arn, role_arn) = match settings.backend {
        settings::Backend::Aws => (settings.trigger_arn.clone(), settings.scheduler_role_arn.clone()),
        settings::Backend::Local => provision::schedule_arns(&settings.region),
    };
    if trigger_arn.is_empty() || role_arn.is_empty() {
        return None;
    }
    let group = settings.schedule_group.clone();
    let dead_letter_arn = Some(settings.dead_letter_arn.clone()).filter(|arn| !arn.is_empty());
    let settings = ScheduleSettings { group, trigger_arn, role_arn, dead_letter_arn };
    Some(Schedules::new(clients.scheduler.clone(), settings))
}

fn state_machines(settings: &Settings) -> StateMachines {
    match settings.backend {
        settings::Backend::Aws => settings.state_machines.clone(),
        settings::Backend::Local => provision::state_machine_arns(&settings.region),
    }
}
