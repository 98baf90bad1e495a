//! Starting a run: read the item, check it whole, record the run, start the state machine.
//!
//! The order is the promise. Everything that can be refused is refused before anything is written. The record comes
//! before the start, made only if there is none, so that of two starts with one id one wins; a trigger that dies
//! between record and start leaves a `triggered` record, and the same start again finds it and goes on. The start is
//! idempotent by its name and input, so going on is always safe.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::operation::start_execution::StartExecutionError;
use rsqlflow_config::audit::{StageAudit, Status, WorkflowAudit};
use rsqlflow_config::run::{RunInput, generate_run_id};
use rsqlflow_config::workflow::{Workflow, flag_is_set};
use rsqlflow_config::{names, time, validate};
use serde_dynamo::aws_sdk_dynamodb_1::to_item;

use crate::{Audit, Items, TriggerError, plan};

/// How far the clocks of two callers of AWS may be apart: five minutes, beyond which their signatures are refused.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
const CLOCK_SKEW_SECONDS: i64 = 300;

/// What the trigger needs to know of its account.
#[derive(Debug, Clone)]
pub struct TriggerSettings {
    /// Config table.
    pub config_table: String,
    /// Job audit table.
    pub job_audit_table: String,
    /// Workflow audit table.
    pub workflow_audit_table: String,
    /// ARN of the master state machine.
    pub master_arn: String,
    /// ARN of the state machine for sequential stages.
    pub sequential_arn: String,
    /// ARN of the state machine for parallel stages.
    pub parallel_arn: String,
    /// Host of workflows that name none.
    pub host: String,
    /// Secret of workflows that name none.
    pub secret_id: String,
    /// Silence after which a job's host counts as lost.
    pub heartbeat_seconds: u32,
}

/// A wish for a run.
#[derive(Debug, Clone, Default)]
pub struct StartRequest {
    /// The workflow.
    pub workflow_id: String,
    /// The run's id; generated where none is given.
    pub workflow_execution_id: Option<String>,
    /// Parameters over the item's.
    pub parameters: BTreeMap<String, String>,
    /// Who or what asks, for the audit.
    pub started_by: String,
}

/// A run that has been started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The run.
    pub workflow_execution_id: String,
    /// Its Step Functions execution.
    pub execution_arn: String,
    /// Whether an earlier call had started it.
    pub already_started: bool,
}

/// Starts and cancels runs.
#[derive(Debug, Clone)]
pub struct Trigger {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) sfn: aws_sdk_sfn::Client,
    pub(crate) settings: TriggerSettings,
    items: Items,
    pub(crate) audit: Audit,
}

impl Trigger {
    /// A trigger over these clients.
    pub fn new(
        dynamodb: aws_sdk_dynamodb::Client,
        sfn: aws_sdk_sfn::Client,
        settings: TriggerSettings,
    ) -> Self {
        let items = Items::new(dynamodb.clone(), &settings.config_table);
        let audit = Audit::new(dynamodb.clone(), &settings.workflow_audit_table, &settings.job_audit_table);
        Self { dynamodb, sfn, settings, items, audit }
    }

    /// Starts a run. The same id for the same workflow and parameters again is the same run.
    ///
    /// # Errors
    /// Any [`TriggerError`]. Nothing is written unless it is [`TriggerError::Aws`] from the start itself, which leaves
    /// a `triggered` record that the same call again goes on from.
    pub async fn start(&self, request: StartRequest) -> Result<Started, TriggerError> {
        let run_id = match &request.workflow_execution_id {
            Some(id) => {
                if let Some(problem) = names::execution_name_problem(id, names::RUN_ID_MAX) {
                    return Err(TriggerError::InvalidRunId { id: id.clone(), problem });
                }
                id.clone()
            }
            None => generate_run_id(&request.workflow_id),
        };
        let workflow = self.workflow(&request.workflow_id).await?;
        for name in request.parameters.keys() {
            if let Some(problem) = names::parameter_name_problem(name) {
                return Err(TriggerError::InvalidParameter { name: name.clone(), problem });
            }
        }
        let input = plan(&workflow, &run_id, &request.parameters, &self.settings);
        let text = serde_json::to_string(&input)
            .map_err(|error| TriggerError::Record { table: "input".into(), message: error.to_string() })?;
        if text.len() > names::PAYLOAD_MAX {
            return Err(TriggerError::TooLarge { size: text.len() });
        }
        let recorded = self.record(&workflow, &input, &request).await?;
        self.execute(recorded, text).await
    }

