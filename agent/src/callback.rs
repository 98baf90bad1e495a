//! Telling Step Functions: heartbeats while the job is ours, then how it ended.

use std::time::Duration;

use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use rsqlflow_config::audit::Status;
use rsqlflow_config::job::{JobError, JobFailure, JobRequest, JobSuccess};
use rsqlflow_config::names;
use tokio::sync::watch;

use crate::classify::{Answer, Backoff, Telling, classify};
use crate::interrupt::Interrupt;
use crate::outcome::Outcome;
use crate::salvage::Addressee;

/// The agent beats so many times within the time after which its host counts as lost.
const BEATS: u32 = 3;

/// The first beat of a new job comes so soon.
const FIRST_BEAT: Duration = Duration::from_secs(1);

/// Longest pause between tries of one beat.
const BEAT_BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Longest `cause`, in characters.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html>
const CAUSE_MAX: usize = 32_768;

/// An error for the log: its code and message. The SDK's own texts of dispatch failures say nothing but their kind.
pub(crate) fn why<E, R>(error: &aws_sdk_sfn::error::SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => format!("{}", aws_smithy_types::error::display::DisplayErrorContext(error)),
    }
}

/// What a job hears of its heartbeats.
pub(crate) struct Told {
    /// That nobody waits for it any more.
    pub interrupt: watch::Sender<Option<Interrupt>>,
    /// That somebody does.
    pub hear: watch::Sender<bool>,
}

/// Beats until it is dropped (it is aborted with the job) or nobody waits for the task any more, which it then says
/// through `told`.
///
/// The first beat comes soon, because the task's patience began when the command was sent, which may be a while ago; a
/// job that was taken up again beats at once. Most jobs that end within a second cost no beat.
pub(crate) async fn heartbeat(client: aws_sdk_sfn::Client, request: JobRequest, told: Told, at_once: bool) {
    let every = Duration::from_secs(request.heartbeat_seconds.into()) / BEATS;
    let first = if at_once { Duration::ZERO } else { FIRST_BEAT.min(every) };
    let patience = Duration::from_secs(request.heartbeat_seconds.into());
    let mut heard_at = tokio::time::Instant::now();
    let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + first, every);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut telling = Telling::default();
    loop {
        timer.tick().await;
        let mut backoff = Backoff::up_to(BEAT_BACKOFF_MAX.min(every));
        loop {
            // A connection that hangs must not cost the beats after it.
            let beat = client.send_task_heartbeat().task_token(&request.task_token).send();
            let error = match tokio::time::timeout(every, beat).await {
                Ok(Ok(_)) => {
                    told.hear.send_replace(true);
                    if telling.works() {
                        tracing::info!("heartbeats are taken again");
                    }
                    heard_at = tokio::time::Instant::now();
                    break;
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    if telling.failed() {
                        tracing::warn!("a heartbeat was not answered in time; trying again");
                    }
                    continue;
                }
            };
            match classify(&error) {
                // So answers the service of another account or region as well, and settings are corrected; once the
                // task has timed out there is nothing to wait for.
                Answer::Gone if error.code() == Some("InvalidToken") && heard_at.elapsed() < patience => {
                    if telling.failed() {
                        tracing::warn!(error = why(&error), "a heartbeat was refused; trying again");
                    }
                    backoff.pause().await;
                }
                Answer::Gone => {
                    let code = error.code().unwrap_or_default();
                    tracing::info!(code, "nobody waits for the job any more");
                    told.interrupt.send_replace(Some(Interrupt::Gone));
                    return;
                }
                Answer::Refused => {
                    if telling.failed() {
                        tracing::warn!(error = why(&error), "Step Functions refused a heartbeat");
                    }
                    break;
                }
                _ => {
                    if telling.failed() {
                        tracing::warn!(error = why(&error), "a heartbeat failed; trying again");
                    }
                    backoff.pause().await;
                }
            }
        }
    }
}

