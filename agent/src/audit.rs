//! The job's audit record: `running` once it runs for longer than a moment, then how it ended.
//!
//! One task writes for one job, so its writes are in order; it always writes the newest state and skips what is older.
//! A short job therefore costs one write. Every write is conditional: a final record stays as it is, whoever wrote it.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use rsqlflow_config::audit::{AttemptAudit, EXPIRES_AT, JobAudit, Status, expires_at};
use rsqlflow_config::names;
use tokio::sync::watch;

use crate::classify::{Answer, Backoff, classify};
use crate::journal::{StoredAttempt, StoredJob};
use crate::outcome::Outcome;

/// A job that ends sooner gets no `running` record of its own.
const RUNNING_AFTER: Duration = Duration::from_millis(100);

/// Longest `error_message`: what a job printed last, and how it ended, which stands after it. The rest of the item is
/// small and attempts are few.
const MESSAGE_MAX: usize = crate::message::MESSAGE_MAX + 1024;

/// The job audit table.
pub(crate) struct Table {
    pub(crate) client: aws_sdk_dynamodb::Client,
    pub(crate) name: String,
    /// Days after which its records may be removed; 0 for never.
    pub(crate) days: u32,
}

/// Writes what `records` holds until the final record is written.
pub(crate) async fn keep(table: Table, mut records: watch::Receiver<Option<JobAudit>>) {
    let is_final =
        |record: &Option<JobAudit>| record.as_ref().is_some_and(|record| record.execution_status.is_final());
    loop {
        if records.wait_for(Option::is_some).await.is_err() {
            return;
        }
        // Either the final record comes within the moment, or what is there is worth a write.
        drop(tokio::time::timeout(RUNNING_AFTER, records.wait_for(is_final)).await);
        let mut backoff = Backoff::default();
        let written = loop {
            let Some(record) = records.borrow_and_update().clone() else { return };
            match write(&table, &record).await {
                Ok(()) => {
                    if backoff.has_paused() {
                        tracing::info!(job_name = record.job_name, "the audit record is written");
                    }
                    break record;
                }
                Err(error) => {
                    if backoff.worth_telling() {
                        tracing::warn!(
                            job_name = record.job_name,
                            error,
                            "the audit record could not be written; trying again"
                        );
                    }
                    // A newer record is written sooner.
                    tokio::select! { () = backoff.pause() => {}, _ = records.changed() => {} }
                }
            }
        };
        if written.execution_status.is_final() || records.changed().await.is_err() {
            return;
        }
    }
}

/// One conditional write. `Ok` where the record is written or can never be.
async fn write(table: &Table, record: &JobAudit) -> Result<(), String> {
    let mut item: std::collections::HashMap<String, AttributeValue> = match serde_dynamo::to_item(record) {
        Ok(item) => item,
        Err(error) => {
            tracing::error!(%error, "an audit record cannot be written as an item");
            return Ok(());
        }
    };
    if let Some(time) = expires_at(&record.execution_start_ts, table.days) {
        item.insert(EXPIRES_AT.into(), AttributeValue::N(time.to_string()));
    }
    let mut call = table.client.update_item().table_name(&table.name);
    let mut sets = Vec::new();
    for (index, (name, value)) in item.into_iter().enumerate() {
        if name == "job_name" || name == "workflow_execution_id" {
            call = call.key(name, value);
        } else {
            sets.push(format!("#a{index} = :a{index}"));
            call = call
                .expression_attribute_names(format!("#a{index}"), name)
                .expression_attribute_values(format!(":a{index}"), value);
        }
    }
    let mut finals = Vec::new();
    for (index, status) in Status::FINAL.into_iter().enumerate() {
        finals.push(format!(":f{index}"));
        call = call.expression_attribute_values(format!(":f{index}"), AttributeValue::S(status.to_string()));
    }
    let result = call
        .expression_attribute_names("#status", "execution_status")
        .update_expression(format!("SET {}", sets.join(", ")))
        .expression_attribute_names("#attempt", "attempt")
        .expression_attribute_values(":attempt", AttributeValue::N(record.attempt.to_string()))
        // A job that was given to another host has a later attempt there, of which this host knows nothing.
        .condition_expression(format!(
            "attribute_not_exists(#status) OR (NOT (#status IN ({})) AND (attribute_not_exists(#attempt) OR \
             #attempt <= :attempt))",
            finals.join(", ")
        ))
        .send()
        .await;
    let Err(error) = result else { return Ok(()) };
    match classify(&error) {
        Answer::ConditionFailed => {
            tracing::info!(
                workflow_execution_id = record.workflow_execution_id,
                job_name = record.job_name,
                status = %record.execution_status,
                "a final audit record, or that of another host, is there; it stays"
            );
            Ok(())
        }
        Answer::Refused => {
            tracing::error!(error = crate::callback::why(&error), "DynamoDB refuses the audit record");
            Ok(())
        }
        Answer::Passing | Answer::Gone | Answer::AlreadyExists | Answer::NotFound => {
            Err(crate::callback::why(&error))
        }
    }
}

/// The record of a job that runs its `attempt`, or has ended.
pub(crate) fn record(
    job: &StoredJob,
    instance_id: &str,
    attempt: u32,
    outcome: Option<&Outcome>,
) -> JobAudit {
    let request = &job.request;
    let stream = |attempt| names::log_stream(&request.workflow_execution_id, &request.job_name, attempt);
    // The last attempt is told apart from the job's end where that came while the next was waited for.
    let is_earlier = |one: &&StoredAttempt| {
        one.attempt < attempt || outcome.is_some_and(|outcome| one.ended.as_ref() != Some(&outcome.end))
    };
    let earlier = job.attempts.iter().filter(is_earlier).filter_map(|earlier| {
        let end = earlier.ended.as_ref()?;
        Some(AttemptAudit {
            attempt: earlier.attempt,
            execution_start_ts: earlier.started_at.clone(),
            execution_end_ts: end.ended_at.clone(),
            exit_code: end.exit_code,
            error_message: Some(shorten(&end.message)),
            log_stream: stream(earlier.attempt),
        })
    });
    let failure = outcome.filter(|outcome| outcome.end.error.is_some());
    JobAudit {
        job_name: request.job_name.clone(),
        workflow_execution_id: request.workflow_execution_id.clone(),
        workflow_id: request.workflow_id.clone(),
        execution_status: outcome.map_or(Status::Running, Outcome::status),
        execution_start_ts: job.accepted_at.clone(),
        execution_end_ts: outcome.map(|outcome| outcome.end.ended_at.clone()),
        instance_id: instance_id.to_owned(),
        ssm_command_id: job.ssm_command_id.clone(),
        exit_code: outcome.and_then(|outcome| outcome.end.exit_code),
        signal: outcome.and_then(|outcome| outcome.end.signal),
        attempt,
        error: failure.and_then(|outcome| outcome.end.error).map(|error| error.to_string()),
        error_message: failure.map(|outcome| shorten(&outcome.end.message)),
        log_stream: (attempt > 0).then(|| stream(attempt)),
        attempts: earlier.collect(),
    }
}

fn shorten(message: &str) -> String {
    let end = (0..=MESSAGE_MAX.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    message[..end.unwrap_or(0)].to_owned()
}
