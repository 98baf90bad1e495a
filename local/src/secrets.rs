//! Secrets Manager.
//!
//! Three kinds of secret. *Configured* ones come from the settings and cannot be changed here. *Provided* ones are
//! asked for when somebody reads them: the private warehouse's connection is one, so only who needs the warehouse
//! waits for it to start. *Created* ones come through `CreateSecret` and live in the store, whose file only we may
//! read; they are not encrypted beyond that.
//!
//! No value is ever logged, and `Debug` shows names only.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::OptionalExtension;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::{Clock, Millis, epoch_seconds};
use crate::place::Place;
use crate::service::{AwsError, Reply, Service};
use crate::shape::{constraint, parse, position};
use crate::store::{Store, StoreError};

/// "SecretString: maximum 65,536 bytes"
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>).
const MAX_VALUE: usize = 65_536;
/// "MaxResults: minimum 1, maximum 100"
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html>).
const MAX_LISTED: usize = 100;

const TABLES: &str = "
    create table if not exists secrets (
        name text primary key,
        value text not null,
        version_id text not null,
        description text not null,
        created_at integer not null,
        changed_at integer not null
    ) without rowid;
";

/// The future of a secret's value; the error is a sentence for the operator.
pub type SecretValue<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

/// Something that knows a secret when asked.
pub trait SecretProvider: Send + Sync {
    /// The secret string, usually JSON.
    fn secret(&self) -> SecretValue<'_>;
}

/// Secrets Manager on this machine.
pub struct Secrets {
    store: Store,
    clock: Clock,
    place: Place,
    opened_at: Millis,
    configured: BTreeMap<String, String>,
    provided: RwLock<HashMap<String, Arc<dyn SecretProvider>>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("configured", &self.configured.keys()).finish_non_exhaustive()
    }
}

/// A secret without its value.
struct Known {
    name: String,
    version_id: String,
    description: String,
    created_at: Millis,
    changed_at: Millis,
}

