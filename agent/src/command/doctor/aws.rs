//! Whom the agent is to AWS, and whether the services answer it.

use std::time::{Duration, Instant, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_sfn::config::{Credentials, ProvideCredentials};
use rsqlflow_config::settings::Backend;

use super::clock::Dates;
use super::services::{self, Asked, SERVICES};
use super::{Check, Site};
use crate::command::serve;

/// Longest wait for the settings of the SDK, which may ask the instance for its region, and for credentials.
const CONFIG_PATIENCE: Duration = Duration::from_secs(3);

/// Longest wait for all services, which are asked side by side.
const SERVICES_PATIENCE: Duration = Duration::from_secs(4);

/// Temporary credentials that nobody renews are worth a word so long before they expire.
const EXPIRES_SOON: Duration = Duration::from_secs(15 * 60);

const CREDENTIALS: &str = "credentials";

pub(super) async fn examine(site: &Site) -> Vec<Check> {
    if site.settings.backend == Backend::Local && site.endpoint.is_none() {
        return vec![nowhere()];
    }
    let Ok(config) = tokio::time::timeout(CONFIG_PATIENCE, serve::aws(&site.settings)).await else {
        return nobody_asked("the region cannot be found out", "set region in the settings, or AWS_REGION");
    };
    if config.region().is_none() {
        return nobody_asked("no region is set", "set region in the settings, or AWS_REGION");
    }
    let (kind, credentials) = credentials(&config).await;
    let Some(kind) = kind else {
        let mut checks = vec![credentials];
        checks.extend(services_failed("not asked: there are no credentials", "see credentials"));
        return checks;
    };
    let dates = Dates::default();
    let asked =
        Asked { site, config: &config, dates: &dates, renewal: renewal(&kind), patience: SERVICES_PATIENCE };
    let answers = services::ask(&asked).await;
    let mut checks = vec![credentials, dates.check()];
    checks.extend(answers);
    checks
}

/// One line for all services: what is missing is one line in the shell.
fn nowhere() -> Check {
    Check::fail(
        "services",
        "not asked: backend = \"local\", and nobody says where AWS is (AWS_ENDPOINT_URL)",
        "with `rsqlflow up` running: eval \"$(rsqlflow env)\" first; for an account set backend = \"aws\"",
    )
}

fn nobody_asked(message: &str, hint: &str) -> Vec<Check> {
    let mut checks = vec![Check::fail(CREDENTIALS, message, hint)];
    checks.extend(services_failed(&format!("not asked: {message}"), hint));
    checks
}

fn services_failed(message: &str, hint: &str) -> impl Iterator<Item = Check> {
    SERVICES.into_iter().map(move |service| Check::fail(service, message, hint))
}

/// Whether there are credentials, and what kind: as the SDK calls its source.
async fn credentials(config: &SdkConfig) -> (Option<String>, Check) {
    let Some(provider) = config.credentials_provider() else {
        return (None, Check::fail(CREDENTIALS, "there are none", renewal("")));
    };
    let began = Instant::now();
    match tokio::time::timeout(CONFIG_PATIENCE, provider.provide_credentials()).await {
        Err(_) => (None, Check::fail(CREDENTIALS, "none came in time", renewal(""))),
        Ok(Err(error)) => (None, refused(&cause(&error))),
        Ok(Ok(found)) => {
            let kind = source(&found);
            let check = judge(&kind, found.expiry(), SystemTime::now());
            let took = began.elapsed().as_millis();
            (Some(kind), Check { milliseconds: Some(took), ..check })
        }
    }
}

/// What the SDK says where it finds none. It tells of every place it looked at, which are always the same.
fn refused(text: &str) -> Check {
    if text.contains("no credentials found in chain") {
        let places =
            "there are none: not in the environment, a profile, a container's or the instance's role";
        return Check::fail(CREDENTIALS, places, renewal(""));
    }
    let lower = text.to_lowercase();
    let kind = ["sso", "imds", "profile"].into_iter().find(|kind| lower.contains(kind));
    Check::fail(CREDENTIALS, text, renewal(kind.unwrap_or_default()))
}

fn judge(kind: &str, expiry: Option<SystemTime>, now: SystemTime) -> Check {
    let Some(expiry) = expiry else { return Check::ok(CREDENTIALS, format!("from {kind}")) };
    let shown = chrono::DateTime::<chrono::Utc>::from(expiry).format("%Y-%m-%dT%H:%M:%SZ");
    match expiry.duration_since(now) {
        Err(_) => Check::fail(CREDENTIALS, format!("from {kind}: expired at {shown}"), renewal(kind)),
        Ok(left) if left < EXPIRES_SOON && is_lasting(kind) => {
            Check::warn(CREDENTIALS, format!("from {kind}: expire at {shown}"), renewal(kind))
        }
        Ok(_) => Check::ok(CREDENTIALS, format!("from {kind}, until {shown}")),
    }
}

/// Whether nobody but an operator renews them.
fn is_lasting(kind: &str) -> bool {
    kind.contains("Environment") || kind.contains("Profile") || kind.contains("Sso")
}

/// The name of the provider. The SDK shows it in no other way than this; keys are masked in it.
fn source(credentials: &Credentials) -> String {
    let shown = format!("{credentials:?}");
    let name = shown.split_once("provider_name: \"").and_then(|(_, rest)| rest.split_once('"'));
    name.map_or_else(|| "an unknown source".into(), |(name, _)| name.to_owned())
}

/// What renews credentials of a kind, or brings some.
fn renewal(kind: &str) -> String {
    let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "NAME".into());
    let lower = kind.to_lowercase();
    if lower.contains("sso") {
        format!(
            "aws sso login --profile {profile}, then eval \"$(aws configure export-credentials --profile {profile} \
             --format env)\": the agent itself does not speak SSO"
        )
    } else if lower.contains("environment") {
        format!(
            "export new keys, for instance: eval \"$(aws configure export-credentials --profile {profile} --format \
             env)\""
        )
    } else if lower.contains("profile") {
        format!("aws configure --profile {profile}")
    } else if lower.contains("metadata") || lower.contains("imds") {
        "give the instance a role: aws ec2 associate-iam-instance-profile; outside EC2 set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY"
            .into()
    } else {
        "on EC2 give the instance a role; elsewhere set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into()
    }
}