    async fn workflow(&self, id: &str) -> Result<Workflow, TriggerError> {
        let Some(item) = self.items.get(id).await? else {
            return Err(TriggerError::UnknownWorkflow { id: id.into(), known: self.items.nearest(id).await });
        };
        let workflow = validate::workflow(item)
            .map_err(|source| TriggerError::InvalidWorkflow { id: id.into(), source: Box::new(source) })?;
        if workflow.execution_flag.as_deref().is_some_and(|flag| !flag_is_set(flag)) {
            return Err(TriggerError::Disabled(id.into()));
        }
        Ok(workflow)
    }

    /// Writes the run's record if there is none, or finds the one that is this run's.
    async fn record(
        &self,
        workflow: &Workflow,
        input: &RunInput,
        request: &StartRequest,
    ) -> Result<Recorded, TriggerError> {
        let run_id = &input.run.workflow_execution_id;
        // The key has the workflow in it, so a run of another workflow with this id would not collide by itself.
        if let Some(record) = self.audit.run(run_id).await? {
            return same_run(record, request);
        }
        let record = audit_record(workflow, input, request, &self.execution_arn(run_id));
        let item = to_item(&record).map_err(|error| TriggerError::Record {
            table: self.settings.workflow_audit_table.clone(),
            message: error.to_string(),
        })?;
        let put = self
            .dynamodb
            .put_item()
            .table_name(&self.settings.workflow_audit_table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(workflow_execution_id)")
            .send()
            .await;
        match put {
            Ok(_) => Ok(Recorded { record, before: false }),
            // Another start was quicker; then its record is there to be compared.
            Err(error)
                if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) =>
            {
                match self.audit.run(run_id).await? {
                    Some(record) => same_run(record, request),
                    None => Err(TriggerError::RunExists { id: run_id.clone(), of: String::new() }),
                }
            }
            Err(error) => Err(TriggerError::aws("recording the run", error)),
        }
    }

    async fn execute(&self, recorded: Recorded, input: String) -> Result<Started, TriggerError> {
        let run_id = recorded.record.workflow_execution_id.as_str();
        let already = |already_started| Started {
            workflow_execution_id: run_id.into(),
            execution_arn: self.execution_arn(run_id),
            already_started,
        };
        let status = recorded.record.execution_status;
        if status.is_final() {
            // A run that has ended is looked at, not run again; one that was cancelled before it started has no end
            // to look at.
            return match self.execution(run_id).await? {
                Some(_) => Ok(already(true)),
                None => Err(TriggerError::Ended { id: run_id.into(), status }),
            };
        }
        let started = self
            .sfn
            .start_execution()
            .state_machine_arn(&self.settings.master_arn)
            .name(run_id)
            .input(&input)
            .send()
            .await;
        match started {
            Ok(_) => Ok(already(recorded.before)),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(StartExecutionError::ExecutionAlreadyExists(_))
                ) =>
            {
                // The record is older, so the execution is its own: running under an item that has changed since,
                // or ended.
                if recorded.before || self.is_this_run(&recorded.record, &input).await? {
                    return Ok(already(true));
                }
                let message = "Step Functions knows another execution of this name, which is not this run's";
                self.close(&recorded.record, Status::Failed, message).await?;
                Err(TriggerError::RunExists { id: run_id.into(), of: String::new() })
            }
            Err(error) => Err(TriggerError::aws("starting the execution", error)),
        }
    }

    /// Whether the execution of a fresh record's name was started by a rival with the same wish, rather than long ago.
    async fn is_this_run(&self, record: &WorkflowAudit, input: &str) -> Result<bool, TriggerError> {
        let Some(execution) = self.execution(&record.workflow_execution_id).await? else { return Ok(false) };
        let recorded = time::parse(&record.execution_start_ts).map_or(0, |time| time.timestamp());
        // Clocks of two triggers, and the service's, may differ by as much as requests may be old.
        let fresh = execution.start_date.secs() >= recorded - CLOCK_SKEW_SECONDS;
        Ok(fresh && execution.input.as_deref() == Some(input))
    }

    async fn execution(&self, run_id: &str) -> Result<Option<DescribeExecutionOutput>, TriggerError> {
        match self.sfn.describe_execution().execution_arn(self.execution_arn(run_id)).send().await {
            Ok(execution) => Ok(Some(execution)),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_execution_does_not_exist()) => {
                Ok(None)
            }
            Err(error) => Err(TriggerError::aws("looking at the execution", error)),
        }
    }

    /// Gives a run's record a final status, unless it has one.
    pub(crate) async fn close(
        &self,
        record: &WorkflowAudit,
        status: Status,
        message: &str,
    ) -> Result<bool, TriggerError> {
        let mut update = self
            .dynamodb
            .update_item()
            .table_name(&self.settings.workflow_audit_table)
            .key("workflow_execution_id", AttributeValue::S(record.workflow_execution_id.clone()))
            .key("workflow_id", AttributeValue::S(record.workflow_id.clone()))
            .update_expression(
                "SET execution_status = :status, execution_end_ts = :end, error_message = :message",
            )
            .expression_attribute_values(":status", AttributeValue::S(status.as_str().into()))
            .expression_attribute_values(":end", AttributeValue::S(time::now()))
            .expression_attribute_values(":message", AttributeValue::S(message.into()));
        let mut names = Vec::new();
        for (at, last) in Status::FINAL.into_iter().enumerate() {
            let name = format!(":f{at}");
            update = update.expression_attribute_values(&name, AttributeValue::S(last.as_str().into()));
            names.push(name);
        }
        let update = update
            .condition_expression(format!("NOT execution_status IN ({})", names.join(", ")))
            .send()
            .await;
        match update {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(TriggerError::aws("closing the run's record", error)),
        }
    }

    /// ARN of a run's execution, which follows from its name.
    pub(crate) fn execution_arn(&self, run_id: &str) -> String {
        format!("{}:{run_id}", self.settings.master_arn.replacen(":stateMachine:", ":execution:", 1))
    }
}

