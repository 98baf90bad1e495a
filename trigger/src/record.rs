//! The record of a run: made only if there is none, closed only once.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use rsqlflow_config::audit::{EXPIRES_AT, OPEN_WORKFLOW, StageAudit, Status, WorkflowAudit, expires_at};
use rsqlflow_config::run::RunInput;
use rsqlflow_config::time;
use rsqlflow_config::workflow::Workflow;
use serde_dynamo::aws_sdk_dynamodb_1::to_item;

use crate::error::written;
use crate::start::Planned;
use crate::{StartRequest, Trigger, TriggerError};

/// What a change asks beside that the record is open: that its execution has not begun. `:triggered` is its value.
pub(crate) const NOT_BEGUN: &str = " AND execution_status = :triggered";

/// ... that no turn has been given to it.
pub(crate) const NOT_ADMITTED: &str = " AND attribute_not_exists(admitted_ts)";

/// What takes a run from the index of the open ones, at the end of an update.
const NO_LONGER_OPEN: &str = " REMOVE open_workflow";

/// What closing a record is called where it fails.
const CLOSING: &str = "closing the run's record";

/// A run's record, and whether it was there before.
pub(crate) struct Recorded {
    pub(crate) record: WorkflowAudit,
    pub(crate) before: bool,
}

impl Trigger {
    /// Writes the run's record if there is none, or finds the one that is this run's.
    pub(crate) async fn record(
        &self,
        planned: &Planned,
        request: &StartRequest,
    ) -> Result<Recorded, TriggerError> {
        let run_id = &planned.input.run.workflow_execution_id;
        // The key has the workflow in it, so a run of another workflow with this id would not collide by itself.
        let condition = match self.audit.run(run_id).await? {
            None => "attribute_not_exists(workflow_execution_id)",
            Some(record) if is_free_again(&record, request) => {
                "attribute_exists(never_started) AND attribute_not_exists(restarted_by)"
            }
            Some(record) => return same_run(record, request, planned),
        };
        let record = audit_record(planned, request, &self.execution_arn(run_id));
        let mut item: HashMap<String, AttributeValue> =
            to_item(&record).map_err(|error| TriggerError::Record {
                table: self.settings.workflow_audit_table.clone(),
                message: error.to_string(),
            })?;
        if let Some(time) = expires_at(&record.execution_start_ts, self.settings.audit_days) {
            item.insert(EXPIRES_AT.into(), AttributeValue::N(time.to_string()));
        }
        item.insert(OPEN_WORKFLOW.into(), AttributeValue::S(record.workflow_id.clone()));
        let put = self
            .dynamodb
            .put_item()
            .table_name(&self.settings.workflow_audit_table)
            .set_item(Some(item))
            .condition_expression(condition);
        if written("recording the run", put.send().await)? {
            return Ok(Recorded { record, before: false });
        }
        // Another start was quicker; then its record is there to be compared.
        match self.audit.run(run_id).await? {
            Some(record) => same_run(record, request, planned),
            None => Err(TriggerError::RunExists { id: run_id.clone(), of: String::new() }),
        }
    }

    /// Gives a run's record a final status, unless it has one. It stays among the open runs until what follows from its
    /// end is done.
    pub(crate) async fn close(
        &self,
        record: &WorkflowAudit,
        status: Status,
        message: Option<&str>,
    ) -> Result<bool, TriggerError> {
        self.change_open(record, closing(status, message, ""), "", CLOSING).await
    }

    /// Gives the record of a scheduled run that is not to run its status, unless the run has been let go: then it is
    /// started by whoever comes by, and what it becomes is its execution's to say. Nothing follows from the end of one that
    /// never ran.
    pub(crate) async fn close_skipped(
        &self,
        record: &WorkflowAudit,
        message: &str,
    ) -> Result<bool, TriggerError> {
        let change = closing(Status::Skipped, Some(message), NO_LONGER_OPEN);
        self.change_open(record, change, NOT_ADMITTED, CLOSING).await
    }

    /// Closes the record of a run that nobody started, unless it has been let go or has begun since it was read.
    pub(crate) async fn close_orphaned(
        &self,
        record: &WorkflowAudit,
        message: &str,
    ) -> Result<bool, TriggerError> {
        let change = never_started(message).value(":triggered", Status::Triggered.as_str());
        self.change_open(record, change, &format!("{NOT_BEGUN}{NOT_ADMITTED}"), CLOSING).await
    }

    /// Closes the record of a run that was refused, unless it has begun; its id may be used again.
    pub(crate) async fn close_refused(
        &self,
        record: &WorkflowAudit,
        message: &str,
    ) -> Result<bool, TriggerError> {
        let change = never_started(message).value(":triggered", Status::Triggered.as_str());
        self.change_open(record, change, NOT_BEGUN, CLOSING).await
    }

    /// Closes the record of a run that cannot start, unless it has begun.
    pub(crate) async fn close_unbegun(
        &self,
        record: &WorkflowAudit,
        message: &str,
    ) -> Result<bool, TriggerError> {
        let change = closing(Status::Failed, Some(message), NO_LONGER_OPEN);
        let change = change.value(":triggered", Status::Triggered.as_str());
        self.change_open(record, change, NOT_BEGUN, CLOSING).await
    }

    /// Takes a run that has ended from the open ones: all that follows from its end is done.
    pub(crate) async fn no_longer_open(&self, record: &WorkflowAudit) -> Result<(), TriggerError> {
        let update = self
            .update(record)
            .update_expression(NO_LONGER_OPEN.trim_start())
            .condition_expression("attribute_exists(workflow_id)");
        written("taking the run from the open ones", update.send().await).map(|_| ())
    }

