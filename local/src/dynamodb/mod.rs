//! DynamoDB: the `dynoxide-rs` crate behind our door.
//!
//! What DynamoDB does with expressions, conditions, indexes and transactions is the crate's; this file hands it
//! JSON bodies, keeps its blocking calls off the async threads, and writes its errors as AWS does. Data lives in a
//! SQLite file of its own, which one process may open at a time (the crate caches table metadata).
//!
//! A write is acknowledged after a disk flush, which it shares with whoever writes at the same time (`flush.rs`).

mod flush;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::place::Place;
use crate::service::{AwsError, Reply, Service};

/// The region the crate writes into its ARNs.
const CRATE_ARN: &str = "arn:aws:dynamodb:dynoxide:000000000000:";

/// DynamoDB on this machine.
#[derive(Clone)]
pub struct DynamoDb {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    arn: String,
    commits: AtomicU64,
    flusher: flush::Flusher<Box<dyn Fn() -> std::io::Result<()> + Send + Sync>>,
}

impl DynamoDb {
    /// Opens or creates the database file.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a database.
    pub fn open(path: &Path, place: &Place) -> Result<Self, AwsError> {
        let text = path.to_str().ok_or_else(|| AwsError::server("the data directory's path is not UTF-8"))?;
        let failed = |error: DynoxideError| AwsError::server(error.to_string());
        let database = Database::new(text).map_err(failed)?;
        // The crate's name for `synchronous = NORMAL` and SQLite's defaults otherwise.
        database.disable_bulk_loading().map_err(failed)?;
        let shared = Shared {
            database,
            arn: place.arn("dynamodb", ""),
            commits: AtomicU64::new(0),
            flusher: flush::Flusher::new(sync_log(PathBuf::from(format!("{text}-wal")))),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How many writes have been committed: what benchmarks count.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// How many disk flushes that took.
    pub fn flushes(&self) -> u64 {
        self.shared.flusher.flushes()
    }

    /// Deletes the items whose time to live has passed, and says how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn sweep_expired(&self) -> Result<usize, AwsError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.database.sweep_ttl().map_err(|error| failure("", &error))).await
    }
}

/// Flushes SQLite's log. The file stays for as long as the database is open, so it is opened once.
fn sync_log(path: PathBuf) -> Box<dyn Fn() -> std::io::Result<()> + Send + Sync> {
    let log: OnceLock<File> = OnceLock::new();
    Box::new(move || {
        if let Some(log) = log.get() {
            return log.sync_data();
        }
        let opened = match File::open(&path) {
            Ok(opened) => opened,
            // Nothing was ever written.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        log.get_or_init(|| opened).sync_data()
    })
}

impl Shared {
    /// Performs an action; blocks.
    fn perform(&self, action: &str, mut body: Value) -> Result<Value, AwsError> {
        let about_tables = concerns_tables(action);
        if about_tables {
            replace_prefix(&mut body, &self.arn, CRATE_ARN);
        }
        let work = || dispatch(&self.database, action, body);
        let done = if writes(action) { self.flusher.write(work) } else { self.flusher.read(work) };
        let mut reply = done.map_err(AwsError::server)??;
        if writes(action) {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        if about_tables {
            replace_prefix(&mut reply, CRATE_ARN, &self.arn);
        }
        Ok(reply)
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

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        let (shared, action) = (Arc::clone(&self.shared), action.to_owned());
        Box::pin(blocking(move || shared.perform(&action, body)))
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
