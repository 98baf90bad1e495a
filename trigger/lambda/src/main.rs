//! The trigger as a Lambda function: the program that runtime `provided.al2023` starts as `bootstrap`.
//!
//! It takes its settings from the environment, as `RSQLFLOW_...`, makes the SDK clients, and hands every event to
//! [`rsqlflow_trigger::events::handle`]: what an event does is decided there. One event at a time, as Lambda gives them,
//! so one thread. Whatever goes wrong before the first event is told in one line and ends the process, and Lambda says
//! so to whoever invoked it.

mod clients;

use std::path::Path;
use std::process::ExitCode;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use rsqlflow_config::settings::{Settings, SettingsError};
use rsqlflow_trigger::events::{self, Context};
use rsqlflow_trigger::{Trigger, TriggerSettings};
use serde_json::Value;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    log();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match settings() {
        Ok(settings) => runtime.block_on(serve(settings)),
        Err(error) => failed(&error),
    }
}

async fn serve(settings: TriggerSettings) -> ExitCode {
    let clients = clients::Clients::from_environment();
    let trigger = Trigger::new(clients.dynamodb, clients.sfn, settings).notifying(clients.sns);
    let handler = |event: LambdaEvent<Value>| {
        let trigger = &trigger;
        async move {
            let context = Context::of(event.context.request_id, &event.context.invoked_function_arn);
            events::handle(trigger, event.payload, &context).await.map_err(|error| {
                tracing::error!(kind = error.error_type, error = error.error_message, "the event failed");
                Diagnostic { error_type: error.error_type, error_message: error.error_message }
            })
        }
    };
    match lambda_runtime::run(service_fn(handler)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

/// Log lines are JSON. The runtime tells of every error of the handler as well, in the words of a debugger; the handler has
/// told it. A panic, which has an `error`, is the runtime's to tell.
fn log() {
    let told_before = |metadata: &tracing::Metadata<'_>| {
        metadata.target() == "lambda_runtime::layers::panic" && metadata.fields().field("error").is_none()
    };
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_filter(LevelFilter::INFO);
    let lines = lines.with_filter(filter_fn(move |metadata| !told_before(metadata)));
    tracing_subscriber::registry().with(lines).init();
}

/// The settings: those of `rsqlflow.toml` beside the program, where there is one, and those of the environment.
fn settings() -> Result<TriggerSettings, SettingsError> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        // There is no other backend here.
        .filter(|(name, _)| name != "RSQLFLOW_BACKEND")
        .chain([("RSQLFLOW_BACKEND".to_string(), "aws".to_string())]);
    let task_root = std::env::var("LAMBDA_TASK_ROOT").unwrap_or_else(|_| ".".into());
    let settings = Settings::load(None, Path::new(&task_root), environment)?;
    settings.check_state_machines()?;
    let machines = settings.state_machines.clone();
    Ok(TriggerSettings::new(&settings, machines))
}

fn failed(error: &(impl std::fmt::Display + ?Sized)) -> ExitCode {
    tracing::error!(%error, "the function cannot start");
    ExitCode::FAILURE
}
