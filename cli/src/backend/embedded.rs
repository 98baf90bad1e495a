//! The embedded default in this process, for as long as a command needs it.
//!
//! Looking at records takes the services alone. Carrying runs ([`Need::Runs`]) takes the States Language engine and
//! the agent as well, and with them every run that was under way goes on.

use aws_sdk_sfn::config::SharedHttpClient;
use rsqlflow_config::settings::Settings;
use rsqlflow_local::cloud::{CloudOptions, LocalCloud};
use rsqlflow_local::place::Place;

use super::{Clients, clients, provision};
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

/// The embedded default, open.
pub(crate) struct Embedded {
    cloud: LocalCloud,
    settings: Settings,
}

impl Embedded {
    /// Opens the data directory and makes what is missing in it.
    ///
    /// # Errors
    /// When another process uses the directory, or it cannot be read or written.
    pub(crate) async fn open(context: &Context, need: Need) -> Result<Self, CliError> {
        let settings = context.settings.clone();
        let options = CloudOptions { place: Place::in_region(&settings.region), ..CloudOptions::default() };
        let cloud = LocalCloud::open(&context.data_dir, options)
            .await
            .map_err(CliError::embedded("cannot open the embedded default"))?;
        let embedded = Self { cloud, settings };
        let clients = embedded.clients();
        provision::make_tables(&clients, &embedded.settings).await?;
        if need == Need::Runs {
            provision::make_runtime(&clients, &embedded.settings).await?;
        }
        Ok(embedded)
    }

    /// SDK clients on the connector of this process.
    pub(crate) fn clients(&self) -> Clients {
        let key = self.cloud.credentials();
        let http = SharedHttpClient::new(self.cloud.connector());
        Clients::new(&clients::local(&self.settings, &key.access_key_id, &key.secret_access_key, http))
    }

    /// Ends it.
    pub(crate) async fn close(self) {}
}
