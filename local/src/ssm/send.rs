//! `SendCommand` and `CancelCommand`.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::AwsError;
use crate::shape::{constraint, parse};

use super::Ssm;
use super::delivery::Parcel;
use super::documents::{self, RUN_SHELL_SCRIPT};
use super::instances;
use super::invocation::{Command, Status};
use super::shell;

/// "TimeoutSeconds: minimum 30, maximum 2,592,000"; "InstanceIds: at most 50"; 3,600 s is the console's and the
/// CLI's documented default
/// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html>).
const TIMEOUT_SECONDS: std::ops::RangeInclusive<i64> = 30..=2_592_000;
const DEFAULT_TIMEOUT_SECONDS: i64 = 3_600;
const MAX_INSTANCES: usize = 50;
const MAX_COMMENT: usize = 100;

/// What is shown in place of a job request.
const HIDDEN: &str = "[hidden]";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendCommand {
    document_name: String,
    #[serde(default)]
    document_version: Option<String>,
    #[serde(default)]
    instance_ids: Vec<String>,
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    timeout_seconds: Option<i64>,
    #[serde(default)]
    comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

impl SendCommand {
    /// The instances, checked but for whether they are known.
    fn check(&mut self) -> Result<(), AwsError> {
        for target in std::mem::take(&mut self.targets) {
            if !target.key.eq_ignore_ascii_case("InstanceIds") {
                return Err(AwsError::client(
                    "InvalidTarget",
                    "The embedded default takes targets with the key InstanceIds only.",
                ));
            }
            self.instance_ids.extend(target.values);
        }
        if self.instance_ids.is_empty() {
            return Err(AwsError::client("InvalidInstanceId", "The command names no instance."));
        }
        if self.instance_ids.len() > MAX_INSTANCES {
            return Err(constraint(
                "instanceIds",
                &self.instance_ids.join(", "),
                "Member must have length less than or equal to 50",
            ));
        }
        let mut seen = std::collections::BTreeSet::new();
        for id in &self.instance_ids {
            instances::check_id(id)?;
            if !seen.insert(id) {
                return Err(AwsError::client(
                    "DuplicateInstanceId",
                    format!("Instance {id} is named twice."),
                ));
            }
        }
        if let Some(timeout) = self.timeout_seconds
            && !TIMEOUT_SECONDS.contains(&timeout)
        {
            return Err(constraint(
                "timeoutSeconds",
                &timeout.to_string(),
                "Member must be between 30 and 2592000",
            ));
        }
        if self.comment.as_ref().is_some_and(|text| text.chars().count() > MAX_COMMENT) {
            return Err(constraint("comment", "...", "Member must have length less than or equal to 100"));
        }
        Ok(())
    }

    /// The parameters as anyone may see them.
    fn shown_parameters(&self) -> Value {
        let mut shown = json!(self.parameters);
        if self.document_name != RUN_SHELL_SCRIPT
            && let Some(request) = shown.get_mut("request")
        {
            *request = json!([HIDDEN]);
        }
        shown
    }
}

impl Ssm {
    pub(super) async fn send_command(&self, body: Value) -> Result<Value, AwsError> {
        let mut request: SendCommand = parse(body)?;
        request.check()?;
        let timeout_seconds = request.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
        let requested_at = self.clock.now();
        let deliver_until = requested_at + timeout_seconds * 1000;
        let execution = shell::execution_timeout(&request.parameters);
        let command = Command {
            seq: 0,
            command_id: uuid::Uuid::new_v4().to_string(),
            document: request.document_name.clone(),
            document_version: String::new(),
            comment: request.comment.clone().unwrap_or_default(),
            parameters: request.shown_parameters(),
            instance_ids: request.instance_ids.clone(),
            timeout_seconds,
            requested_at,
            expires_at: deliver_until + i64::try_from(execution.as_millis()).unwrap_or_default(),
        };

        let parameters = request.parameters.clone();
        let command = self
            .store
            .relaxed(move |tx| {
                for id in &command.instance_ids {
                    if !instances::is_known(tx, id)? {
                        return Ok(Err(instances::unknown(id)));
                    }
                }
                let checked =
                    documents::check(tx, &command.document, request.document_version.as_deref(), &parameters)?;
                let mut command = command;
                command.document_version = match checked {
                    Ok(version) => version,
                    Err(error) => return Ok(Err(error)),
                };
                tx.prepare_cached(
                    "insert into ssm_commands (command_id, document, document_version, comment, parameters,
                         instance_ids, timeout_seconds, requested_at, expires_at)
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute((
                    &command.command_id,
                    &command.document,
                    &command.document_version,
                    &command.comment,
                    command.parameters.to_string(),
                    json!(command.instance_ids).to_string(),
                    command.timeout_seconds,
                    command.requested_at,
                    command.expires_at,
                ))?;
                command.seq = tx.last_insert_rowid();
                let payload = json!(parameters).to_string();
                for id in &command.instance_ids {
                    tx.prepare_cached(
                        "insert into ssm_invocations (seq, instance_id, status, details, deliver_until, payload)
                         values (?1, ?2, 'Pending', 'Pending', ?3, ?4)",
                    )?
                    .execute((command.seq, id, deliver_until, &payload))?;
                }
                Ok(Ok(command))
            })
            .await??;

        for id in &command.instance_ids {
            self.delivery.deliver(Parcel::new(
                (command.seq, id.clone()),
                command.command_id.clone(),
                command.document.clone(),
                request.parameters.clone(),
            ));
        }
        let states = vec![Status::Pending; command.instance_ids.len()];
        Ok(json!({ "Command": command.to_json(&states) }))
    }

    pub(super) async fn cancel_command(&self, body: Value) -> Result<Value, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct CancelCommand {
            command_id: String,
            #[serde(default)]
            instance_ids: Vec<String>,
        }
        let request: CancelCommand = parse(body)?;
        for id in &request.instance_ids {
            instances::check_id(id)?;
        }
        let command_id = request.command_id.clone();
        let found: Option<(i64, String)> = self
            .store
            .read(move |tx| {
                tx.query_row(
                    "select seq, instance_ids from ssm_commands where command_id = ?1",
                    [command_id],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()
            })
            .await?;
        let Some((seq, instance_ids)) = found else {
            return Err(AwsError::client(
                "InvalidCommandId",
                format!("Command {} does not exist.", request.command_id),
            ));
        };
        let all: Vec<String> = serde_json::from_str(&instance_ids).unwrap_or_default();
        let wanted = if request.instance_ids.is_empty() { all } else { request.instance_ids };
        for id in wanted {
            let key = (seq, id);
            if !self.delivery.cancel(&key) {
                let now = self.clock.now();
                self.store
                    .relaxed(move |tx| {
                        tx.execute(
                            "update ssm_invocations set status = 'Cancelled', details = 'Cancelled',
                                 payload = null, ended_at = ?3
                             where seq = ?1 and instance_id = ?2 and status = 'Pending'",
                            (key.0, key.1, now),
                        )
                    })
                    .await?;
            }
        }
        Ok(json!({}))
    }
}
