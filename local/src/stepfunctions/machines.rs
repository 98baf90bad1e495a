//! State machines.
//!
//! Definitions are kept by their content: an execution refers to the text it started with, so updating or deleting
//! its machine does not touch it.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::StepFunctions;
use super::names::{check_arn, check_name, no_machine, page_size};
use crate::asl::definition::{Definition, Diagnostic, Kind};
use crate::clock::epoch_seconds;
use crate::service::AwsError;
use crate::shape;

/// A machine's row.
pub(super) struct Machine {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) role_arn: String,
    pub(super) definition: i64,
    pub(super) text: String,
    settings: String,
    revision: String,
    created_ms: i64,
    updated_ms: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    name: String,
    definition: String,
    #[serde(default)]
    role_arn: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    tags: Value,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    state_machine_arn: String,
    definition: Option<String>,
    role_arn: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByArn {
    state_machine_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Validate {
    definition: String,
    max_results: Option<usize>,
}

/// What is kept and given back without meaning anything here.
const SETTINGS: [&str; 3] = ["loggingConfiguration", "tracingConfiguration", "encryptionConfiguration"];

impl StepFunctions {
    pub(super) async fn create_state_machine(&self, body: Value) -> Result<Value, AwsError> {
        let request: Create = shape::parse(body)?;
        check_name(&request.name)?;
        if request.kind.as_deref().is_some_and(|kind| kind != "STANDARD") {
            return Err(AwsError::client(
                "StateMachineTypeNotSupported",
                "The embedded default runs STANDARD state machines only",
            ));
        }
        self.check_definition(&request.definition)?;
        let arn = self.place.arn("states", &format!("stateMachine:{}", request.name));
        let now = self.now();
        let settings = settings(request.rest);
        let tags = if request.tags.is_array() { request.tags } else { json!([]) };
        let created = {
            let arn = arn.clone();
            self.store()
                .durable(move |tx| {
                    if let Some(known) = machine(tx, &arn)? {
                        // The same again is the same machine; role and tags do not count.
                        let same = known.text == request.definition && known.settings == settings;
                        return Ok(same.then_some(known.created_ms));
                    }
                    let definition = keep_definition(tx, &request.definition)?;
                    tx.execute(
                        "insert into sfn_machine (arn, name, definition, role_arn, type, settings, tags, revision,
                                                  created_ms, updated_ms)
                         values (?1, ?2, ?3, ?4, 'STANDARD', ?5, ?6, ?7, ?8, ?8)",
                        params![
                            arn,
                            request.name,
                            definition,
                            request.role_arn,
                            settings,
                            tags.to_string(),
                            uuid::Uuid::new_v4().to_string(),
                            now
                        ],
                    )?;
                    Ok(Some(now))
                })
                .await?
        };
        match created {
            Some(created_ms) => {
                Ok(json!({ "stateMachineArn": arn, "creationDate": epoch_seconds(created_ms) }))
            }
            None => Err(AwsError::client(
                "StateMachineAlreadyExists",
                format!("State Machine Already Exists: '{arn}'"),
            )),
        }
    }

    pub(super) async fn update_state_machine(&self, body: Value) -> Result<Value, AwsError> {
        let request: Update = shape::parse(body)?;
        let arn = request.state_machine_arn;
        check_arn(&arn, "stateMachine")?;
        let names_settings = SETTINGS.iter().any(|name| request.rest.contains_key(*name));
        if request.definition.is_none() && request.role_arn.is_none() && !names_settings {
            return Err(AwsError::client(
                "MissingRequiredParameter",
                "Either the definition, the role ARN, or a configuration must be specified",
            ));
        }
        if let Some(definition) = &request.definition {
            self.check_definition(definition)?;
        }
        let now = self.now();
        let revision = uuid::Uuid::new_v4().to_string();
        let updated = {
            let (arn, revision) = (arn.clone(), revision.clone());
            self.store()
                .durable(move |tx| {
                    let definition =
                        request.definition.map(|definition| keep_definition(tx, &definition)).transpose()?;
                    let settings = names_settings.then(|| settings(request.rest));
                    tx.execute(
                        "update sfn_machine set definition = coalesce(?2, definition),
                            role_arn = coalesce(?3, role_arn), settings = coalesce(?4, settings), revision = ?5,
                            updated_ms = ?6
                         where arn = ?1",
                        params![arn, definition, request.role_arn, settings, revision, now],
                    )
                })
                .await?
        };
        if updated == 0 {
            return Err(no_machine(&arn));
        }
        Ok(json!({ "updateDate": epoch_seconds(now), "revisionId": revision }))
    }

    pub(super) async fn delete_state_machine(&self, body: Value) -> Result<Value, AwsError> {
        let ByArn { state_machine_arn: arn } = shape::parse(body)?;
        check_arn(&arn, "stateMachine")?;
        self.store().durable(move |tx| tx.execute("delete from sfn_machine where arn = ?1", [arn])).await?;
        Ok(json!({}))
    }

    pub(super) async fn describe_state_machine(&self, body: Value) -> Result<Value, AwsError> {
        let ByArn { state_machine_arn: arn } = shape::parse(body)?;
        let machine = self.machine(&arn).await?;
        let mut answer = described(&machine);
        answer.insert("status".into(), json!("ACTIVE"));
        answer.insert("type".into(), json!("STANDARD"));
        answer.insert("creationDate".into(), epoch_seconds(machine.created_ms));
        Ok(Value::Object(answer))
    }

    pub(super) async fn describe_state_machine_for_execution(&self, body: Value) -> Result<Value, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Request {
            execution_arn: String,
        }
        let Request { execution_arn: arn } = shape::parse(body)?;
        check_arn(&arn, "execution")?;
        let found = {
            let arn = arn.clone();
            self.store()
                .read(move |tx| {
                    tx.query_row(
                        "select e.machine_arn, e.role_arn, d.body, coalesce(m.updated_ms, e.started_ms), m.revision
                         from sfn_execution e join sfn_definition d on d.id = e.definition
                         left join sfn_machine m on m.arn = e.machine_arn
                         where e.arn = ?1",
                        [arn],
                        |row| {
                            let machine: String = row.get(0)?;
                            let mut answer = json!({
                                "name": machine.rsplit(':').next(),
                                "stateMachineArn": machine,
                                "roleArn": row.get::<_, String>(1)?,
                                "definition": row.get::<_, String>(2)?,
                                "updateDate": epoch_seconds(row.get(3)?),
                            });
                            if let Some(revision) = row.get::<_, Option<String>>(4)? {
                                answer["revisionId"] = json!(revision);
                            }
                            Ok(answer)
                        },
                    )
                    .optional()
                })
                .await?
        };
        found.ok_or_else(|| super::names::no_execution(&arn))
    }

    pub(super) async fn list_state_machines(&self, body: Value) -> Result<Value, AwsError> {
        let request: List = shape::parse(body)?;
        let size = page_size(request.max_results)?;
        let skip = shape::position(request.next_token.as_deref(), "InvalidToken")?;
        let mut machines: Vec<Value> = self
            .store()
            .read(move |tx| {
                let mut rows = tx.prepare(
                    "select arn, name, created_ms from sfn_machine order by name limit ?1 offset ?2",
                )?;
                rows.query_map([size + 1, skip], |row| {
                    Ok(json!({
                        "stateMachineArn": row.get::<_, String>(0)?,
                        "name": row.get::<_, String>(1)?,
                        "type": "STANDARD",
                        "creationDate": epoch_seconds(row.get(2)?),
                    }))
                })?
                .collect()
            })
            .await?;
        let more = next_page(&mut machines, size, skip);
        Ok(page("stateMachines", machines, more))
    }

    pub(super) async fn machine(&self, arn: &str) -> Result<Machine, AwsError> {
        check_arn(arn, "stateMachine")?;
        let wanted = arn.to_owned();
        let found = self.store().read(move |tx| machine(tx, &wanted)).await?;
        found.ok_or_else(|| no_machine(arn))
    }

    /// Refuses what the interpreter could not run, and tasks of services there are none of.
    fn check_definition(&self, text: &str) -> Result<(), AwsError> {
        let definition = Definition::read(text).map_err(|found| invalid(&found))?;
        let mut missing: Vec<Diagnostic> = Vec::new();
        for state in definition.states.values() {
            if let Kind::Task(task) = &state.kind
                && self.engine.services.by_sdk_name(task.resource.integration.service()).is_none()
            {
                missing.push(Diagnostic {
                    code: "SCHEMA_VALIDATION_FAILED",
                    message: format!(
                        "The resource provided {:?} is not recognized. The value is not a valid resource ARN, or the \
                         resource is not available in the embedded default.",
                        task.resource
                    ),
                    location: format!("/States/{}/Resource", state.name),
                });
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(invalid(&missing)) }
    }
}

