//! The way into an AWS account: which profile, which Region, whose credentials.
//!
//! Everything the `aws` command line understands works: environment variables, profiles with SSO, with assumed roles, with
//! a process, web identities, the roles of instances and containers. Two things come first: `region` and `profile` of the
//! settings. A profile that the settings name wins over keys in the environment, as `aws --profile` does.

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sfn::config::SharedHttpClient;
use rsqlflow_config::settings::Settings;

use super::refused::Identity;
use crate::error::CliError;
use crate::exit::Exit;

/// An account, as far as the settings and the environment say.
pub(crate) struct Account {
    /// The configuration of SDK clients.
    pub(crate) config: SdkConfig,
    /// The Region and whose credentials, for people.
    pub(crate) description: String,
}

/// The account that the settings and the environment name. Nothing is asked of it yet.
///
/// # Errors
/// [`CliError::Account`] where there is no Region, or another one than that of the state machines.
pub(crate) async fn open(settings: &Settings, http: SharedHttpClient) -> Result<Account, CliError> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
    if !settings.region.is_empty() {
        loader = loader.region(Region::new(settings.region.clone()));
    }
    if !settings.profile.is_empty() {
        let region = (!settings.region.is_empty()).then(|| Region::new(settings.region.clone()));
        let provider = ProfileFileCredentialsProvider::builder()
            .configure(&ProviderConfig::without_region().with_region(region).with_http_client(http))
            .profile_name(&settings.profile)
            .build();
        loader = loader.profile_name(&settings.profile).credentials_provider(provider);
    }
    let config = loader.load().await;
    let identity = Identity::of(settings);
    let Some(region) = config.region().map(ToString::to_string).filter(|region| !region.is_empty()) else {
        return Err(CliError::Account {
            said: format!("no AWS Region: neither the settings nor AWS_REGION nor {identity} has one"),
            next: Some(
                "set region in rsqlflow.toml, or: export AWS_REGION=...; rsqlflow init has --region".into(),
            ),
            exit: Exit::Usage,
        });
    };
    let there = settings.state_machines.master.split(':').nth(3).unwrap_or(&region);
    if there != region {
        return Err(CliError::Account {
            said: format!("the Region is {region}, and state_machines.master is in {there}"),
            next: Some(format!("set region = \"{there}\" in rsqlflow.toml, or: rsqlflow init --stack NAME")),
            exit: Exit::Usage,
        });
    }
    Ok(Account { config, description: format!("{region}, {identity}") })
}