impl Secrets {
    /// Creates the table; `configured` maps names to secret strings.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(
        store: Store,
        clock: Clock,
        place: Place,
        configured: BTreeMap<String, String>,
    ) -> Result<Self, StoreError> {
        store.migrate(TABLES).await?;
        let opened_at = clock.now();
        Ok(Self { store, clock, place, opened_at, configured, provided: RwLock::default() })
    }

    /// Adds a secret that is asked for when it is read. A configured one of the same name goes first.
    pub fn provide(&self, name: impl Into<String>, provider: Arc<dyn SecretProvider>) {
        self.provided.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), provider);
    }

    fn provider(&self, name: &str) -> Option<Arc<dyn SecretProvider>> {
        self.provided.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Secrets are named by name or by ARN; AWS adds six characters to the name in the ARN.
    fn arn(&self, name: &str) -> String {
        self.place.arn("secretsmanager", &format!("secret:{name}-{SUFFIX}"))
    }

    async fn find(&self, id: &str) -> Result<Known, AwsError> {
        let name = name_of(id);
        if self.configured.contains_key(name) || self.provider(name).is_some() {
            return Ok(self.fixed(name));
        }
        let wanted = name.to_owned();
        self.store
            .read(move |tx| {
                tx.prepare_cached(
                    "select name, version_id, description, created_at, changed_at from secrets where name = ?1",
                )?
                .query_row([wanted], known)
                .optional()
            })
            .await?
            .ok_or_else(not_found)
    }

    /// A configured or provided secret: its version never changes.
    fn fixed(&self, name: &str) -> Known {
        Known {
            name: name.to_owned(),
            version_id: uuid::Uuid::nil().to_string(),
            description: String::new(),
            created_at: self.opened_at,
            changed_at: self.opened_at,
        }
    }

    async fn value(&self, name: &str) -> Result<String, AwsError> {
        if let Some(value) = self.configured.get(name) {
            return Ok(value.clone());
        }
        if let Some(provider) = self.provider(name) {
            return provider.secret().await.map_err(|sentence| {
                AwsError::client(
                    "InvalidRequestException",
                    format!("The secret {name} cannot be had: {sentence}"),
                )
            });
        }
        let wanted = name.to_owned();
        self.store
            .read(move |tx| {
                tx.query_row("select value from secrets where name = ?1", [wanted], |row| row.get(0))
                    .optional()
            })
            .await?
            .ok_or_else(not_found)
    }

    async fn get_secret_value(&self, body: Value) -> Result<Value, AwsError> {
        let request: Identified = parse(body)?;
        let known = self.find(&request.secret_id).await?;
        let stage = request.version_stage.as_deref().unwrap_or(CURRENT);
        if stage != CURRENT || request.version_id.is_some_and(|id| id != known.version_id) {
            return Err(AwsError::client(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for that version.",
            ));
        }
        let value = self.value(&known.name).await?;
        Ok(json!({
            "ARN": self.arn(&known.name),
            "Name": known.name,
            "VersionId": known.version_id,
            "SecretString": value,
            "VersionStages": [CURRENT],
            "CreatedDate": epoch_seconds(known.changed_at),
        }))
    }

    fn describe(&self, known: &Known) -> Value {
        json!({
            "ARN": self.arn(&known.name),
            "Name": known.name,
            "Description": known.description,
            "LastChangedDate": epoch_seconds(known.changed_at),
            "CreatedDate": epoch_seconds(known.created_at),
            "Tags": [],
        })
    }

    async fn describe_secret(&self, body: Value) -> Result<Value, AwsError> {
        let request: Identified = parse(body)?;
        let known = self.find(&request.secret_id).await?;
        let mut reply = self.describe(&known);
        reply["VersionIdsToStages"] = json!({ known.version_id: [CURRENT] });
        Ok(reply)
    }

    async fn list_secrets(&self, body: Value) -> Result<Value, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct ListSecrets {
            #[serde(default)]
            max_results: Option<usize>,
            #[serde(default)]
            next_token: Option<String>,
        }
        let request: ListSecrets = parse(body)?;
        let skip = position(request.next_token.as_deref(), "InvalidNextTokenException")?;
        let (skip, limit) =
            (usize::try_from(skip).unwrap_or(usize::MAX), request.max_results.unwrap_or(MAX_LISTED));
        let mut all: Vec<Known> = self
            .store
            .read(|tx| {
                tx.prepare_cached(
                    "select name, version_id, description, created_at, changed_at from secrets",
                )?
                .query_map([], known)?
                .collect()
            })
            .await?;
        let provided: Vec<String> =
            self.provided.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let fixed = self.configured.keys().chain(&provided);
        all.extend(fixed.map(|name| self.fixed(name)));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.name == b.name);
        let page: Vec<Value> = all
            .iter()
            .skip(skip)
            .take(limit.clamp(1, MAX_LISTED))
            .map(|known| {
                let mut entry = self.describe(known);
                entry["SecretVersionsToStages"] = json!({ known.version_id.as_str(): [CURRENT] });
                entry
            })
            .collect();
        let next = skip.saturating_add(page.len());
        let mut reply = json!({ "SecretList": page });
        if next < all.len() {
            reply["NextToken"] = json!(next.to_string());
        }
        Ok(reply)
    }

    async fn create_secret(&self, body: Value) -> Result<Value, AwsError> {
        let request: Created = parse(body)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        if request.name.is_empty() || request.name.len() > 512 || !request.name.chars().all(plain) {
            return Err(constraint(
                "name",
                &request.name,
                "Member must have 1 to 512 of the characters a-zA-Z0-9/_+=.@-",
            ));
        }
        let value = checked_value(request.secret_string)?;
        if self.find(&request.name).await.is_ok() {
            return Err(exists(&request.name));
        }
        let (arn, name, now) = (self.arn(&request.name), request.name.clone(), self.clock.now());
        let version_id = request.client_request_token.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let version = version_id.clone();
        let description = request.description.unwrap_or_default();
        let added = self
            .store
            .durable(move |tx| {
                tx.execute(
                    "insert or ignore into secrets values (?1, ?2, ?3, ?4, ?5, ?5)",
                    (name, value, version, description, now),
                )
            })
            .await?;
        if added == 0 {
            return Err(exists(&request.name));
        }
        Ok(json!({ "ARN": arn, "Name": request.name, "VersionId": version_id }))
    }

    async fn put_secret_value(&self, body: Value) -> Result<Value, AwsError> {
        let request: Put = parse(body)?;
        let known = self.find(&request.secret_id).await?;
        let name = known.name;
        self.refuse_fixed(&name)?;
        let value = checked_value(request.secret_string)?;
        let version_id = request.client_request_token.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let (wanted, version, now) = (name.clone(), version_id.clone(), self.clock.now());
        self.store
            .durable(move |tx| {
                tx.execute(
                    "update secrets set value = ?2, version_id = ?3, changed_at = ?4 where name = ?1",
                    (wanted, value, version, now),
                )
            })
            .await?;
        Ok(json!({
            "ARN": self.arn(&name), "Name": name, "VersionId": version_id, "VersionStages": [CURRENT]
        }))
    }

    async fn delete_secret(&self, body: Value) -> Result<Value, AwsError> {
        let request: Identified = parse(body)?;
        let name = self.find(&request.secret_id).await?.name;
        self.refuse_fixed(&name)?;
        let wanted = name.clone();
        self.store.durable(move |tx| tx.execute("delete from secrets where name = ?1", [wanted])).await?;
        Ok(json!({
            "ARN": self.arn(&name), "Name": name, "DeletionDate": epoch_seconds(self.clock.now())
        }))
    }

    fn refuse_fixed(&self, name: &str) -> Result<(), AwsError> {
        if self.configured.contains_key(name) || self.provider(name).is_some() {
            return Err(AwsError::client(
                "InvalidRequestException",
                format!("The secret {name} comes from the settings; change it there."),
            ));
        }
        Ok(())
    }
}

