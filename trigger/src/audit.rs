//! Reading the audit trail.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use rsqlflow_config::audit::{JobAudit, OPEN_WORKFLOW, WorkflowAudit};
use rsqlflow_config::names::may_be_key;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_dynamo::aws_sdk_dynamodb_1::from_item;
use std::collections::HashMap;

use crate::TriggerError;

/// Index of the job audit table by run.
pub const JOBS_BY_RUN: &str = "by-run";

/// Index of the workflow audit table by workflow and start.
pub const RUNS_BY_WORKFLOW: &str = "by-workflow";

/// Index of the workflow audit table that holds the runs that have not ended, or whose end has not been followed up, by
/// workflow.
pub const OPEN_RUNS: &str = "open-runs";

/// A run that was open when the index was last brought up to date: its keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct OpenRun {
    pub(crate) workflow_execution_id: String,
    pub(crate) workflow_id: String,
}

/// The audit tables.
#[derive(Debug, Clone)]
pub struct Audit {
    client: Client,
    workflow_table: String,
    job_table: String,
}

impl Audit {
    /// The audit tables, reached through `client`.
    pub fn new(client: Client, workflow_table: impl Into<String>, job_table: impl Into<String>) -> Self {
        Self { client, workflow_table: workflow_table.into(), job_table: job_table.into() }
    }

    /// The record of one run.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`].
    pub async fn run(&self, run_id: &str) -> Result<Option<WorkflowAudit>, TriggerError> {
        if !may_be_key(run_id) {
            return Ok(None);
        }
        let query = self
            .client
            .query()
            .table_name(&self.workflow_table)
            .consistent_read(true)
            .key_condition_expression("workflow_execution_id = :id")
            .expression_attribute_values(":id", AttributeValue::S(run_id.into()))
            .limit(1)
            .send()
            .await
            .map_err(|error| TriggerError::aws("reading the run's record", error))?;
        let item = query.items.unwrap_or_default().into_iter().next();
        item.map(|item| record(&self.workflow_table, item)).transpose()
    }

    /// The newest runs, of one workflow or of all, newest first.
    ///
    /// Of one workflow they come from its index, at a cost that follows `limit`; of all from a scan.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`].
    pub async fn runs(
        &self,
        workflow: Option<&str>,
        limit: usize,
    ) -> Result<Vec<WorkflowAudit>, TriggerError> {
        let mut runs = Vec::new();
        let mut start = None;
        loop {
            let (items, last) = match workflow {
                Some(workflow) => {
                    let page = self
                        .client
                        .query()
                        .table_name(&self.workflow_table)
                        .index_name(RUNS_BY_WORKFLOW)
                        .key_condition_expression("workflow_id = :id")
                        .expression_attribute_values(":id", AttributeValue::S(workflow.into()))
                        .scan_index_forward(false)
                        .limit(i32::try_from(limit.clamp(1, 1000)).unwrap_or(1000))
                        .set_exclusive_start_key(start)
                        .send()
                        .await
                        .map_err(|error| TriggerError::aws("listing the runs", error))?;
                    (page.items, page.last_evaluated_key)
                }
                None => {
                    let page = self
                        .client
                        .scan()
                        .table_name(&self.workflow_table)
                        // The table keeps whose turn it is as well.
                        .filter_expression("attribute_exists(execution_start_ts)")
                        .set_exclusive_start_key(start)
                        .send()
                        .await
                        .map_err(|error| TriggerError::aws("listing the runs", error))?;
                    (page.items, page.last_evaluated_key)
                }
            };
            for item in items.unwrap_or_default() {
                runs.push(record::<WorkflowAudit>(&self.workflow_table, item)?);
            }
            start = last.filter(|key| !key.is_empty());
            if start.is_none() || (workflow.is_some() && runs.len() >= limit) {
                break;
            }
        }
        runs.sort_by(|a, b| b.execution_start_ts.cmp(&a.execution_start_ts));
        runs.truncate(limit);
        Ok(runs)
    }

    /// The open runs, of one workflow or of all, the oldest of a workflow first. The index knows them, which
    /// may lag by a moment; what it costs follows their number and not that of the runs there have been.
    ///
    /// # Errors
    /// [`TriggerError::Aws`].
    pub(crate) async fn open_runs(&self, workflow: Option<&str>) -> Result<Vec<OpenRun>, TriggerError> {
        const ACTION: &str = "looking for runs that go on";
        let items = match workflow {
            Some(workflow) => {
                let query = self.client.query().table_name(&self.workflow_table).index_name(OPEN_RUNS);
                let query = query
                    .key_condition_expression("#open = :workflow")
                    .expression_attribute_names("#open", OPEN_WORKFLOW)
                    .expression_attribute_values(":workflow", AttributeValue::S(workflow.into()));
                let items: Result<Vec<_>, _> = query.into_paginator().items().send().collect().await;
                items.map_err(|error| TriggerError::aws(ACTION, error))?
            }
            None => {
                let scan = self.client.scan().table_name(&self.workflow_table).index_name(OPEN_RUNS);
                let items: Result<Vec<_>, _> = scan.into_paginator().items().send().collect().await;
                items.map_err(|error| TriggerError::aws(ACTION, error))?
            }
        };
        items.into_iter().map(|item| record(&self.workflow_table, item)).collect()
    }

    /// The record of one job as it is now.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`].
    pub(crate) async fn job(&self, job: &str, run_id: &str) -> Result<Option<JobAudit>, TriggerError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.job_table)
            .key("job_name", AttributeValue::S(job.into()))
            .key("workflow_execution_id", AttributeValue::S(run_id.into()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| TriggerError::aws("reading a job's record", error))?;
        answer.item.map(|item| record(&self.job_table, item)).transpose()
    }

    /// The records of a run's jobs, in the order they started.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`].
    pub async fn jobs(&self, run_id: &str) -> Result<Vec<JobAudit>, TriggerError> {
        let mut jobs: Vec<JobAudit> = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.job_table)
                .index_name(JOBS_BY_RUN)
                .key_condition_expression("workflow_execution_id = :id")
                .expression_attribute_values(":id", AttributeValue::S(run_id.into()))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| TriggerError::aws("reading the jobs' records", error))?;
            for item in page.items.unwrap_or_default() {
                jobs.push(record(&self.job_table, item)?);
            }
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                break;
            }
        }
        jobs.sort_by(|a, b| (&a.execution_start_ts, &a.job_name).cmp(&(&b.execution_start_ts, &b.job_name)));
        Ok(jobs)
    }
}

fn record<T: DeserializeOwned>(
    table: &str,
    item: HashMap<String, AttributeValue>,
) -> Result<T, TriggerError> {
    from_item(item).map_err(|error| TriggerError::Record { table: table.into(), message: error.to_string() })
}
