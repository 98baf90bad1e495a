//! CloudWatch Logs.
//!
//! Events live in one table ordered by stream, time and arrival, so a page of a stream is one range of rows however
//! large the log is, and memory is bounded by the page. Writes are relaxed: whoever ships logs keeps them until they
//! are accepted and may send them again, so a disk flush per batch would buy nothing (see `store.rs`).
//!
//! Deleting a group or a stream hides it at once; its events go in small steps with the sweep, as do those past the
//! group's retention.
//!
//! What is not here: subscriptions, metric filters, Insights queries, structured (JSON) filter patterns, tags.

mod filter;
mod groups;
mod pattern;
mod put;
mod read;
mod sweep;

use serde_json::Value;

use crate::clock::Clock;
use crate::place::Place;
use crate::service::{AwsError, Reply, Service};
use crate::store::{Store, StoreError};

const TABLES: &str = "
    create table if not exists log_groups (
        id integer primary key autoincrement,
        name text not null unique,
        created_at integer not null,
        retention_days integer
    );
    create table if not exists log_streams (
        id integer primary key autoincrement,
        group_id integer not null references log_groups (id),
        name text not null,
        created_at integer not null,
        first_ts integer,
        last_ts integer,
        last_ingested integer,
        next_seq integer not null default 1,
        bytes integer not null default 0,
        unique (group_id, name)
    );
    create table if not exists log_events (
        stream_id integer not null,
        ts integer not null,
        seq integer not null,
        ingested_at integer not null,
        message text not null,
        primary key (stream_id, ts, seq)
    ) without rowid;
    create table if not exists log_dead_streams (id integer primary key);
";

/// CloudWatch Logs on this machine.
#[derive(Clone)]
pub struct Logs {
    store: Store,
    clock: Clock,
    place: Place,
}

/// An answer from inside a transaction: SQLite's failure, or AWS's.
type Answer<T> = rusqlite::Result<Result<T, AwsError>>;

impl Logs {
    /// Creates the tables.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(store: Store, clock: Clock, place: Place) -> Result<Self, StoreError> {
        store.migrate(TABLES).await?;
        Ok(Self { store, clock, place })
    }
}

impl Service for Logs {
    fn target_prefix(&self) -> &'static str {
        "Logs_20140328"
    }

    fn sdk_name(&self) -> &'static str {
        "cloudwatchlogs"
    }

    fn error_prefix(&self) -> &'static str {
        "CloudWatchLogs"
    }

    fn camel_case_members(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        Box::pin(async move {
            match action {
                "CreateLogGroup" => self.create_log_group(body).await,
                "CreateLogStream" => self.create_log_stream(body).await,
                "DeleteLogGroup" => self.delete_log_group(body).await,
                "DeleteLogStream" => self.delete_log_stream(body).await,
                "DeleteRetentionPolicy" | "PutRetentionPolicy" => self.set_retention(body, action).await,
                "DescribeLogGroups" => self.describe_log_groups(body).await,
                "DescribeLogStreams" => self.describe_log_streams(body).await,
                "FilterLogEvents" => self.filter_log_events(body).await,
                "GetLogEvents" => self.get_log_events(body).await,
                "PutLogEvents" => self.put_log_events(body).await,
                _ => Err(AwsError::unknown_action("CloudWatch Logs", action)),
            }
        })
    }
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::client("InvalidParameterException", message)
}

fn no_group() -> AwsError {
    AwsError::client("ResourceNotFoundException", "The specified log group does not exist.")
}

fn no_stream() -> AwsError {
    AwsError::client("ResourceNotFoundException", "The specified log stream does not exist.")
}

/// Reads name a group by its name or, in newer requests, by its ARN.
fn group_name(name: Option<String>, identifier: Option<String>) -> Result<String, AwsError> {
    let given = name
        .or(identifier)
        .ok_or_else(|| invalid("The request names no log group: give logGroupName or logGroupIdentifier."))?;
    Ok(match given.split_once(":log-group:") {
        Some((_, rest)) => rest.strip_suffix(":*").unwrap_or(rest).to_owned(),
        None => given,
    })
}