/// Reports the outcome until Step Functions has taken it or says that nobody waits for it. Answers `accepted`, `gone`
/// or `refused`, for the metrics.
pub(crate) async fn report(
    client: &aws_sdk_sfn::Client,
    request: &JobRequest,
    outcome: &Outcome,
) -> &'static str {
    let mut backoff = Backoff::default();
    let stream = (outcome.attempt > 0)
        .then(|| names::log_stream(&request.workflow_execution_id, &request.job_name, outcome.attempt));
    loop {
        let answer = match outcome.end.error {
            None => {
                let output = json(&JobSuccess {
                    job_name: request.job_name.clone(),
                    status: outcome.status().to_string(),
                    exit_code: outcome.end.exit_code.unwrap_or(0),
                    attempt: outcome.attempt,
                    log_stream: stream.clone().unwrap_or_default(),
                    message: outcome.end.message.clone(),
                });
                let call = client.send_task_success().task_token(&request.task_token).output(output);
                call.send().await.map(|_| ()).map_err(|error| (classify(&error), why(&error)))
            }
            Some(error) => {
                let call = client
                    .send_task_failure()
                    .task_token(&request.task_token)
                    .error(error.as_str())
                    .cause(cause(request, outcome, stream.clone()));
                call.send().await.map(|_| ()).map_err(|error| (classify(&error), why(&error)))
            }
        };
        match answer {
            Ok(()) => {
                if backoff.has_paused() {
                    tracing::info!("the outcome is reported");
                }
                return "accepted";
            }
            Err((Answer::Gone, error)) => {
                tracing::info!(
                    error,
                    "the outcome comes after the end of its task; it stays in the audit record"
                );
                return "gone";
            }
            Err((Answer::Refused, error)) => {
                tracing::error!(error, "Step Functions refuses the outcome; it stays in the audit record");
                return "refused";
            }
            Err((_, error)) => {
                if backoff.worth_telling() {
                    tracing::warn!(error, "the outcome could not be reported; trying again");
                }
                backoff.pause().await;
            }
        }
    }
}

/// So long a task is told that its request was refused; then it ends by its missing heartbeats.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(600);

/// Ends the task of a request that was not taken. Nothing is on disk: it does its best while the agent runs.
pub(crate) async fn refuse(
    client: &aws_sdk_sfn::Client,
    addressee: &Addressee,
    error: JobError,
    message: String,
) {
    let failure = JobFailure {
        job_name: addressee.job_name.clone(),
        status: Status::Failed,
        exit_code: None,
        attempt: 0,
        log_stream: None,
        message,
    };
    let mut backoff = Backoff::default();
    let telling = async {
        while let Err(error) = client
            .send_task_failure()
            .task_token(&addressee.task_token)
            .error(error.as_str())
            .cause(json(&failure))
            .send()
            .await
        {
            match classify(&error) {
                Answer::Gone | Answer::Refused => return,
                _ => backoff.pause().await,
            }
        }
    };
    if tokio::time::timeout(REFUSAL_PATIENCE, telling).await.is_err() {
        tracing::warn!("a task could not be told that its request was refused");
    }
}

/// The cause, cut at the message until the whole fits.
fn cause(request: &JobRequest, outcome: &Outcome, log_stream: Option<String>) -> String {
    let mut failure = JobFailure {
        job_name: request.job_name.clone(),
        status: outcome.status(),
        exit_code: outcome.end.exit_code,
        attempt: outcome.attempt,
        log_stream,
        message: outcome.end.message.clone(),
    };
    loop {
        let cause = json(&failure);
        if cause.chars().count() <= CAUSE_MAX || failure.message.is_empty() {
            return cause;
        }
        let keep = failure.message.chars().count() / 2;
        failure.message = failure.message.chars().take(keep).collect();
    }
}

fn json(value: &impl serde::Serialize) -> String {
    // Plain structs with strings and numbers always serialize.
    serde_json::to_string(value).unwrap_or_default()
}
