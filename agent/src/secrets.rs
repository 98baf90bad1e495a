//! Warehouse credentials: fetched by the agent, handed to the job that was given the secret, kept out of its log.
//!
//! Scripts ask often and at the same time, Secrets Manager is slow and throttles: an answer serves everyone who asks
//! within a minute, and whoever asks while one is on its way waits for that one.
//!
//! Passwords are known by the version of their secret, so that a process of the agent that comes after a rotation can
//! ask for the very one that its predecessor handed out (see [`crate::handed_out`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::classify::{Answer, Backoff, classify};
use crate::protocol::Credentials;
use crate::redact::{Forms, Redactor};

/// How long an answer is good for. Rotation leaves the old password valid for longer.
const FRESH: Duration = Duration::from_secs(60);

/// How long a fetch is tried: a script waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a failure is: whoever asked meanwhile gets it as well, instead of waiting for one of their own.
const FAILURE_FRESH: Duration = Duration::from_secs(5);

/// Why there are no credentials.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("Secrets Manager does not give secret {id}: {why}")]
    Fetch { id: String, why: String, gone: bool },
    #[error("secret {id} {problem}; it must be a JSON object with host, port, username, password and dbname")]
    Shape { id: String, problem: &'static str },
}

impl SecretError {
    /// Whether there is no such secret, or no such version of it. Permissions are granted, services come back, and a
    /// secret that is marked for deletion can be restored: everything else may be another tomorrow.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Fetch { gone: true, .. })
    }
}

/// What a secret holds, and which version of it that is.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    /// What it is called.
    pub name: String,
    /// Its whole ARN.
    pub arn: String,
    pub version: String,
    pub credentials: Credentials,
}

/// One secret's newest answer; its lock is what makes askers share a fetch.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, Result<Fetched, SecretError>)>>>;

pub(crate) struct Secrets {
    client: aws_sdk_secretsmanager::Client,
    slots: Mutex<HashMap<String, Slot>>,
    /// Every password fetched, by secret and its version: what logs must not show, old ones included.
    passwords: Mutex<HashMap<String, BTreeMap<String, Arc<Forms>>>>,
}

impl Secrets {
    pub(crate) fn new(client: aws_sdk_secretsmanager::Client) -> Self {
        Self { client, slots: Mutex::default(), passwords: Mutex::default() }
    }

    /// The credentials of a secret.
    pub(crate) async fn get(&self, id: &str) -> Result<Fetched, SecretError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(id.to_owned()).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some((fetched, answer)) = &*slot
            && fetched.elapsed() < if answer.is_ok() { FRESH } else { FAILURE_FRESH }
        {
            return answer.clone();
        }
        let answer = self.fetch(id, None, PATIENCE).await;
        *slot = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Makes sure that a password can be masked that may have been handed out; does its best only.
    pub(crate) async fn warm(&self, id: &str) {
        if !id.is_empty()
            && self.unknown(id, &BTreeSet::from([String::new()])).next().is_some()
            && let Err(error) = self.get(id).await
        {
            tracing::debug!(%error, "a secret is not known and cannot be masked");
        }
    }

    /// Makes sure that these versions of a secret can be masked, which an earlier process handed out.
    pub(crate) async fn recall(&self, id: &str, versions: &BTreeSet<String>) -> Result<(), SecretError> {
        if self.unknown(id, versions).next().is_none() {
            return Ok(());
        }
        // Mostly it is the one in use; the others are asked for by name.
        match self.get(id).await {
            Ok(_) | Err(SecretError::Shape { .. }) => {}
            Err(error) => return Err(error),
        }
        for version in self.unknown(id, versions) {
            self.fetch(id, Some(version), Duration::ZERO).await?;
        }
        Ok(())
    }