/// The label of the version in use.
const CURRENT: &str = "AWSCURRENT";

/// Where AWS has six random characters, everything local has these.
const SUFFIX: &str = "LOCAL0";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identified {
    secret_id: String,
    #[serde(default)]
    version_id: Option<String>,
    #[serde(default)]
    version_stage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    secret_string: Option<String>,
    #[serde(default)]
    client_request_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    secret_id: String,
    #[serde(default)]
    secret_string: Option<String>,
    #[serde(default)]
    client_request_token: Option<String>,
}

fn checked_value(value: Option<String>) -> Result<String, AwsError> {
    let value = value.ok_or_else(|| {
        AwsError::client("InvalidParameterException", "The embedded default keeps secrets as SecretString.")
    })?;
    if value.len() > MAX_VALUE {
        return Err(constraint("secretString", "[hidden]", "Member must have at most 65536 bytes"));
    }
    Ok(value)
}

fn name_of(id: &str) -> &str {
    match id.split_once(":secret:") {
        Some((_, rest)) => rest.strip_suffix(SUFFIX).and_then(|rest| rest.strip_suffix('-')).unwrap_or(rest),
        None => id,
    }
}

fn known(row: &rusqlite::Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        name: row.get(0)?,
        version_id: row.get(1)?,
        description: row.get(2)?,
        created_at: row.get(3)?,
        changed_at: row.get(4)?,
    })
}

fn not_found() -> AwsError {
    AwsError::client("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

fn exists(name: &str) -> AwsError {
    AwsError::client(
        "ResourceExistsException",
        format!("The operation failed because the secret {name} already exists."),
    )
}

impl Service for Secrets {
    fn target_prefix(&self) -> &'static str {
        "secretsmanager"
    }

    fn sdk_name(&self) -> &'static str {
        "secretsmanager"
    }

    fn error_prefix(&self) -> &'static str {
        "SecretsManager"
    }

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        Box::pin(async move {
            match action {
                "CreateSecret" => self.create_secret(body).await,
                "DeleteSecret" => self.delete_secret(body).await,
                "DescribeSecret" => self.describe_secret(body).await,
                "GetSecretValue" => self.get_secret_value(body).await,
                "ListSecrets" => self.list_secrets(body).await,
                "PutSecretValue" => self.put_secret_value(body).await,
                _ => Err(AwsError::unknown_action("Secrets Manager", action)),
            }
        })
    }
}
