//! The embedded default as one value: a data directory, its store, and the services on it.
//!
//! [`LocalCloud::open`] is cheap and starts nothing but a background sweep; the warehouse starts when its secret is
//! asked for, the endpoint when [`LocalCloud::serve`] is called. Step Functions is registered from outside, because
//! it is built on the services here.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::connector::LocalConnector;
use crate::credentials::LocalCredentials;
use crate::data_dir::{DataDir, DataDirError, private_file};
use crate::dynamodb::DynamoDb;
use crate::endpoint::{self, EndpointError, Serving};
use crate::logs::Logs;
use crate::place::Place;
use crate::registry::Services;
use crate::service::{AwsError, Service};
use crate::ssm::Ssm;
use crate::store::{Store, StoreError};

/// What a local cloud is opened with.
#[derive(Debug, Default)]
pub struct CloudOptions {
    /// Region and account of every ARN.
    pub place: Place,
    /// What time it is.
    pub clock: Clock,
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
    logs: Arc<Logs>,
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

        let ssm =
            Arc::new(Ssm::open(store.clone(), options.clock.clone(), data_dir.path().join("ssm")).await?);
        services.register(ssm.clone());

        let logs = Arc::new(Logs::open(store.clone(), options.clock.clone(), place.clone()).await?);
        services.register(logs.clone());

        Ok(Self { data_dir, place, clock: options.clock, credentials, store, services, dynamodb, ssm, logs })
    }

    /// The data directory, absolute.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Region and account.
    pub fn place(&self) -> &Place {
        &self.place
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

    /// CloudWatch Logs.
    pub fn logs(&self) -> &Arc<Logs> {
        &self.logs
    }
}
