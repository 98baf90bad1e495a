//! Executions: starting, stopping, describing, listing.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::StepFunctions;
use super::machines::{next_page, page};
use super::names::{check_arn, check_name, no_execution, page_size};
use crate::asl::actor::{Message, Refusal};
use crate::asl::failure::Failure;
use crate::asl::journal;
use crate::asl::limits;
use crate::asl::payload::Payload;
use crate::asl::scope::ExecutionFacts;
use crate::asl::token::TaskRef;
use crate::clock::epoch_seconds;
use crate::service::AwsError;
use crate::shape;
use crate::store::StoreError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    state_machine_arn: String,
    name: Option<String>,
    input: Option<String>,
    trace_header: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stop {
    execution_arn: String,
    error: Option<String>,
    cause: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByArn {
    execution_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    state_machine_arn: String,
    status_filter: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

/// The task that starts a nested execution.
#[derive(Clone, Copy)]
pub(super) struct Parent {
    pub(super) task: TaskRef,
    /// It waits for the execution's end.
    pub(super) awaits: bool,
}

/// What a start found under its name.
struct Known {
    id: i64,
    arn: String,
    status: String,
    input: String,
    started_ms: i64,
    stopped_ms: Option<i64>,
}

/// How an execution stands.
struct Standing {
    id: i64,
    status: String,
    stopped_ms: Option<i64>,
}

enum Inserted {
    New,
    /// The same start again.
    Same(Known),
    Taken,
}

impl StepFunctions {
    pub(super) async fn start_execution(
        &self,
        body: Value,
        parent: Option<Parent>,
    ) -> Result<Value, AwsError> {
        let request: Start = shape::parse(body)?;
        let name = match request.name {
            Some(name) => {
                check_name(&name)?;
                name
            }
            None => uuid::Uuid::new_v4().to_string(),
        };
        let input = request.input.unwrap_or_else(|| "{}".into());
        let invalid = |why: &str| {
            AwsError::client(
                "InvalidExecutionInput",
                format!("Invalid State Machine Execution Input: '{why}'"),
            )
        };
        if input.len() > limits::PAYLOAD_BYTES {
            return Err(invalid(&format!("The input exceeds {} bytes", limits::PAYLOAD_BYTES)));
        }
        let payload =
            Payload::parse(&input).map_err(|error| invalid(&format!("The input is not JSON: {error}")))?;
        let machine = self.machine(&request.state_machine_arn).await?;
        let definition = self
            .engine
            .definition(machine.definition, &machine.text)
            .map_err(|why| AwsError::client("InvalidDefinition", why))?;
        let started_ms = self.now();
        let arn = self.place.arn("states", &format!("execution:{}:{name}", machine.name));
        let facts = ExecutionFacts {
            arn: arn.clone(),
            name: name.clone(),
            role_arn: machine.role_arn.clone(),
            started_ms,
            input: payload,
            machine_arn: machine.arn.clone(),
            machine_name: machine.name.clone(),
        };
        // The first step is taken before it is known whether the name is free: then it is written together with
        // the execution, or never happened.
        let mut run = self.engine.begin(facts, definition);
        let step = run.take_step();
        let id = run.id;
        let engine = Arc::clone(&self.engine);
        let wanted = arn.clone();
        // A task of its own: a caller who goes away must not leave an execution that is written and that nobody runs.
        let begun = tokio::spawn(async move {
            let arn = wanted;
            let writes = step.writes;
            let inserted = engine
                .store
                .durable(move |tx| {
                    if let Some(parent) = parent
                        && let Some(known) = child_of(tx, parent.task)?
                    {
                        return Ok(Inserted::Same(known));
                    }
                    if let Some(known) = by_arn(tx, &arn)? {
                        if known.status == "RUNNING" && known.input == input {
                            return Ok(Inserted::Same(known));
                        }
                        let free_from = known.stopped_ms.map(|at| at + limits::NAME_DAYS * 86_400_000);
                        if free_from.is_none_or(|at| at > started_ms) {
                            return Ok(Inserted::Taken);
                        }
                        forget(tx, known.id)?;
                    }
                    tx.prepare_cached(
                        "insert into sfn_execution (id, arn, name, machine_arn, role_arn, definition, status, input,
                            started_ms, parent_execution, parent_frame, parent_event, parent_awaits, trace_header)
                         values (?1, ?2, ?3, ?4, ?5, ?6, 'RUNNING', ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                    )?
                    .execute(params![
                        id,
                        arn,
                        name,
                        machine.arn,
                        machine.role_arn,
                        machine.definition,
                        input,
                        started_ms,
                        parent.map(|parent| parent.task.execution),
                        parent.map(|parent| parent.task.frame),
                        parent.map(|parent| i64::try_from(parent.task.event).unwrap_or_default()),
                        parent.map(|parent| parent.awaits),
                        request.trace_header,
                    ])?;
                    journal::apply(tx, id, &writes)?;
                    Ok(Inserted::New)
                })
                .await?;
            if matches!(inserted, Inserted::New) {
                engine.adopt(run, step.effects);
            }
            Ok::<_, StoreError>(inserted)
        });
        let stopping = |_| AwsError::server("The embedded default is stopping");
        match begun.await.map_err(stopping)?? {
            Inserted::New => Ok(json!({ "executionArn": arn, "startDate": epoch_seconds(started_ms) })),
            Inserted::Same(known) => {
                Ok(json!({ "executionArn": known.arn, "startDate": epoch_seconds(known.started_ms) }))
            }
            Inserted::Taken => {
                Err(AwsError::client("ExecutionAlreadyExists", format!("Execution Already Exists: '{arn}'")))
            }
        }
    }

    pub(super) async fn stop_execution(&self, body: Value) -> Result<Value, AwsError> {
        let request: Stop = shape::parse(body)?;
        let arn = request.execution_arn;
        let known = self.execution(&arn).await?;
        if known.status == "RUNNING"
            && let Some(handle) = self.engine.handle(known.id)
        {
            let (reply, answer) = oneshot::channel();
            let failure = Failure { error: request.error, cause: request.cause };
            if handle.inbox.send(Message::Stop { failure, reply }).is_ok() {
                match answer.await {
                    Ok(Ok(()) | Err(Refusal::Closed)) | Err(_) => {}
                    Ok(Err(Refusal::NotWritten(why))) => return Err(AwsError::server(why)),
                }
            }
        }
        // Its end, whoever brought it about, is written by now, unless nobody has taken it up yet.
        let known = self.execution(&arn).await?;
        let stopped_ms = known.stopped_ms.ok_or_else(not_taken_up)?;
        Ok(json!({ "stopDate": epoch_seconds(stopped_ms) }))
    }

    pub(super) async fn describe_execution(&self, body: Value) -> Result<Value, AwsError> {
        let ByArn { execution_arn: arn } = shape::parse(body)?;
        self.description(&arn).await
    }

    pub(super) async fn description(&self, arn: &str) -> Result<Value, AwsError> {
        check_arn(arn, "execution")?;
        let wanted = arn.to_owned();
        let found = self.store().read(move |tx| describe(tx, &wanted)).await?;
        found.ok_or_else(|| no_execution(arn))
    }

    pub(super) async fn list_executions(&self, body: Value) -> Result<Value, AwsError> {
        let request: List = shape::parse(body)?;
        let size = page_size(request.max_results)?;
        let skip = shape::position(request.next_token.as_deref(), "InvalidToken")?;
        let machine = self.machine(&request.state_machine_arn).await?;
        let mut executions: Vec<Value> = self
            .store()
            .read(move |tx| {
                let mut rows = tx.prepare(
                    "select arn, machine_arn, name, status, started_ms, stopped_ms from sfn_execution
                     where machine_arn = ?1 and status = coalesce(?2, status)
                     order by started_ms desc, id desc limit ?3 offset ?4",
                )?;
                rows.query_map(params![machine.arn, request.status_filter, size + 1, skip], |row| {
                    let mut execution = json!({
                        "executionArn": row.get::<_, String>(0)?,
                        "stateMachineArn": row.get::<_, String>(1)?,
                        "name": row.get::<_, String>(2)?,
                        "status": row.get::<_, String>(3)?,
                        "startDate": epoch_seconds(row.get(4)?),
                    });
                    if let Some(stopped_ms) = row.get(5)? {
                        execution["stopDate"] = epoch_seconds(stopped_ms);
                    }
                    Ok(execution)
                })?
                .collect()
            })
            .await?;
        let more = next_page(&mut executions, size, skip);
        Ok(page("executions", executions, more))
    }

    async fn execution(&self, arn: &str) -> Result<Standing, AwsError> {
        check_arn(arn, "execution")?;
        let wanted = arn.to_owned();
        let found = self.store().read(move |tx| standing(tx, &wanted)).await?;
        found.ok_or_else(|| no_execution(arn))
    }

    /// The number of the execution and whether it runs.
    pub(super) async fn number_of(&self, arn: &str) -> Result<(i64, bool), AwsError> {
        let known = self.execution(arn).await?;
        Ok((known.id, known.status == "RUNNING"))
    }
}

/// An execution is running on disk, but nobody runs it yet: the process is starting. Clients retry this.
pub(super) fn not_taken_up() -> AwsError {
    AwsError::server("The execution has not been taken up yet; try again")
}

const KNOWN: &str = "select id, arn, status, input, started_ms, stopped_ms from sfn_execution";

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        id: row.get(0)?,
        arn: row.get(1)?,
        status: row.get(2)?,
        input: row.get(3)?,
        started_ms: row.get(4)?,
        stopped_ms: row.get(5)?,
    })
}

