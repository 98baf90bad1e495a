//! The way into an AWS account: which profile, which Region, whose credentials, and whether it is the right account.
//!
//! Everything the `aws` command line understands works: environment variables, profiles with SSO, with assumed roles, with
//! a process, web identities, the roles of instances and containers. Two things come first: `region` and `profile` of the
//! settings. A profile that the settings name wins over keys in the environment, as `aws --profile` does.
//!
//! Tables are called by their names, and every account may have tables of these names. So the settings of one account with
//! the credentials of another would store items where no run looks for them, and make schedules that aim at the first
//! account. The ARNs of the settings say which account is meant; before a command acts, STS is asked which it is.

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sfn::config::SharedHttpClient;
use rsqlflow_config::settings::Settings;

use super::refused::{Identity, explain};
use crate::error::CliError;
use crate::exit::Exit;

/// An account, as far as the settings and the environment say.
pub(crate) struct Account {
    /// The configuration of SDK clients.
    pub(crate) config: SdkConfig,
    /// The Region.
    pub(crate) region: String,
    /// Whose credentials.
    pub(crate) identity: Identity,
}

/// The account that the settings and the environment name. Nothing is asked of it yet.
///
/// # Errors
/// [`CliError::Account`] where there is no Region, or another one than that of the settings' ARNs.
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
        return Err(usage(
            format!("no AWS Region: neither the settings nor AWS_REGION nor {identity} has one"),
            "set region in rsqlflow.toml, or: export AWS_REGION=...; rsqlflow init has --region",
        ));
    };
    // The role of schedules has no Region.
    let elsewhere =
        arns(settings).into_iter().find(|(_, arn)| ![Some(""), Some(&region)].contains(&part(arn, REGION)));
    if let Some((key, arn)) = elsewhere {
        let there = part(arn, REGION).unwrap_or_default();
        return Err(usage(
            format!("the Region is {region}, and {key} is in {there}"),
            format!("set region = \"{there}\" in rsqlflow.toml, or: rsqlflow init --stack NAME"),
        ));
    }
    Ok(Account { config, region, identity })
}

/// The account that the settings mean: that of all their ARNs.
///
/// # Errors
/// [`CliError::Account`] where two ARNs are of different accounts.
pub(crate) fn meant(settings: &Settings) -> Result<Option<String>, CliError> {
    let mut of = arns(settings).into_iter().filter_map(|(key, arn)| Some((key, part(arn, ACCOUNT)?)));
    let Some((first, account)) = of.next() else { return Ok(None) };
    match of.find(|(_, other)| *other != account) {
        None => Ok(Some(account.into())),
        Some((key, other)) => Err(usage(
            format!("the settings mix two accounts: {first} is in {account}, and {key} is in {other}"),
            "rsqlflow init --stack NAME    reads them all from one stack",
        )),
    }
}

/// That the credentials are of the account that the settings mean; gives the words for that account.
///
/// # Errors
/// [`CliError::Account`] where they are not, and where STS does not say.
pub(crate) async fn checked(config: &SdkConfig, settings: &Settings) -> Result<String, CliError> {
    let meant = meant(settings)?;
    if !settings.check_account {
        return Ok(
            meant.map_or_else(|| "account not checked".into(), |id| format!("account {id}, not checked"))
        );
    }
    let asked = aws_sdk_sts::Client::new(config).get_caller_identity().send().await;
    let found = match asked.map_err(CliError::aws("asking STS for the account of these credentials")) {
        Ok(answer) => answer.account.unwrap_or_default(),
        Err(error) => return Err(unanswered(explain(error, settings))),
    };
    match meant {
        Some(meant) if meant != found => Err(wrong(&meant, &found, &Identity::of(settings))),
        _ => Ok(format!("account {found}")),
    }
}

fn wrong(meant: &str, found: &str, identity: &Identity) -> CliError {
    usage(
        format!(
            "the settings are of account {meant}, and the credentials ({identity}) of account {found}; nothing was changed"
        ),
        format!(
            "set profile in rsqlflow.toml (or AWS_PROFILE) to one of account {meant}; or, if {found} is the one you \
             mean: rsqlflow init --stack NAME"
        ),
    )
}

/// A network without a way to STS has a way out.
fn unanswered(error: CliError) -> CliError {
    match error {
        CliError::Account { said, next, exit: Exit::Unreachable } => {
            let next = next.map(|next| next + "; ").unwrap_or_default();
            let next = next
                + "in a VPC, add an endpoint for STS; without any way to STS, check_account = false in rsqlflow.toml \
                   leaves the question out";
            CliError::Account { said, next: Some(next), exit: Exit::Unreachable }
        }
        error => error,
    }
}

fn usage(said: String, next: impl Into<String>) -> CliError {
    CliError::Account { said, next: Some(next.into()), exit: Exit::Usage }
}

/// The ARNs of the settings, by their keys.
fn arns(settings: &Settings) -> Vec<(&'static str, &str)> {
    let machines = &settings.state_machines;
    [
        ("state_machines.master", &machines.master),
        ("state_machines.sequential", &machines.sequential),
        ("state_machines.parallel", &machines.parallel),
        ("trigger_arn", &settings.trigger_arn),
        ("operate_arn", &settings.operate_arn),
        ("scheduler_role_arn", &settings.scheduler_role_arn),
        ("dead_letter_arn", &settings.dead_letter_arn),
    ]
    .into_iter()
    .map(|(key, arn)| (key, arn.as_str()))
    .filter(|(_, arn)| arn.starts_with("arn:"))
    .collect()
}

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
const REGION: usize = 3;
const ACCOUNT: usize = 4;

fn part(arn: &str, at: usize) -> Option<&str> {
    arn.split(':').nth(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::load(None, &std::env::temp_dir(), []).unwrap();
        settings.state_machines.master = "arn:aws:states:eu-west-1:111122223333:stateMachine:m".into();
        settings.scheduler_role_arn = "arn:aws:iam::111122223333:role/r".into();
        change(&mut settings);
        settings
    }

    fn told(error: &CliError) -> String {
        format!("{error}\n  exit {} next: {}", error.exit().code(), error.next().unwrap())
    }

    #[test]
    fn the_arns_say_which_account_is_meant() {
        assert_eq!(meant(&settings(|_| {})).unwrap().as_deref(), Some("111122223333"));
        let none = Settings::load(None, &std::env::temp_dir(), []).unwrap();
        assert_eq!(meant(&none).unwrap(), None);
        let mixed = settings(|settings| {
            settings.dead_letter_arn = "arn:aws:sqs:eu-west-1:444455556666:dead".into();
        });
        let prod = Identity::Profile { name: "prod".into(), login: None };
        let unreached = CliError::Account { said: "x".into(), next: None, exit: Exit::Unreachable };
        insta::assert_snapshot!(
            [
                told(&meant(&mixed).unwrap_err()),
                told(&wrong("111122223333", "444455556666", &prod)),
                told(&unanswered(unreached)),
            ]
            .join("\n")
        );
    }

    #[tokio::test]
    async fn every_arn_has_to_be_in_the_region() {
        let mut elsewhere = settings(|settings| {
            settings.trigger_arn = "arn:aws:lambda:us-east-1:111122223333:function:t".into();
        });
        elsewhere.region = "eu-west-1".into();
        let error = open(&elsewhere, super::super::clients::https()).await.err().unwrap();
        assert_eq!(error.to_string(), "the Region is eu-west-1, and trigger_arn is in us-east-1");
        let good = settings(|settings| settings.region = "eu-west-1".into());
        assert!(open(&good, super::super::clients::https()).await.is_ok());
    }
}
