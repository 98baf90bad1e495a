//! Executions within executions, as the `states:startExecution` integration needs them.

use std::time::Duration;

use serde_json::{Value, json};

use super::StepFunctions;
use super::executions::Parent;
use crate::asl::integrations::Executions;
use crate::asl::token::TaskRef;
use crate::service::{AwsError, Reply};

/// How long to wait before a child is looked at again after the store failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Executions for StepFunctions {
    fn start(&self, by: TaskRef, awaits: bool, request: Value) -> Reply<'_> {
        Box::pin(self.start_execution(request, Some(Parent { task: by, awaits })))
    }

    fn ended<'a>(&'a self, arn: &'a str) -> Reply<'a> {
        Box::pin(async move {
            let mut population = self.engine.population();
            loop {
                // Before looking: a change from here on is seen below.
                population.mark_unchanged();
                let number = match self.running_or_ended(arn).await {
                    Ok(Ok(number)) => number,
                    Ok(Err(description)) => return Ok(description),
                    // Ours: nothing is known of the child, and it may be hours from its end.
                    Err(error) if error.status >= 500 => {
                        tracing::warn!(child = arn, %error, "could not look at a nested execution");
                        tokio::time::sleep(AFTER_FAILURE).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                match self.engine.handle(number) {
                    // An error means that the actor is gone; what it left is on disk.
                    Some(mut handle) => drop(handle.ended.wait_for(Option::is_some).await),
                    // Not taken up yet (after a restart, parents may come before their children), or ended since.
                    None => drop(population.changed().await),
                }
            }
        })
    }

    fn stop<'a>(&'a self, arn: &'a str, cause: String) -> Reply<'a> {
        Box::pin(self.stop_execution(json!({ "executionArn": arn, "cause": cause })))
    }
}

impl StepFunctions {
    /// The number of an execution that runs, or the description of one that has ended.
    async fn running_or_ended(&self, arn: &str) -> Result<Result<i64, Value>, AwsError> {
        let (number, running) = self.number_of(arn).await?;
        if running { Ok(Ok(number)) } else { self.description(arn).await.map(Err) }
    }
}