fn standing(connection: &Connection, arn: &str) -> rusqlite::Result<Option<Standing>> {
    connection
        .prepare_cached("select id, status, stopped_ms from sfn_execution where arn = ?1")?
        .query_row([arn], |row| {
            Ok(Standing { id: row.get(0)?, status: row.get(1)?, stopped_ms: row.get(2)? })
        })
        .optional()
}

fn by_arn(connection: &Connection, arn: &str) -> rusqlite::Result<Option<Known>> {
    connection.prepare_cached(&format!("{KNOWN} where arn = ?1"))?.query_row([arn], known).optional()
}

fn child_of(connection: &Connection, task: TaskRef) -> rusqlite::Result<Option<Known>> {
    connection
        .prepare_cached(&format!(
            "{KNOWN} where parent_execution = ?1 and parent_frame = ?2 and parent_event = ?3"
        ))?
        .query_row(params![task.execution, task.frame, i64::try_from(task.event).unwrap_or_default()], known)
        .optional()
}

fn describe(connection: &Connection, arn: &str) -> rusqlite::Result<Option<Value>> {
    connection
        .prepare_cached(
            "select machine_arn, name, status, started_ms, stopped_ms, input, output, error, cause, trace_header
             from sfn_execution where arn = ?1",
        )?
        .query_row([arn], |row| {
            let status: String = row.get(2)?;
            let mut execution = json!({
                "executionArn": arn,
                "stateMachineArn": row.get::<_, String>(0)?,
                "name": row.get::<_, String>(1)?,
                "status": status,
                "startDate": epoch_seconds(row.get(3)?),
                "input": row.get::<_, String>(5)?,
                "inputDetails": { "included": true },
                "redriveCount": 0,
                "redriveStatus": "NOT_REDRIVABLE",
                "redriveStatusReason": "The embedded default does not redrive executions",
            });
            if let Some(stopped_ms) = row.get(4)? {
                execution["stopDate"] = epoch_seconds(stopped_ms);
            }
            if let Some(output) = journal::text(connection, row.get_ref(6)?)? {
                execution["output"] = json!(output);
                execution["outputDetails"] = json!({ "included": true });
            }
            for (member, column) in [("error", 7), ("cause", 8), ("traceHeader", 9)] {
                if let Some(text) = row.get::<_, Option<String>>(column)? {
                    execution[member] = json!(text);
                }
            }
            Ok(execution)
        })
        .optional()
}

/// Removes an execution whose name is free again.
fn forget(tx: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    let (first, last) = journal::keys(id);
    tx.execute("delete from sfn_event where id between ?1 and ?2", [first, last])?;
    tx.execute("delete from sfn_payload where id between ?1 and ?2", [first, last])?;
    tx.execute("delete from sfn_execution where id = ?1", [id])?;
    Ok(())
}