/// A run's record, and whether it was there before.
struct Recorded {
    record: WorkflowAudit,
    before: bool,
}

/// Whether a record that is there is that of the run asked for.
fn same_run(record: WorkflowAudit, request: &StartRequest) -> Result<Recorded, TriggerError> {
    let other = if record.workflow_id != request.workflow_id {
        format!(" of workflow `{}`", record.workflow_id)
    } else if record.parameters != request.parameters {
        " with other parameters".into()
    } else {
        return Ok(Recorded { record, before: true });
    };
    Err(TriggerError::RunExists { id: record.workflow_execution_id, of: other })
}

fn audit_record(workflow: &Workflow, input: &RunInput, request: &StartRequest, arn: &str) -> WorkflowAudit {
    let stages: Vec<StageAudit> = workflow
        .workflow_stages
        .iter()
        .enumerate()
        .map(|(at, stage)| StageAudit {
            stage_description: stage.title(at),
            execution_type: stage.execution_type,
            jobs: stage.scripts.iter().map(|script| script.job_name().to_string()).collect(),
            skipped: !stage.enabled(),
        })
        .collect();
    WorkflowAudit {
        workflow_execution_id: input.run.workflow_execution_id.clone(),
        workflow_id: workflow.workflow_id.clone(),
        execution_status: Status::Triggered,
        execution_start_ts: time::now(),
        execution_end_ts: None,
        rsql_jobs: input
            .stages
            .iter()
            .flat_map(|stage| &stage.jobs)
            .map(|job| job.job_name.clone())
            .collect(),
        stages,
        parameters: request.parameters.clone(),
        error_message: None,
        started_by: request.started_by.clone(),
        execution_arn: Some(arn.into()),
    }
}

#[cfg(test)]
impl TriggerSettings {
    pub(crate) fn example() -> Self {
        let arn = |name: &str| format!("arn:aws:states:us-east-1:000000000000:stateMachine:rsqlflow-{name}");
        Self {
            config_table: "config".into(),
            job_audit_table: "job-audit".into(),
            workflow_audit_table: "workflow-audit".into(),
            master_arn: arn("master"),
            sequential_arn: arn("sequential"),
            parallel_arn: arn("parallel"),
            host: "i-rsqlflow".into(),
            secret_id: "rsqlflow/warehouse".into(),
            heartbeat_seconds: 30,
        }
    }
}