    /// Changes a record that is not final; whether it was not.
    pub(crate) async fn change_open(
        &self,
        record: &WorkflowAudit,
        change: Change,
        and: &str,
        action: &'static str,
    ) -> Result<bool, TriggerError> {
        let update = self
            .update(record)
            .update_expression(change.expression)
            .set_expression_attribute_values(Some(change.values));
        // A record that is gone, expired say, is not made anew.
        let update = where_open(update, &format!("attribute_exists(workflow_id){and}"));
        written(action, update.send().await)
    }

    fn update(&self, record: &WorkflowAudit) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&self.settings.workflow_audit_table)
            .key("workflow_execution_id", AttributeValue::S(record.workflow_execution_id.clone()))
            .key("workflow_id", AttributeValue::S(record.workflow_id.clone()))
    }
}

/// The update of a record that is not final, and `condition`.
pub(crate) fn where_open(mut update: UpdateItemFluentBuilder, condition: &str) -> UpdateItemFluentBuilder {
    let mut names = Vec::new();
    for (at, last) in Status::FINAL.into_iter().enumerate() {
        let name = format!(":f{at}");
        update = update.expression_attribute_values(&name, AttributeValue::S(last.as_str().into()));
        names.push(name);
    }
    update.condition_expression(format!("{condition} AND NOT execution_status IN ({})", names.join(", ")))
}

/// What gives a record a final status, `and` more.
fn closing(status: Status, message: Option<&str>, and: &str) -> Change {
    let told = message.map_or("", |_| ", error_message = :message");
    let change = Change::new(format!("SET execution_status = :status, execution_end_ts = :end{told}{and}"))
        .value(":status", status.as_str())
        .value(":end", &time::now());
    match message {
        Some(message) => change.value(":message", message),
        None => change,
    }
}

/// What closes the record of a run that has no execution, and gives its id free.
fn never_started(message: &str) -> Change {
    let and = format!(", never_started = :true{NO_LONGER_OPEN}");
    closing(Status::Failed, Some(message), &and).attribute(":true", AttributeValue::Bool(true))
}

/// A change of a record: an update expression and its values.
pub(crate) struct Change {
    expression: String,
    values: HashMap<String, AttributeValue>,
}

impl Change {
    pub(crate) fn new(expression: impl Into<String>) -> Self {
        Self { expression: expression.into(), values: HashMap::new() }
    }

    pub(crate) fn value(self, name: &str, text: &str) -> Self {
        self.attribute(name, AttributeValue::S(text.into()))
    }

    pub(crate) fn attribute(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.into(), value);
        self
    }
}

/// Whether a record that is there is in nobody's way: it was closed without a start, and no other run goes on from it or
/// took its place. The event of a schedule is not meant:
/// it comes again for as long as its run may start.
fn is_free_again(record: &WorkflowAudit, request: &StartRequest) -> bool {
    record.never_started
        && record.restarted_by.is_none()
        && record.workflow_id == request.workflow_id
        && request.scheduled_time.is_none()
}

/// Whether a record that is there is that of the run asked for.
fn same_run(
    record: WorkflowAudit,
    request: &StartRequest,
    planned: &Planned,
) -> Result<Recorded, TriggerError> {
    let other = if record.workflow_id != request.workflow_id {
        format!(" of workflow `{}`", record.workflow_id)
    } else if record.parameters != request.parameters {
        " with other parameters".into()
    } else if record.restart_of.as_deref() != request.restart.as_ref().map(|restart| restart.of.as_str()) {
        match &record.restart_of {
            Some(of) => format!(" that goes on from run `{of}`"),
            None => " that goes on from no earlier one".into(),
        }
    } else if (planned.selection.is_chosen() || !record.left_out.is_empty())
        && record.rsql_jobs != jobs(&planned.input)
    {
        " with another choice of jobs".into()
    } else {
        return Ok(Recorded { record, before: true });
    };
    Err(TriggerError::RunExists { id: record.workflow_execution_id, of: other })
}

fn audit_record(planned: &Planned, request: &StartRequest, arn: &str) -> WorkflowAudit {
    let run = &planned.input.run;
    WorkflowAudit {
        workflow_execution_id: run.workflow_execution_id.clone(),
        workflow_id: run.workflow_id.clone(),
        execution_status: Status::Triggered,
        execution_start_ts: time::now(),
        execution_end_ts: None,
        rsql_jobs: jobs(&planned.input),
        stages: planned.stages.clone(),
        parameters: request.parameters.clone(),
        error_message: None,
        notify_error: None,
        started_by: request.started_by.clone(),
        execution_arn: Some(arn.into()),
        scheduled_time: request.scheduled_time.clone(),
        admitted_ts: None,
        waiting_for: None,
        restart_of: request.restart.as_ref().map(|restart| restart.of.clone()),
        restarted_by: None,
        completed_earlier: planned.selection.completed_earlier.clone(),
        left_out: planned.selection.left_out.clone(),
        never_started: false,
    }
}

/// The names of the jobs that a run has.
pub(crate) fn jobs(input: &RunInput) -> Vec<String> {
    input.stages.iter().flat_map(|stage| &stage.jobs).map(|job| job.job_name.clone()).collect()
}

/// The stages as a run takes them from its item.
pub(crate) fn stages(workflow: &Workflow) -> Vec<StageAudit> {
    workflow
        .workflow_stages
        .iter()
        .enumerate()
        .map(|(at, stage)| StageAudit {
            stage_description: stage.title(at),
            execution_type: stage.execution_type,
            jobs: stage.scripts.iter().map(|script| script.job_name().to_string()).collect(),
            skipped: !stage.enabled(),
        })
        .collect()
}
