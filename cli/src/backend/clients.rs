//! SDK clients, of an account and of the two doors of the embedded default.
//!
//! TLS is rustls with ring and the roots of the system. For the embedded default nothing is read from the AWS
//! configuration of the machine: no profile, no `AWS_ENDPOINT_URL_...` can lead such a client elsewhere.

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sfn::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use rsqlflow_config::settings::{Secret, Settings};
use rsqlflow_local::endpoint::Endpoint;

use crate::error::CliError;

/// One client of each service that commands speak to.
#[derive(Clone)]
pub(crate) struct Clients {
    /// DynamoDB.
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    /// Step Functions.
    pub(crate) sfn: aws_sdk_sfn::Client,
    /// CloudWatch Logs.
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    /// Lambda.
    pub(crate) lambda: aws_sdk_lambda::Client,
    /// EventBridge Scheduler.
    pub(crate) scheduler: aws_sdk_scheduler::Client,
    /// Secrets Manager.
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    /// SNS.
    pub(crate) sns: aws_sdk_sns::Client,
}

impl Clients {
    /// The clients of one configuration.
    pub(crate) fn new(config: &SdkConfig) -> Self {
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            sfn: aws_sdk_sfn::Client::new(config),
            logs: aws_sdk_cloudwatchlogs::Client::new(config),
            lambda: aws_sdk_lambda::Client::new(config),
            scheduler: aws_sdk_scheduler::Client::new(config),
            secrets: aws_sdk_secretsmanager::Client::new(config),
            sns: aws_sdk_sns::Client::new(config),
        }
    }
}

impl Clients {
    /// The connection of a warehouse, as its secret has it. The private cluster is started by this.
    ///
    /// # Errors
    /// Secrets Manager's, or that the secret is something else; no part of it is in the message.
    pub(crate) async fn warehouse(&self, secret_id: &str) -> Result<Secret, CliError> {
        let answer = self.secrets.get_secret_value().secret_id(secret_id).send().await;
        let answer = answer.map_err(CliError::aws("reading the warehouse's secret"))?;
        serde_json::from_str(answer.secret_string().unwrap_or_default())
            .map_err(|_| CliError::NotAConnection { id: secret_id.into() })
    }
}

/// Clients of the endpoint of an `rsqlflow up`.
pub(super) fn endpoint(settings: &Settings, up: &Endpoint) -> Clients {
    let config = local(settings, &up.access_key_id, &up.secret_access_key, https());
    Clients::new(&config.into_builder().endpoint_url(&up.url).build())
}

/// The configuration of clients of the embedded default.
pub(super) fn local(
    settings: &Settings,
    access_key_id: &str,
    secret_access_key: &str,
    http: SharedHttpClient,
) -> SdkConfig {
    let credentials = Credentials::new(access_key_id, secret_access_key, None, None, "rsqlflow");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http)
        // A secret whose warehouse has yet to be made is silent for as long as that takes.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}

/// Connections to anywhere.
pub(crate) fn https() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}