pub(super) fn validate_definition(body: Value) -> Result<Value, AwsError> {
    let request: Validate = shape::parse(body)?;
    let mut found = Definition::read(&request.definition).err().unwrap_or_default();
    let most = match request.max_results {
        None | Some(0) => 100,
        Some(most) => most.min(100),
    };
    let truncated = found.len() > most;
    found.truncate(most);
    let diagnostics: Vec<Value> = found
        .iter()
        .map(|found| {
            json!({
                "severity": "ERROR", "code": found.code, "message": found.message, "location": found.location,
            })
        })
        .collect();
    let result = if diagnostics.is_empty() { "OK" } else { "FAIL" };
    Ok(json!({ "result": result, "diagnostics": diagnostics, "truncated": truncated }))
}

fn invalid(found: &[Diagnostic]) -> AwsError {
    let all: Vec<_> = found.iter().map(ToString::to_string).collect();
    AwsError::client("InvalidDefinition", format!("Invalid State Machine Definition: '{}'", all.join(", ")))
}

fn settings(rest: Map<String, Value>) -> String {
    let kept: Map<_, _> = rest.into_iter().filter(|(name, _)| SETTINGS.contains(&name.as_str())).collect();
    Value::Object(kept).to_string()
}

fn described(machine: &Machine) -> Map<String, Value> {
    let mut answer = match serde_json::from_str(&machine.settings) {
        Ok(Value::Object(settings)) => settings,
        _ => Map::new(),
    };
    answer.insert("stateMachineArn".into(), json!(machine.arn));
    answer.insert("name".into(), json!(machine.name));
    answer.insert("definition".into(), json!(machine.text));
    answer.insert("roleArn".into(), json!(machine.role_arn));
    // A machine that was never updated has its first revision without a name.
    if machine.updated_ms != machine.created_ms {
        answer.insert("revisionId".into(), json!(machine.revision));
    }
    answer
}