    /// Those of the versions whose password is not known. An empty one stands for any.
    fn unknown<'a>(
        &self,
        id: &str,
        versions: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        let passwords = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
        let known: BTreeSet<String> =
            passwords.get(id).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        let is_known = move |version: &str| match version {
            "" => !known.is_empty(),
            version => known.contains(version),
        };
        versions.iter().map(String::as_str).filter(move |version| !is_known(version))
    }

    /// What must not be shown of a job.
    pub(crate) fn redactor(&self, task_token: &str, id: &str) -> Redactor {
        let passwords = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
        let passwords = passwords.get(id).into_iter().flat_map(BTreeMap::values).cloned();
        Redactor::new(passwords.chain([Arc::new(Forms::exactly(task_token.as_bytes()))]))
    }

    /// Asks for a secret's version, or the one in use, and keeps in mind what must not be shown.
    async fn fetch(
        &self,
        id: &str,
        version: Option<&str>,
        patience: Duration,
    ) -> Result<Fetched, SecretError> {
        let version = version.filter(|version| !version.is_empty()).map(str::to_owned);
        let began = Instant::now();
        let mut backoff = Backoff::up_to(Duration::from_secs(5));
        loop {
            let call = self.client.get_secret_value().secret_id(id).set_version_id(version.clone());
            match call.send().await {
                Ok(answer) => {
                    let fetched = Fetched {
                        name: answer.name().unwrap_or(id).to_owned(),
                        arn: answer.arn().unwrap_or(id).to_owned(),
                        version: answer.version_id().unwrap_or_default().to_owned(),
                        credentials: parse(id, answer.secret_string().unwrap_or_default())?,
                    };
                    let forms = Arc::new(Forms::of_password(&fetched.credentials.password));
                    let mut passwords = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
                    passwords.entry(id.to_owned()).or_default().insert(fetched.version.clone(), forms);
                    return Ok(fetched);
                }
                Err(error) => {
                    // Permissions are granted some day; the script that waits cannot wait for that.
                    let denied = error.code() == Some("AccessDeniedException");
                    let answer = classify(&error);
                    if denied || answer != Answer::Passing || began.elapsed() >= patience {
                        return Err(SecretError::Fetch {
                            id: id.to_owned(),
                            why: crate::callback::why(&error),
                            gone: answer == Answer::NotFound,
                        });
                    }
                    backoff.pause().await;
                }
            }
        }
    }
}

/// Reads a secret as Secrets Manager keeps Redshift's; ports come as numbers and as text.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html>
fn parse(id: &str, text: &str) -> Result<Credentials, SecretError> {
    let wrong = |problem| SecretError::Shape { id: id.to_owned(), problem };
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| wrong("is not JSON"))?;
    let member = |names: &[&str]| {
        names.iter().find_map(|name| match value.get(name)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    };
    let port = member(&["port"]).unwrap_or_else(|| "5439".into());
    if port.parse::<u16>().is_err() {
        return Err(wrong("has a port that is no port number"));
    }
    Ok(Credentials {
        host: member(&["host"]).ok_or_else(|| wrong("has no host"))?,
        port,
        user: member(&["username", "user"]).ok_or_else(|| wrong("has no username"))?,
        password: member(&["password"]).ok_or_else(|| wrong("has no password"))?,
        database: member(&["dbname", "database", "dbName"]).ok_or_else(|| wrong("has no dbname"))?,
    })
}

/// What is wrong with a secret's text; never the text itself.
pub fn secret_problem(id: &str, text: &str) -> Option<String> {
    parse(id, text).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_as_redshift_s_are_kept() {
        let text =
            r#"{"host":"h","port":"5439","username":"u","password":"p","dbname":"d","engine":"redshift"}"#;
        assert_eq!(parse("s", text).unwrap().port, "5439");
        assert_eq!(parse("s", &text.replace("\"5439\"", "5432")).unwrap().port, "5432");
        let error = parse("s", r#"{"password":"hidden"}"#).unwrap_err().to_string();
        assert!(error.contains("has no host") && !error.contains("hidden"));
    }
}
