//! Command documents: JSON of schema version 2.2, kept with all their versions.
//!
//! Documents are stored, described and checked (their names, versions and parameters), but their steps are not
//! interpreted: `AWS-RunShellScript` is built in, every other document is the attached host's business.
//! YAML is refused, as is any other document type.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::clock::{Millis, epoch_seconds};
use crate::service::AwsError;
use crate::shape::{constraint, position};

/// The document that a shell runs on this machine.
pub const RUN_SHELL_SCRIPT: &str = "AWS-RunShellScript";
/// The document that hands a job request to the rsqlflow agent.
pub const RUN_SCRIPT: &str = "Rsqlflow-RunScript";
/// Its content, as an account gets it.
const RUN_SCRIPT_CONTENT: &str = include_str!("../../../deploy/run-script.ssm.json");

/// "The content of the document must not exceed 64KB. This quota also includes the content specified for input parameters
/// at runtime" (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CreateDocument.html>).
const MAX_CONTENT: usize = 65_536;
/// "MaxResults: minimum 1, maximum 50"
/// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListDocuments.html>).
const MAX_LISTED: i64 = 50;

pub(super) const TABLES: &str = "
    create table if not exists ssm_documents (
        name text primary key,
        default_version integer not null default 1,
        created_at integer not null
    ) without rowid;
    create table if not exists ssm_document_versions (
        name text not null references ssm_documents (name) on delete cascade,
        version integer not null,
        content text not null,
        created_at integer not null,
        primary key (name, version)
    ) without rowid;
";

