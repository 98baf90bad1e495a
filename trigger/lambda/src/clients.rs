//! SDK clients from what Lambda puts into the environment: region, a role's key, nothing else.
//!
//! The chain of sources that a laptop needs (profiles, SSO, instance metadata) is left out on purpose: it would be code
//! to load and requests to make at every cold start, and here the key is always in the environment. `AWS_ENDPOINT_URL`
//! leads all clients elsewhere, as it does other tools.

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sfn::config::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

/// One client of each service that the trigger speaks to.
pub(crate) struct Clients {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) sfn: aws_sdk_sfn::Client,
    pub(crate) sns: aws_sdk_sns::Client,
}

impl Clients {
    /// The clients.
    pub(crate) fn from_environment() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")).map(Region::new))
            .credentials_provider(SharedCredentialsProvider::new(
                EnvironmentVariableCredentialsProvider::new(),
            ))
            .http_client(http);
        config.set_endpoint_url(set("AWS_ENDPOINT_URL"));
        let config = config.build();
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            sfn: aws_sdk_sfn::Client::new(&config),
            sns: aws_sdk_sns::Client::new(&config),
        }
    }
}
