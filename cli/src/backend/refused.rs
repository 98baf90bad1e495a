//! What an account's refusals mean, and what to do about them.
//!
//! The services say that a token has expired or that a user is not authorized; what an operator needs is which profile,
//! which action, and the command that helps. It is read from the message of the failed call, in one place, because every
//! command may meet every one of them. What is not known here is told as the service said it.

use std::fmt;
use std::path::PathBuf;

use rsqlflow_config::settings::{Backend, Settings};
use rsqlflow_trigger::TriggerError;

use crate::error::CliError;
use crate::exit::Exit;

/// Whose credentials are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A profile's.
    Profile {
        /// Its name.
        name: String,
        /// The profile to log in to, which may be the one that it takes its credentials from; none without SSO.
        login: Option<String>,
    },
    /// Keys in environment variables.
    Environment,
}

impl Identity {
    /// As the settings and the environment say.
    pub(crate) fn of(settings: &Settings) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let name = if !settings.profile.is_empty() {
            settings.profile.clone()
        } else if set("AWS_ACCESS_KEY_ID").is_some() {
            return Self::Environment;
        } else {
            set("AWS_PROFILE").unwrap_or_else(|| "default".into())
        };
        let file = set("AWS_CONFIG_FILE").map(PathBuf::from);
        let file = file.or_else(|| Some(std::env::home_dir()?.join(".aws/config")));
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let login = login(&text, &name);
        Self::Profile { name, login }
    }

    /// The command that renews it.
    fn renewed(&self) -> String {
        match self {
            Self::Profile { login: Some(profile), .. } => format!("aws sso login --profile {profile}"),
            Self::Profile { name, login: None } => {
                format!("give the profile new keys: aws configure --profile {name}")
            }
            Self::Environment => {
                "export new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or unset them"
                    .into()
            }
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile { name, .. } => write!(f, "profile {name}"),
            Self::Environment => f.write_str("keys of the environment"),
        }
    }
}

/// The profile that `aws sso login` renews `name` by, in the text of an AWS config file: itself or one that it takes its
/// credentials from. The SDK's own reading of the file is asynchronous and takes types that are named internal; of all that
/// it knows, three keys are wanted here, and only for the words of an error.
fn login(text: &str, name: &str) -> Option<String> {
    /// More are a circle.
    const CHAIN: usize = 5;
    let mut name = name.to_string();
    for _ in 0..CHAIN {
        let mut inside = false;
        let mut settings: Vec<(&str, &str)> = Vec::new();
        for line in text.lines() {
            if let Some(section) = line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                let section = section.trim();
                inside = section.strip_prefix("profile ").unwrap_or(section).trim() == name;
            } else if inside && let Some((key, value)) = line.split_once('=') {
                settings.push((key.trim(), value.trim()));
            }
        }
        if settings.iter().any(|(key, _)| ["sso_session", "sso_start_url"].contains(key)) {
            return Some(name);
        }
        name = settings.iter().find(|(key, _)| *key == "source_profile")?.1.to_string();
    }
    None
}

/// Where the account is asked, for people.
fn address(settings: &Settings) -> String {
    let set =
        |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    if let Some(url) = set(&["AWS_ENDPOINT_URL"]) {
        return without_password(&url);
    }
    let region = if settings.region.is_empty() { "the Region" } else { &settings.region };
    let place = format!("the AWS endpoints of {region}");
    match set(&["HTTPS_PROXY", "https_proxy"]) {
        Some(proxy) => format!("{place}, by way of the proxy {}", without_password(&proxy)),
        None => place,
    }
}

fn without_password(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, place)) => format!("{scheme}://{place}"),
        None => url.to_string(),
    }
}

/// The same error, told as what it means where the settings lead to an account.
pub(crate) fn explain(error: CliError, settings: &Settings) -> CliError {
    match error {
        CliError::Partly { said, then, source } => {
            CliError::Partly { said, then, source: Box::new(explain(*source, settings)) }
        }
        CliError::Trigger(TriggerError::NotStarted { run, certain, stays_open, source }) => {
            let source = Box::new(explain(CliError::Trigger(*source), settings));
            CliError::not_started(&run, certain, stays_open.as_deref(), source)
        }
        CliError::Trigger(TriggerError::NotClosed { run, source }) => CliError::Partly {
            said: format!("run `{run}` was stopped, and its record does not say so yet"),
            then: "the same command again; else the end of its execution closes the record".into(),
            source: Box::new(explain(CliError::Trigger(*source), settings)),
        },
        CliError::Trigger(TriggerError::Aws { action, message, unreachable })
            if settings.backend == Backend::Aws =>
        {
            explained(action, &message, unreachable, &Identity::of(settings), &address(settings))
                .unwrap_or_else(|| CliError::Trigger(TriggerError::Aws { action, message, unreachable }))
        }
        error => error,
    }
}