/// Documents that are there from the beginning.
fn built_in() -> [(&'static str, String); 2] {
    let shell = json!({
        "schemaVersion": "2.2",
        "description": "Run a shell script or specify the commands to run.",
        "parameters": {
            "commands": { "type": "StringList", "description": "The commands to run." },
            "workingDirectory": { "type": "String", "default": "", "description": "Where to run them." },
            "executionTimeout": {
                "type": "String", "default": "3600", "description": "Seconds until they are killed."
            }
        },
        "mainSteps": [{
            "action": "aws:runShellScript",
            "name": "runShellScript",
            "inputs": {
                "runCommand": "{{ commands }}",
                "workingDirectory": "{{ workingDirectory }}",
                "timeoutSeconds": "{{ executionTimeout }}"
            }
        }]
    });
    [(RUN_SHELL_SCRIPT, shell.to_string()), (RUN_SCRIPT, RUN_SCRIPT_CONTENT.to_owned())]
}

pub(super) fn seed(tx: &Transaction<'_>, now: Millis) -> rusqlite::Result<()> {
    for (name, content) in built_in() {
        let added = tx
            .execute("insert or ignore into ssm_documents (name, created_at) values (?1, ?2)", (name, now))?;
        if added > 0 {
            tx.execute("insert into ssm_document_versions values (?1, 1, ?2, ?3)", (name, content, now))?;
        }
    }
    Ok(())
}

/// An answer from inside a transaction: SQLite's failure, or AWS's.
pub(super) type Answer<T> = rusqlite::Result<Result<T, AwsError>>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    name: String,
    #[serde(default)]
    document_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Written {
    name: String,
    content: String,
    #[serde(default)]
    document_type: Option<String>,
    #[serde(default)]
    document_format: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listing {
    #[serde(default)]
    max_results: Option<i64>,
    #[serde(default)]
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<ListFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListFilter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

struct Document {
    name: String,
    version: i64,
    latest: i64,
    default: i64,
    content: String,
    created_at: Millis,
}

fn missing(name: &str) -> AwsError {
    AwsError::client("InvalidDocument", format!("Document with name {name} does not exist."))
}

fn load(tx: &Transaction<'_>, name: &str, version: Option<&str>) -> Answer<Document> {
    let known: Option<(i64, i64)> = tx
        .prepare_cached(
            "select d.default_version, (select max(version) from ssm_document_versions v where v.name = d.name)
             from ssm_documents d where d.name = ?1",
        )?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((default, latest)) = known else {
        return Ok(Err(missing(name)));
    };
    let wanted = match version {
        None | Some("" | "$DEFAULT") => Some(default),
        Some("$LATEST") => Some(latest),
        Some(number) => number.parse().ok(),
    };
    let found = tx
        .prepare_cached(
            "select content, created_at from ssm_document_versions where name = ?1 and version = ?2",
        )?
        .query_row((name, wanted), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (Some(version), Some((content, created_at))) = (wanted, found) else {
        return Ok(Err(AwsError::client(
            "InvalidDocumentVersion",
            format!("Document {name} has no version {}.", version.unwrap_or_default()),
        )));
    };
    Ok(Ok(Document { name: name.to_owned(), version, latest, default, content, created_at }))
}

/// Checks what a command asks for against its document, and says which version that is.
pub(super) fn check(
    tx: &Transaction<'_>,
    name: &str,
    version: Option<&str>,
    given: &BTreeMap<String, Vec<String>>,
) -> Answer<String> {
    let document = match load(tx, name, version)? {
        Ok(document) => document,
        Err(error) => return Ok(Err(error)),
    };
    let content: Value = serde_json::from_str(&document.content).unwrap_or_default();
    let declared = content.get("parameters").and_then(Value::as_object);
    let invalid = |text: String| Ok(Err(AwsError::client("InvalidParameters", text)));
    for parameter in given.keys() {
        if declared.is_none_or(|declared| !declared.contains_key(parameter)) {
            return invalid(format!("Parameter {parameter} is not defined by the document {name}."));
        }
    }
    for (parameter, definition) in declared.into_iter().flatten() {
        if definition.get("default").is_none() && !given.contains_key(parameter) {
            return invalid(format!("Parameter {parameter} of the document {name} is missing."));
        }
    }
    let values: usize = given.values().flatten().map(String::len).sum();
    if document.content.len() + values > MAX_CONTENT {
        return Ok(Err(too_large(&format!("The document {name} and its parameters are"))));
    }
    Ok(Ok(document.version.to_string()))
}

fn too_large(what: &str) -> AwsError {
    AwsError::client("MaxDocumentSizeExceeded", format!("{what} longer than {MAX_CONTENT} bytes."))
}

fn accept(written: &Written) -> Result<Value, AwsError> {
    let invalid = |text: &str| Err(AwsError::client("InvalidDocumentContent", text));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !(3..=128).contains(&written.name.len()) || !written.name.chars().all(plain) {
        return Err(constraint(
            "name",
            &written.name,
            "Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\\-.]{3,128}$",
        ));
    }
    if written.document_type.as_deref().is_some_and(|kind| kind != "Command") {
        return invalid("The embedded default keeps documents of type Command only.");
    }
    if written.document_format.as_deref().is_some_and(|format| format != "JSON") {
        return invalid("The embedded default reads documents in JSON only.");
    }
    if written.content.len() > MAX_CONTENT {
        return Err(too_large("The document's content is"));
    }
    let Ok(content) = serde_json::from_str::<Value>(&written.content) else {
        return invalid("The document's content is not valid JSON.");
    };
    if content.get("schemaVersion").and_then(Value::as_str) != Some("2.2") {
        return invalid("The document's schemaVersion is not 2.2.");
    }
    if content.get("mainSteps").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return invalid("The document has no mainSteps.");
    }
    Ok(content)
}

pub(super) fn create(tx: &Transaction<'_>, written: &Written, now: Millis) -> Answer<Value> {
    if let Err(error) = accept(written) {
        return Ok(Err(error));
    }
    let name = &written.name;
    let lower = name.to_lowercase();
    if ["aws-", "amazon", "amzn"].iter().any(|reserved| lower.starts_with(reserved)) {
        return Ok(Err(AwsError::validation(format!(
            "The document name {name} starts with a reserved prefix."
        ))));
    }
    let added =
        tx.execute("insert or ignore into ssm_documents (name, created_at) values (?1, ?2)", (name, now))?;
    if added == 0 {
        return Ok(Err(AwsError::client(
            "DocumentAlreadyExists",
            format!("Document with same name {name} already exists"),
        )));
    }
    tx.execute("insert into ssm_document_versions values (?1, 1, ?2, ?3)", (name, &written.content, now))?;
    described(tx, name, None, "DocumentDescription")
}

pub(super) fn update(tx: &Transaction<'_>, written: &Written, now: Millis) -> Answer<Value> {
    if let Err(error) = accept(written) {
        return Ok(Err(error));
    }
    let name = &written.name;
    let latest = match load(tx, name, Some("$LATEST"))? {
        Ok(latest) => latest,
        Err(error) => return Ok(Err(error)),
    };
    if name == RUN_SHELL_SCRIPT {
        return Ok(Err(AwsError::client("InvalidDocument", format!("Document {name} cannot be changed."))));
    }
    if latest.content == written.content {
        return Ok(Err(AwsError::client(
            "DuplicateDocumentContent",
            "The content of the association document matches another document. Change the content of the document \
             and try again.",
        )));
    }
    let version = latest.latest + 1;
    tx.execute(
        "insert into ssm_document_versions values (?1, ?2, ?3, ?4)",
        (name, version, &written.content, now),
    )?;
    described(tx, name, Some(&version.to_string()), "DocumentDescription")
}

pub(super) fn set_default(tx: &Transaction<'_>, named: &Named) -> Answer<Value> {
    let document = match load(tx, &named.name, named.document_version.as_deref())? {
        Ok(document) => document,
        Err(error) => return Ok(Err(error)),
    };
    tx.execute(
        "update ssm_documents set default_version = ?2 where name = ?1",
        (&document.name, document.version),
    )?;
    Ok(Ok(json!({
        "Description": { "Name": document.name, "DefaultVersion": document.version.to_string() }
    })))
}

pub(super) fn describe(tx: &Transaction<'_>, named: &Named) -> Answer<Value> {
    described(tx, &named.name, named.document_version.as_deref(), "Document")
}

pub(super) fn get(tx: &Transaction<'_>, named: &Named) -> Answer<Value> {
    Ok(load(tx, &named.name, named.document_version.as_deref())?.map(|document| {
        json!({
            "Name": document.name,
            "CreatedDate": epoch_seconds(document.created_at),
            "DocumentVersion": document.version.to_string(),
            "Status": "Active",
            "Content": document.content,
            "DocumentType": "Command",
            "DocumentFormat": "JSON",
        })
    }))
}

pub(super) fn delete(tx: &Transaction<'_>, named: &Named) -> Answer<Value> {
    if named.name == RUN_SHELL_SCRIPT {
        return Ok(Err(missing(&named.name)));
    }
    let gone = tx.execute("delete from ssm_documents where name = ?1", [&named.name])?;
    Ok(if gone == 0 { Err(missing(&named.name)) } else { Ok(json!({})) })
}

pub(super) fn list(tx: &Transaction<'_>, listing: &Listing) -> Answer<Value> {
    let skip = match position(listing.next_token.as_deref(), "InvalidNextToken") {
        Ok(skip) => skip,
        Err(error) => return Ok(Err(error)),
    };
    let limit = listing.max_results.unwrap_or(MAX_LISTED).clamp(1, MAX_LISTED);
    let mut names: Vec<String> = tx
        .prepare_cached("select name from ssm_documents order by name")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for filter in &listing.filters {
        names.retain(|name| match filter.key.as_str() {
            "Name" => filter.values.iter().any(|wanted| name.starts_with(wanted)),
            "Owner" => filter.values.iter().any(|owner| match owner.as_str() {
                "Amazon" => name == RUN_SHELL_SCRIPT,
                "Self" | "Private" => name != RUN_SHELL_SCRIPT,
                other => other == "All",
            }),
            "DocumentType" => filter.values.iter().any(|kind| kind == "Command"),
            _ => true,
        });
    }
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let limit = usize::try_from(limit).unwrap_or(1);
    let mut identifiers = Vec::new();
    for name in names.iter().skip(skip).take(limit) {
        if let Ok(document) = load(tx, name, None)? {
            identifiers.push(identifier(&document));
        }
    }
    let mut reply = json!({ "DocumentIdentifiers": identifiers });
    if skip + limit < names.len() {
        reply["NextToken"] = json!((skip + limit).to_string());
    }
    Ok(Ok(reply))
}

fn identifier(document: &Document) -> Value {
    json!({
        "Name": document.name,
        "CreatedDate": epoch_seconds(document.created_at),
        "Owner": owner(&document.name),
        "PlatformTypes": ["Linux"],
        "DocumentVersion": document.version.to_string(),
        "DocumentType": "Command",
        "SchemaVersion": "2.2",
        "DocumentFormat": "JSON",
        "Tags": [],
    })
}

fn owner(name: &str) -> &'static str {
    if name == RUN_SHELL_SCRIPT { "Amazon" } else { crate::place::ACCOUNT_ID }
}

fn described(tx: &Transaction<'_>, name: &str, version: Option<&str>, member: &str) -> Answer<Value> {
    Ok(load(tx, name, version)?.map(|document| {
        let content: Value = serde_json::from_str(&document.content).unwrap_or_default();
        let parameters: Vec<Value> = content
            .get("parameters")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, definition)| {
                let mut parameter = json!({
                    "Name": name,
                    "Type": definition.get("type").and_then(Value::as_str).unwrap_or("String"),
                });
                if let Some(text) = definition.get("description") {
                    parameter["Description"] = text.clone();
                }
                if let Some(default) = definition.get("default") {
                    parameter["DefaultValue"] = match default {
                        Value::String(text) => json!(text),
                        other => json!(other.to_string()),
                    };
                }
                parameter
            })
            .collect();
        let mut description = identifier(&document);
        let hash: String =
            Sha256::digest(&document.content).iter().map(|byte| format!("{byte:02x}")).collect();
        let more = json!({
            "Hash": hash,
            "HashType": "Sha256",
            "Status": "Active",
            "Description": content.get("description").cloned().unwrap_or_else(|| json!("")),
            "Parameters": parameters,
            "LatestVersion": document.latest.to_string(),
            "DefaultVersion": document.default.to_string(),
        });
        if let (Value::Object(description), Value::Object(more)) = (&mut description, more) {
            description.extend(more);
        }
        json!({ member: description })
    }))
}
