//! Reading the table of hosts.

use rsqlflow_config::host::{self, HostEntry};
use serde_dynamo::aws_sdk_dynamodb_1::from_items;

use crate::TriggerError;

/// Every host that has entered itself into the table, by instance id. A host that was given another role has two entries;
/// the newer counts.
///
/// # Errors
/// [`TriggerError::Aws`] or [`TriggerError::Record`].
pub async fn hosts(client: &aws_sdk_dynamodb::Client, table: &str) -> Result<Vec<HostEntry>, TriggerError> {
    let pages = client.scan().table_name(table).into_paginator().items().send();
    let items = pages.collect::<Result<Vec<_>, _>>().await;
    let items = items.map_err(|error| TriggerError::aws("reading the table of hosts", error))?;
    let mut hosts: Vec<HostEntry> = from_items(items)
        .map_err(|error| TriggerError::Record { table: table.into(), message: error.to_string() })?;
    for entry in &mut hosts {
        entry.instance_id = host::of_key(&entry.instance_id).to_owned();
    }
    hosts.sort_by(|a, b| a.instance_id.cmp(&b.instance_id).then(b.seen_at.cmp(&a.seen_at)));
    hosts.dedup_by(|later, first| later.instance_id == first.instance_id);
    Ok(hosts)
}