fn machine(connection: &Connection, arn: &str) -> rusqlite::Result<Option<Machine>> {
    connection
        .prepare_cached(
            "select m.arn, m.name, m.role_arn, m.definition, d.body, m.settings, m.revision, m.created_ms,
                    m.updated_ms
             from sfn_machine m join sfn_definition d on d.id = m.definition where m.arn = ?1",
        )?
        .query_row([arn], |row| {
            Ok(Machine {
                arn: row.get(0)?,
                name: row.get(1)?,
                role_arn: row.get(2)?,
                definition: row.get(3)?,
                text: row.get(4)?,
                settings: row.get(5)?,
                revision: row.get(6)?,
                created_ms: row.get(7)?,
                updated_ms: row.get(8)?,
            })
        })
        .optional()
}

fn keep_definition(tx: &Transaction<'_>, text: &str) -> rusqlite::Result<i64> {
    let digest = Sha256::digest(text.as_bytes()).to_vec();
    tx.execute("insert or ignore into sfn_definition (sha256, body) values (?1, ?2)", params![digest, text])?;
    tx.query_row("select id from sfn_definition where sha256 = ?1", [digest], |row| row.get(0))
}

/// An answer with a list; `nextToken` is there only when there is more.
pub(super) fn page(name: &str, entries: Vec<Value>, more: Option<String>) -> Value {
    let mut answer = Map::new();
    answer.insert(name.to_owned(), Value::Array(entries));
    if let Some(more) = more {
        answer.insert("nextToken".into(), json!(more));
    }
    Value::Object(answer)
}

/// Cuts a page that was read with one entry too many, and says where the next one begins.
pub(super) fn next_page(entries: &mut Vec<Value>, size: i64, skip: i64) -> Option<String> {
    let size_here = usize::try_from(size).unwrap_or(usize::MAX);
    let more = entries.len() > size_here;
    entries.truncate(size_here);
    more.then(|| (skip + size).to_string())
}