/// What an error comes from in the end; what is said on the way to it names only the SDK's own layers.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn credentials_run_out() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let minutes = |n: u64| Some(now + Duration::from_secs(n * 60));
        assert_eq!(judge("EnvironmentVariable", None, now).level, Level::Ok);
        assert_eq!(judge("EnvironmentVariable", minutes(5), now).level, Level::Warn);
        assert_eq!(judge("Ec2InstanceMetadata", minutes(5), now).level, Level::Ok, "the SDK renews them");
        let expired = judge("Sso", Some(now - Duration::from_secs(1)), now);
        assert_eq!(expired.message, "from Sso: expired at 1970-01-12T13:46:39Z");
        assert!(expired.hint.unwrap().starts_with("aws sso login --profile "));
    }

    #[test]
    fn why_there_are_none_is_told_in_a_line() {
        let chain =
            refused("no credentials found in chain. Attempted:\n  Environment: not enabled\n  Profile: no");
        assert!(chain.hint.unwrap().starts_with("on EC2 give the instance a role"));
        assert!(!chain.message.contains('\n'));
        let sso = refused("profile `x` needs the feature sso");
        assert!(sso.hint.unwrap().starts_with("aws sso login"));
        let imds = refused("failed to load IMDS session token");
        assert!(imds.hint.unwrap().starts_with("give the instance a role"));
    }

    #[test]
    fn where_credentials_come_from_is_told_without_them() {
        let keys = Credentials::new("AKID", "secret", None, None, "Somewhere");
        assert_eq!(source(&keys), "Somewhere");
    }
}
