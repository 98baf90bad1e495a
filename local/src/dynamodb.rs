//! DynamoDB: the `dynoxide-rs` crate behind our door.
//!
//! What DynamoDB does with expressions, conditions, indexes and transactions is the crate's; this file hands it
//! JSON bodies, keeps its blocking calls off the async threads, and writes its errors as AWS does. Data lives in a
//! SQLite file of its own, which one process may open at a time (the crate caches table metadata).
//!
//! A write is acknowledged after a disk flush.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::place::Place;
use crate::service::{AwsError, Reply, Service};

/// The region the crate writes into its ARNs.
const CRATE_ARN: &str = "arn:aws:dynamodb:dynoxide:000000000000:";

/// DynamoDB on this machine.
pub struct DynamoDb {
    database: Database,
    arn: String,
    commits: Arc<AtomicU64>,
}

impl DynamoDb {
    /// Opens or creates the database file.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a database.
    pub fn open(path: &Path, place: &Place) -> Result<Self, AwsError> {
        let path = path.to_str().ok_or_else(|| AwsError::server("the data directory's path is not UTF-8"))?;
        let database = Database::new(path).map_err(|error| AwsError::server(error.to_string()))?;
        Ok(Self { database, arn: place.arn("dynamodb", ""), commits: Arc::default() })
    }

    /// How many writes have been committed: what benchmarks count.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Deletes the items whose time to live has passed, and says how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn sweep_expired(&self) -> Result<usize, AwsError> {
        let database = self.database.clone();
        blocking(move || database.sweep_ttl().map_err(|error| failure("", &error))).await
    }
}

impl Service for DynamoDb {
    fn target_prefix(&self) -> &'static str {
        "DynamoDB_20120810"
    }

    fn sdk_name(&self) -> &'static str {
        "dynamodb"
    }

    fn error_prefix(&self) -> &'static str {
        "DynamoDb"
    }

    fn call<'a>(&'a self, action: &'a str, mut body: Value) -> Reply<'a> {
        Box::pin(async move {
            let database = self.database.clone();
            let name = action.to_owned();
            let about_tables = concerns_tables(action);
            if about_tables {
                replace_prefix(&mut body, &self.arn, CRATE_ARN);
            }
            let mut reply = blocking(move || dispatch(&database, &name, body)).await?;
            if about_tables {
                replace_prefix(&mut reply, CRATE_ARN, &self.arn);
            }
            if writes(action) {
                self.commits.fetch_add(1, Ordering::Relaxed);
            }
            Ok(reply)
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AwsError> + Send + 'static,
) -> Result<T, AwsError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| AwsError::server(format!("the database call did not end: {error}")))?
}

fn dispatch(database: &Database, action: &str, body: Value) -> Result<Value, AwsError> {
    macro_rules! actions {
        ($($name:literal => $method:ident),+ $(,)?) => {
            match action {
                $($name => perform(action, body, |request| database.$method(request)),)+
                _ => Err(AwsError::unknown_action("DynamoDB", action)),
            }
        };
    }
    actions! {
        "BatchExecuteStatement" => batch_execute_statement,
        "BatchGetItem" => batch_get_item,
        "BatchWriteItem" => batch_write_item,
        "CreateTable" => create_table,
        "DeleteItem" => delete_item,
        "DeleteTable" => delete_table,
        "DescribeTable" => describe_table,
        "DescribeTimeToLive" => describe_time_to_live,
        "ExecuteStatement" => execute_statement,
        "ExecuteTransaction" => execute_transaction,
        "GetItem" => get_item,
        "ListTables" => list_tables,
        "ListTagsOfResource" => list_tags_of_resource,
        "PutItem" => put_item,
        "Query" => query,
        "Scan" => scan,
        "TagResource" => tag_resource,
        "TransactGetItems" => transact_get_items,
        "TransactWriteItems" => transact_write_items,
        "UntagResource" => untag_resource,
        "UpdateItem" => update_item,
        "UpdateTable" => update_table,
        "UpdateTimeToLive" => update_time_to_live,
    }
}

fn writes(action: &str) -> bool {
    !(action.starts_with("Get")
        || action.starts_with("BatchGet")
        || action.starts_with("Describe")
        || action.starts_with("List")
        || matches!(action, "Query" | "Scan" | "TransactGetItems"))
}

fn concerns_tables(action: &str) -> bool {
    action.contains("Table") || action.contains("Resource") || action.contains("TimeToLive")
}

fn perform<Q: DeserializeOwned, R: Serialize>(
    action: &str,
    body: Value,
    run: impl FnOnce(Q) -> dynoxide::Result<R>,
) -> Result<Value, AwsError> {
    let request = serde_json::from_value(body).map_err(|error| unreadable(action, &error.to_string()))?;
    let response = run(request).map_err(|error| failure(action, &error))?;
    serde_json::to_value(response).map_err(|error| AwsError::server(error.to_string()))
}

/// A request that does not fit the action's shape. The crate's readers mark how AWS would class it with a prefix.
fn unreadable(action: &str, message: &str) -> AwsError {
    let serialization = |text: &str| AwsError::client("SerializationException", text);
    for mark in ["SERIALIZATION_AS_READ:", "SERIALIZATION:"] {
        if let Some(rest) = message.strip_prefix(mark) {
            return serialization(rest);
        }
    }
    if let Some(rest) = message.strip_prefix("VALIDATION_REQUEST:") {
        return AwsError::validation(enveloped(action, rest));
    }
    for mark in ["VALIDATION_AS_READ:", "VALIDATION:"] {
        if let Some(rest) = message.strip_prefix(mark) {
            return AwsError::validation(rest);
        }
    }
    let validation = ["missing field", "unknown variant", "invalid type: null", "Supplied AttributeValue"];
    if message.contains("empty AttributeValue") {
        AwsError::validation(
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        )
    } else if validation.iter().any(|known| message.contains(known)) {
        AwsError::validation(message)
    } else {
        serialization(message)
    }
}

fn enveloped(action: &str, message: &str) -> String {
    if matches!(action, "PutItem" | "UpdateItem" | "DeleteItem") {
        format!("1 validation error detected: {message}")
    } else {
        message.to_owned()
    }
}

fn failure(action: &str, error: &DynoxideError) -> AwsError {
    let code = error.error_type().rsplit('#').next().unwrap_or_default().to_owned();
    let message = match error {
        DynoxideError::EnvelopedValidation(message) => enveloped(action, message),
        other => other.to_string(),
    };
    let extra = serde_json::from_str(&error.to_json()).ok().and_then(|body: Value| match body {
        Value::Object(mut members) => {
            members.retain(|name, _| !matches!(name.as_str(), "__type" | "message" | "Message"));
            (!members.is_empty()).then_some(Value::Object(members))
        }
        _ => None,
    });
    AwsError { status: error.status_code(), code, message, extra: extra.map(Box::new) }
}

fn replace_prefix(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) => {
            if let Some(rest) = text.strip_prefix(from) {
                *text = format!("{to}{rest}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace_prefix(item, from, to)),
        Value::Object(members) => members.values_mut().for_each(|member| replace_prefix(member, from, to)),
        _ => {}
    }
}