/// Codes of keys that nobody knows, or that sign wrongly.
const WRONG_KEYS: [&str; 5] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
];

/// Whether waiting can help: AWS did not answer, and not for want of credentials.
pub(crate) fn may_pass(error: &CliError) -> bool {
    let CliError::Trigger(TriggerError::Aws { action, message, unreachable }) = error else {
        return false;
    };
    explained(action, message, *unreachable, &Identity::Environment, "")
        .is_some_and(|error| error.exit() == Exit::Unreachable)
}

/// What a refusal means, where that is known.
fn explained(
    action: &str,
    message: &str,
    unreachable: bool,
    identity: &Identity,
    address: &str,
) -> Option<CliError> {
    let code = message.split(':').next().unwrap_or_default();
    let loading = message.contains("loading credentials") || message.contains("credential");
    let lower = message.to_lowercase();
    let refused =
        |said: String, next: Option<String>| Some(CliError::Account { said, next, exit: Exit::Failed });
    if code.starts_with("ExpiredToken")
        || code == "RequestExpired"
        || (loading && (lower.contains("expired") || lower.contains("sso")))
    {
        return refused(
            format!("{action}: the credentials of {identity} have expired"),
            Some(identity.renewed()),
        );
    }
    if let Some(rest) = lower.find("profile `").filter(|_| lower.contains("was not defined")) {
        let name = message[rest + 9..].split('`').next().unwrap_or_default();
        let said = format!("{action}: there is no profile {name} in ~/.aws/config");
        let next = Some("aws configure list-profiles".into());
        return Some(CliError::Account { said, next, exit: Exit::Usage });
    }
    if loading
        && (lower.contains("no providers in chain")
            || lower.contains("not loaded")
            || lower.contains("not enabled")
            || (lower.contains("imds") && lower.contains("forbidden")))
    {
        let said =
            format!("{action}: there are no AWS credentials; tried {identity} and this machine's role");
        return refused(said, Some("aws configure sso, or: export AWS_PROFILE=...".into()));
    }
    if WRONG_KEYS.contains(&code) {
        let said = format!("{action}: AWS does not know the keys: {identity} ({code})");
        let who = match identity {
            Identity::Profile { name, .. } => format!("aws sts get-caller-identity --profile {name}"),
            Identity::Environment => "aws sts get-caller-identity".into(),
        };
        return refused(said, Some(who));
    }
    if code.starts_with("AccessDenied") {
        let denied = between(message, "not authorized to perform: ", " on resource: ");
        let Some(denied) = denied else {
            return refused(format!("{action}: access denied ({message})"), None);
        };
        let on = between(message, " on resource: ", " ").unwrap_or_default();
        let who = between(message, "User: ", " ").unwrap_or_default();
        let said = format!("{action}: {who} ({identity}) may not {denied} on {on}");
        return refused(
            said,
            Some("attach the stack's OperatorPolicy (its output OperatorPolicyArn) to that role".into()),
        );
    }
    let missing = ["ResourceNotFoundException", "StateMachineDoesNotExist"];
    if missing.contains(&code) {
        let said = format!("{action}: it is not in this account and Region ({message})");
        return refused(said, Some("rsqlflow init --stack NAME".into()));
    }
    // No error of a service: a page of a proxy or of a network that wants a login, which has no code.
    if ["service error", "response error"].contains(&code) {
        return Some(CliError::Account {
            said: format!("{action}: something other than AWS answered at {address}"),
            next: Some(
                "check HTTPS_PROXY, NO_PROXY and AWS_ENDPOINT_URL, and whether the network wants a login; on a host: \
                 rsqlflow-agent doctor"
                    .into(),
            ),
            exit: Exit::Unreachable,
        });
    }
    // Credentials that cannot be loaded, for another reason than that whoever gives them is out of reach.
    let passing = ["io error", "timeout", "timed out", "dns error", "dispatch failure"];
    if let Some((_, why)) = message.split_once("while loading credentials")
        && !passing.iter().any(|word| why.to_lowercase().contains(word))
    {
        let why = why.trim_matches([':', ' ']);
        let said = format!("{action}: {identity} gave no AWS credentials ({why})");
        let next = match identity {
            Identity::Profile { name, .. } => {
                format!("aws sts get-caller-identity --profile {name}    tries them without rsqlflow")
            }
            Identity::Environment => "aws sts get-caller-identity".into(),
        };
        return refused(said, Some(next));
    }
    unreachable.then(|| CliError::Account {
        said: format!("{action}: AWS was not reached ({message})"),
        next: Some("check the Region and the network (HTTPS_PROXY, AWS_ENDPOINT_URL)".into()),
        exit: Exit::Unreachable,
    })
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let rest = &text[text.find(from)? + from.len()..];
    Some(rest.split(to).next().unwrap_or(rest).trim_end_matches(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages as the services and the SDK word them.
    #[test]
    fn refusals_say_who_what_and_what_to_do() {
        let prod = Identity::Profile { name: "prod".into(), login: Some("prod".into()) };
        let told: Vec<String> = [
            ("ExpiredTokenException: The security token included in the request is expired", false),
            (
                "dispatch failure: other: an error occurred while loading credentials: the SSO token has expired and \
                 cannot be refreshed",
                true,
            ),
            (
                "dispatch failure: other: the credentials provider was not properly configured: ProfileFile provider \
                 could not be built: profile `prdo` was not defined: `prdo` references a profile",
                true,
            ),
            (
                "dispatch failure: other: the credential provider was not enabled: no providers in chain provided \
                 credentials",
                true,
            ),
            ("UnrecognizedClientException: The security token included in the request is invalid.", false),
            (
                "AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/dev/maria is not authorized to \
                 perform: dynamodb:GetItem on resource: \
                 arn:aws:dynamodb:eu-west-1:123456789012:table/rsqlflow-config because no identity-based policy \
                 allows the dynamodb:GetItem action",
                false,
            ),
            ("ResourceNotFoundException: Requested resource not found", false),
            ("dispatch failure: io error: dns error", true),
            (
                "dispatch failure: other: an error occurred while loading credentials: failed to load IMDS session token: \
                 service error: request forbidden: IMDS is disabled or the caller has insufficient permissions.",
                true,
            ),
            ("service error: unhandled error: Error at offset 0: unexpected token '<'", false),
            (
                "dispatch failure: other: an error occurred while loading credentials: Error retrieving credentials: \
                 external process exited with code exit status: 1. Stderr: ",
                true,
            ),
            (
                "dispatch failure: other: an error occurred while loading credentials: dispatch failure: io error: \
                 connection refused",
                true,
            ),
        ]
        .iter()
        .map(|(message, unreachable)| {
            let error = explained("reading the config item", message, *unreachable, &prod, "https://proxy").unwrap();
            format!("{error}\n  exit {} next: {}", error.exit().code(), error.next().unwrap())
        })
        .collect();
        insta::assert_snapshot!(told.join("\n"));
        let failed = |message: &str| {
            may_pass(&CliError::Trigger(TriggerError::Aws {
                action: "x",
                message: message.into(),
                unreachable: true,
            }))
        };
        assert!(failed("dispatch failure: io error: dns error"));
        assert!(!failed("dispatch failure: other: loading credentials: the SSO token has expired"));
        assert!(explained("x", "ThrottlingException: Rate exceeded", false, &prod, "").is_none());
        let expired = explained("x", "ExpiredTokenException: y", false, &Identity::Environment, "").unwrap();
        assert!(expired.next().unwrap().contains("AWS_SESSION_TOKEN"));
    }
    #[test]
    fn only_a_profile_with_sso_is_logged_in_to() {
        let file = "[default]\nregion = x\n[profile keys]\naws_access_key_id=A\n[profile sso]\nsso_session = s\n\
                    [sso-session s]\nsso_start_url = u\n[profile role]\nrole_arn=r\nsource_profile = sso\n\
                    [profile me]\nsource_profile=me\n";
        let of = |name: &str| login(file, name);
        assert_eq!((of("sso").as_deref(), of("role").as_deref()), (Some("sso"), Some("sso")));
        for none in ["default", "keys", "me", "none"] {
            assert_eq!(of(none), None, "{none}");
        }
        let keys = Identity::Profile { name: "keys".into(), login: None };
        let expired = explained("x", "ExpiredTokenException: y", false, &keys, "").unwrap();
        assert!(expired.next().unwrap().contains("aws configure --profile keys"));
    }
}
