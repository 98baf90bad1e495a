//! The embedded default as one value: a data directory, its store, and the services on it.
//!
//! [`LocalCloud::open`] is cheap and starts nothing but a background sweep; the warehouse starts when its secret is
//! asked for, the endpoint when [`LocalCloud::serve`] is called. Step Functions is registered from outside, because
//! it is built on the services here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Watch};
use crate::connector::LocalConnector;
use crate::credentials::LocalCredentials;
use crate::data_dir::{DataDir, DataDirError, private_file};
use crate::dynamodb::DynamoDb;
use crate::endpoint::{self, EndpointError, Serving};
use crate::lambda::Lambda;
use crate::logs::Logs;
use crate::place::Place;
use crate::registry::Services;
use crate::scheduler::Scheduler;
use crate::secrets::Secrets;
use crate::service::{AwsError, Service};
use crate::sns::Sns;
use crate::ssm::Ssm;
use crate::store::{Store, StoreError};
use crate::sts::Sts;
use crate::warehouse::Warehouse;

/// AWS promises deletion "within a few days" for DynamoDB and 72 hours for logs; an hour is prompt.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// What a local cloud is opened with. `Debug` shows the names of secrets only.
#[derive(Default)]
pub struct CloudOptions {
    /// Region and account of every ARN.
    pub place: Place,
    /// Secrets from the settings: name to secret string.
    pub secrets: BTreeMap<String, String>,
    /// Under this name the private warehouse's connection is a secret; reading it starts the warehouse. A configured
    /// secret of the same name goes first.
    pub warehouse_secret: Option<String>,
    /// What time it is.
    pub clock: Clock,
}

impl std::fmt::Debug for CloudOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudOptions")
            .field("place", &self.place)
            .field("secrets", &self.secrets.keys())
            .field("warehouse_secret", &self.warehouse_secret)
            .finish_non_exhaustive()
    }
}

