//! What the trigger does when something happens: the handler of the Lambda function, and of `rsqlflow up`.
//!
//! Five events are taken: a schedule's, a plain one that names a workflow, an operator's, Step Functions' word that an
//! execution has changed its status, and the call to look at everything that is open. Events are delivered at least once,
//! and one that ended in an error is delivered again, so every one may be handled twice and at once: a schedule's run id
//! follows from its scheduled time, a plain one's from the id of the request, and an end is recorded once. An error says
//! what kind it is and what is wrong; what it left undone, the same event again or a later one of the workflow does.

mod error;
mod fields;
mod form;
mod operate;

use chrono::DateTime;
use serde_json::{Value, json};

pub use error::EventError;
pub use form::{Ended, Event, Plain, ScheduledStart};
pub use operate::{ALIAS as OPERATE_ALIAS, Operate, Start};

use crate::ended::End;
use crate::{Scheduled, StartRequest, Trigger, TriggerError};

/// What is known of an event beside itself.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Id of the request: the same when the event is delivered again after an error.
    pub request_id: String,
    /// Whether it came by the name that people call the function by ([`OPERATE_ALIAS`]): they may ask for runs, and may
    /// not say what schedules and Step Functions say.
    pub by_operator: bool,
}

impl Context {
    /// Of a request, and the ARN that the function was called by: its last part is the alias, where there is one.
    pub fn of(request_id: String, function_arn: &str) -> Self {
        let by_operator = function_arn.rsplit(':').next() == Some(OPERATE_ALIAS);
        Self { request_id, by_operator }
    }
}

/// Characters of the request id in the id of a run that was given none: enough that two never meet.
const REQUEST_ID_PART: usize = 12;

/// What is said to people who speak as others.
const NOT_FOR_PEOPLE: &str =
    "this event is one of schedules or of EventBridge, which the alias `operate` does not take";

/// Handles one event.
///
/// # Errors
/// [`EventError`], of the kinds of [`TriggerError::code`] or `Rsql.InvalidEvent`.
pub async fn handle(trigger: &Trigger, event: Value, context: &Context) -> Result<Value, EventError> {
    // Boxed, because what holds this holds all of it: the compiler gives up on a type that is nested so deeply.
    let event = Event::parse(event)?;
    if context.by_operator && !event.is_for_people() {
        return Err(EventError::refused("Rsql.NotForPeople", NOT_FOR_PEOPLE));
    }
    match event {
        Event::Operate(asked) => Box::pin(operate::handle(trigger, asked)).await,
        Event::Scheduled(start) => Box::pin(scheduled(trigger, start)).await,
        Event::Plain(plain) => Box::pin(plainly(trigger, plain, context)).await,
        Event::Ended(ended) => Box::pin(after(trigger, ended)).await,
        Event::Sweep => {
            let started = Box::pin(trigger.sweep()).await?;
            tracing::info!(?started, "looked at what is open");
            Ok(json!({ "started": started }))
        }
    }
}

async fn scheduled(trigger: &Trigger, start: ScheduledStart) -> Result<Value, EventError> {
    let workflow_id = &start.workflow_id;
    let became = match trigger.start_scheduled(workflow_id, start.scheduled_time).await {
        // Somebody has switched it off on purpose.
        Err(TriggerError::Disabled(_)) => {
            tracing::info!(workflow = workflow_id, "not started: the workflow is switched off");
            return Ok(json!({ "workflow_id": workflow_id, "ignored": "the workflow is switched off" }));
        }
        became => became?,
    };
    tracing::info!(workflow = workflow_id, ?became, "a schedule's event");
    Ok(match became {
        Scheduled::Started(started) => json!({
            "workflow_id": workflow_id,
            "workflow_execution_id": started.workflow_execution_id,
            "execution_arn": started.execution_arn,
            "already_started": started.already_started,
        }),
        Scheduled::Waiting { workflow_execution_id, waiting_for } => json!({
            "workflow_id": workflow_id,
            "workflow_execution_id": workflow_execution_id,
            "waiting_for": waiting_for,
        }),
        Scheduled::Over { workflow_execution_id, status, message } => json!({
            "workflow_id": workflow_id,
            "workflow_execution_id": workflow_execution_id,
            "execution_status": status,
            "message": message,
        }),
    })
}

async fn plainly(trigger: &Trigger, plain: Plain, context: &Context) -> Result<Value, EventError> {
    let workflow_id = plain.workflow_id;
    // Those that wait longer come first. Nothing that is wrong with them keeps this one from its own start.
    if let Err(error) = trigger.advance(&workflow_id).await {
        tracing::warn!(workflow = workflow_id, %error, "runs that wait could not be looked at");
    }
    let run_id = plain.workflow_execution_id.or_else(|| {
        let part: String =
            context.request_id.chars().filter(char::is_ascii_alphanumeric).take(REQUEST_ID_PART).collect();
        (part.len() == REQUEST_ID_PART).then(|| format!("{workflow_id}-{part}"))
    });
    let request = StartRequest {
        workflow_id: workflow_id.clone(),
        workflow_execution_id: run_id,
        parameters: plain.parameters,
        started_by: "lambda".into(),
        ..StartRequest::default()
    };
    let started = trigger.start(request).await?;
    tracing::info!(workflow = workflow_id, run = started.workflow_execution_id, "started");
    Ok(json!({
        "workflow_id": workflow_id,
        "workflow_execution_id": started.workflow_execution_id,
        "execution_arn": started.execution_arn,
        "already_started": started.already_started,
    }))
}

/// The record first, then the jobs, whose hosts are waited for, then the runs that waited for all of that.
async fn after(trigger: &Trigger, ended: Ended) -> Result<Value, EventError> {
    let run_id = ended.name;
    let goes_on = ["RUNNING", "PENDING_REDRIVE"].contains(&ended.status.as_str());
    if ended.state_machine_arn != trigger.settings.master_arn || goes_on {
        return Ok(json!({ "ignored": format!("{} {}", ended.state_machine_arn, ended.status) }));
    }
    let Some(record) = trigger.audit.run(&run_id).await? else {
        return Ok(json!({ "workflow_execution_id": run_id, "ignored": "there is no record of this run" }));
    };
    let end = End {
        status: ended.status,
        error: ended.error,
        cause: ended.cause,
        input: ended.input,
        at: ended.stop_date.and_then(DateTime::from_timestamp_millis),
    };
    let settled = trigger.settle(&record, &end).await?;
    let closed_jobs = trigger.follow_up(&record, settled.status).await?;
    let started = trigger.advance(&record.workflow_id).await?;
    tracing::info!(run = run_id, ?settled, ?started, ?closed_jobs, "a run has ended");
    Ok(json!({
        "workflow_id": record.workflow_id,
        "workflow_execution_id": run_id,
        "execution_status": settled.status,
        "closed": settled.closed,
        "notified": settled.notified,
        "closed_jobs": closed_jobs,
        "started": started,
    }))
}
