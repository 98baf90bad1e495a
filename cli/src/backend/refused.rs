//! What an account's refusals mean, and what to do about them.
//!
//! The services say that a token has expired or that a user is not authorized; what an operator needs is which profile,
//! which action, and the command that helps. It is read from the message of the failed call, in one place, because every
//! command may meet every one of them. What is not known here is told as the service said it.

use std::fmt;

use rsqlflow_config::settings::{Backend, Settings};
use rsqlflow_trigger::TriggerError;

use crate::error::CliError;
use crate::exit::Exit;

/// Whose credentials are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A profile's.
    Profile(String),
    /// Keys in environment variables.
    Environment,
}

impl Identity {
    /// As the settings and the environment say.
    pub(crate) fn of(settings: &Settings) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if !settings.profile.is_empty() {
            Self::Profile(settings.profile.clone())
        } else if set("AWS_ACCESS_KEY_ID").is_some() {
            Self::Environment
        } else {
            Self::Profile(set("AWS_PROFILE").unwrap_or_else(|| "default".into()))
        }
    }

    /// The command that renews it.
    fn renewed(&self) -> String {
        match self {
            Self::Profile(profile) => format!("aws sso login --profile {profile}"),
            Self::Environment => {
                "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN anew, or unset them"
                    .into()
            }
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(profile) => write!(f, "profile {profile}"),
            Self::Environment => f.write_str("keys of the environment"),
        }
    }
}

/// The same error, told as what it means where the settings lead to an account.
pub(crate) fn explain(error: CliError, settings: &Settings) -> CliError {
    match error {
        CliError::Trigger(TriggerError::Aws { action, message, unreachable })
            if settings.backend == Backend::Aws =>
        {
            explained(action, &message, unreachable, &Identity::of(settings))
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

/// Whether waiting can help: nobody answered, and not for want of credentials.
pub(crate) fn may_pass(error: &CliError) -> bool {
    let CliError::Trigger(TriggerError::Aws { action, message, unreachable: true }) = error else {
        return false;
    };
    let identity = Identity::Environment;
    explained(action, message, true, &identity).is_none_or(|error| error.exit() == Exit::Unreachable)
}

/// What a refusal means, where that is known.
fn explained(action: &str, message: &str, unreachable: bool, identity: &Identity) -> Option<CliError> {
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
            || lower.contains("not enabled"))
    {
        let said =
            format!("{action}: there are no AWS credentials; tried {identity} and this machine's role");
        return refused(said, Some("aws configure sso, or: export AWS_PROFILE=...".into()));
    }
    if WRONG_KEYS.contains(&code) {
        let said = format!("{action}: AWS does not know the keys: {identity} ({code})");
        let who = match identity {
            Identity::Profile(profile) => format!("aws sts get-caller-identity --profile {profile}"),
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
        let prod = Identity::Profile("prod".into());
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
        ]
        .iter()
        .map(|(message, unreachable)| {
            let error = explained("reading the config item", message, *unreachable, &prod).unwrap();
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
        assert!(explained("x", "ThrottlingException: Rate exceeded", false, &prod).is_none());
        let expired = explained("x", "ExpiredTokenException: y", false, &Identity::Environment).unwrap();
        assert!(expired.next().unwrap().contains("AWS_SESSION_TOKEN"));
    }
}