/// Why the embedded default did not start.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store.
    #[error("cannot open the local store")]
    Store(#[from] StoreError),
    /// DynamoDB's database.
    #[error("cannot open DynamoDB's database")]
    DynamoDb(#[source] AwsError),
}

/// The AWS API on one machine, open on a data directory.
pub struct LocalCloud {
    data_dir: DataDir,
    place: Place,
    clock: Clock,
    credentials: LocalCredentials,
    store: Store,
    services: Services,
    dynamodb: Arc<DynamoDb>,
    ssm: Arc<Ssm>,
    lambda: Arc<Lambda>,
    logs: Arc<Logs>,
    scheduler: Arc<Scheduler>,
    secrets: Arc<Secrets>,
    sns: Arc<Sns>,
    warehouse: Arc<Warehouse>,
    sweeper: tokio::task::JoinHandle<()>,
    /// Notices that the clock was set or the process stood still.
    _watch: Watch,
}

impl LocalCloud {
    /// Opens or creates the data directory and everything in it.
    ///
    /// # Errors
    /// When the directory is in use by another process, cannot be made private, or its databases cannot be opened.
    pub async fn open(data_dir: &Path, options: CloudOptions) -> Result<Self, CloudError> {
        let data_dir = DataDir::open(data_dir)?;
        let credentials = LocalCredentials::load_or_create(data_dir.path())?;
        let place = options.place;
        let services = Services::default();

        let store_path = data_dir.path().join("local.db");
        private_file(&store_path)?;
        let store = Store::open(&store_path)?;

        let dynamodb_path = data_dir.path().join("dynamodb.db");
        private_file(&dynamodb_path)?;
        let dynamodb = Arc::new(DynamoDb::open(&dynamodb_path, &place).map_err(CloudError::DynamoDb)?);
        services.register(dynamodb.clone());

        let clock = options.clock;
        let watch = clock.keep_watch();
        let scratch = data_dir.path().join("ssm");
        let ssm = Arc::new(Ssm::open(store.clone(), clock.clone(), scratch).await?);
        services.register(ssm.clone());
        let logs = Arc::new(Logs::open(store.clone(), clock.clone(), place.clone()).await?);
        services.register(logs.clone());
        let sns = Arc::new(Sns::open(store.clone(), clock.clone(), place.clone()).await?);
        services.register(sns.clone());
        services.register(Arc::new(Sts::new(place.clone())));
        let lambda = Arc::new(Lambda::new(place.clone()));
        services.register(lambda.clone());
        let scheduler = Arc::new(Scheduler::open(store.clone(), clock.clone(), place.clone()).await?);
        services.register(scheduler.clone());

        let warehouse = Arc::new(Warehouse::new(data_dir.path()));
        let secrets = Secrets::open(store.clone(), clock.clone(), place.clone(), options.secrets).await?;
        let secrets = Arc::new(secrets);
        if let Some(name) = options.warehouse_secret {
            secrets.provide(name, warehouse.clone());
        }
        services.register(secrets.clone());

        let sweeper = tokio::spawn(sweep(dynamodb.clone(), ssm.clone(), logs.clone()));
        Ok(Self {
            data_dir,
            place,
            clock,
            credentials,
            store,
            services,
            dynamodb,
            ssm,
            lambda,
            logs,
            scheduler,
            secrets,
            sns,
            warehouse,
            sweeper,
            _watch: watch,
        })
    }

    /// Stops what runs beside the services: the private warehouse, if it was started. Stop a served endpoint first.
    pub async fn close(self) {
        if let Err(error) = self.warehouse.stop().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the warehouse was not stopped");
        }
    }

    /// The data directory, absolute.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Region and account.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What time it is here: for services that are registered from outside.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The access key that the endpoint accepts, and that SDK clients on the connector may use.
    pub fn credentials(&self) -> &LocalCredentials {
        &self.credentials
    }

    /// The store that services (those registered later, too) share.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The registry; a clone sees services registered later.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Adds a service.
    pub fn register(&self, service: Arc<dyn Service>) {
        self.services.register(service);
    }

    /// An HTTP client for SDK clients in this process.
    pub fn connector(&self) -> LocalConnector {
        LocalConnector::new(self.services.clone())
    }

    /// Serves the endpoint on `address` (127.0.0.1; port 0 picks a free one) until it is stopped or dropped, and
    /// announces it in the data directory for [`endpoint::discover`].
    ///
    /// # Errors
    /// When the address is not the loopback address, or cannot be listened on.
    pub async fn serve(&self, address: SocketAddr) -> Result<Serving, EndpointError> {
        let door = endpoint::Door {
            services: self.services.clone(),
            credentials: self.credentials.clone(),
            place: self.place.clone(),
            clock: self.clock.clone(),
        };
        endpoint::serve(door, address, self.data_dir.path()).await
    }

    /// DynamoDB.
    pub fn dynamodb(&self) -> &Arc<DynamoDb> {
        &self.dynamodb
    }

    /// Systems Manager, to attach hosts to.
    pub fn ssm(&self) -> &Arc<Ssm> {
        &self.ssm
    }

    /// Lambda, to register functions with.
    pub fn lambda(&self) -> &Arc<Lambda> {
        &self.lambda
    }

    /// EventBridge Scheduler, to fire schedules with.
    pub fn scheduler(&self) -> &Arc<Scheduler> {
        &self.scheduler
    }

    /// CloudWatch Logs.
    pub fn logs(&self) -> &Arc<Logs> {
        &self.logs
    }

    /// Secrets Manager.
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// SNS, to read what was published and to be told of it.
    pub fn sns(&self) -> &Arc<Sns> {
        &self.sns
    }

    /// The private warehouse.
    pub fn warehouse(&self) -> &Arc<Warehouse> {
        &self.warehouse
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

/// Deletes what has had its time, now and every hour.
async fn sweep(dynamodb: Arc<DynamoDb>, ssm: Arc<Ssm>, logs: Arc<Logs>) {
    let mut hourly = tokio::time::interval(SWEEP_EVERY);
    loop {
        hourly.tick().await;
        if let Err(error) = dynamodb.sweep_expired().await {
            tracing::warn!(%error, "expired items were not deleted");
        }
        for swept in [ssm.sweep().await, logs.sweep().await] {
            if let Err(error) = swept {
                tracing::warn!(error = &error as &dyn std::error::Error, "old records were not deleted");
            }
        }
    }
}
