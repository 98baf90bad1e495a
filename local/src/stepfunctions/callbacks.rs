//! What workers say about their tasks. An answer of success means that it is on disk.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::StepFunctions;
use super::executions::not_taken_up;
use crate::asl::actor::{Message, Refusal};
use crate::asl::failure::Failure;
use crate::asl::limits;
use crate::asl::payload::Payload;
use crate::asl::run::Callback;
use crate::asl::token::NotAToken;
use crate::service::AwsError;
use crate::shape;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Success {
    task_token: String,
    output: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    task_token: String,
    error: Option<String>,
    cause: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heartbeat {
    task_token: String,
}

impl StepFunctions {
    pub(super) async fn send_task_success(&self, body: Value) -> Result<Value, AwsError> {
        let Success { task_token, output } = shape::parse(body)?;
        let invalid = |why: String| AwsError::client("InvalidOutput", format!("Invalid Output: '{why}'"));
        if output.len() > limits::PAYLOAD_BYTES {
            return Err(invalid(format!("The output exceeds {} bytes", limits::PAYLOAD_BYTES)));
        }
        // Where the text goes wrong, not what it says: outputs are not for error messages.
        let output = Payload::parse(&output).map_err(|error| {
            invalid(format!("The output is not JSON (line {}, column {})", error.line(), error.column()))
        })?;
        self.callback(&task_token, Callback::Success(output)).await
    }

    pub(super) async fn send_task_failure(&self, body: Value) -> Result<Value, AwsError> {
        let Failed { task_token, error, cause } = shape::parse(body)?;
        for (member, text, limit) in
            [("error", &error, limits::ERROR_CHARS), ("cause", &cause, limits::CAUSE_CHARS)]
        {
            if text.as_ref().is_some_and(|text| text.chars().count() > limit) {
                return Err(shape::constraint(
                    member,
                    "...",
                    &format!("Member must have length less than or equal to {limit}"),
                ));
            }
        }
        self.callback(&task_token, Callback::Failure(Failure { error, cause })).await
    }

    pub(super) async fn send_task_heartbeat(&self, body: Value) -> Result<Value, AwsError> {
        let Heartbeat { task_token } = shape::parse(body)?;
        self.callback(&task_token, Callback::Heartbeat).await
    }

    async fn callback(&self, token: &str, callback: Callback) -> Result<Value, AwsError> {
        let task = self.engine.key.read(token).map_err(|error| match error {
            NotAToken::Malformed => AwsError::client("InvalidToken", "Invalid Token: 'Invalid token'"),
            NotAToken::Unknown => unknown(),
        })?;
        let Some(handle) = self.engine.handle(task.execution) else {
            return Err(self.nobody_waits(task.execution).await);
        };
        let (reply, answer) = oneshot::channel();
        if handle.inbox.send(Message::Callback { task, callback, reply }).is_err() {
            return Err(self.nobody_waits(task.execution).await);
        }
        match answer.await {
            Ok(Ok(())) => Ok(json!({})),
            Ok(Err(Refusal::Closed)) => Err(timed_out()),
            Ok(Err(Refusal::NotWritten(why))) => Err(AwsError::server(why)),
            Err(_) => Err(self.nobody_waits(task.execution).await),
        }
    }

    /// What to tell a worker whose execution is not in memory.
    async fn nobody_waits(&self, execution: i64) -> AwsError {
        let status = self
            .store()
            .read(move |tx| {
                let mut rows = tx.prepare_cached("select status from sfn_execution where id = ?1")?;
                let mut rows = rows.query([execution])?;
                rows.next()?.map(|row| row.get::<_, String>(0)).transpose()
            })
            .await;
        match status {
            Ok(Some(status)) if status == "RUNNING" => not_taken_up(),
            Ok(Some(_)) => timed_out(),
            Ok(None) => unknown(),
            Err(error) => error.into(),
        }
    }
}

fn timed_out() -> AwsError {
    AwsError::client("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
}

fn unknown() -> AwsError {
    AwsError::client("TaskDoesNotExist", "Task Does Not Exist: 'Provided task does not exist'")
}
