//! Executions within executions, as the `states:startExecution` integration needs them.

use rusqlite::OptionalExtension as _;
use serde_json::{Value, json};

use super::StepFunctions;
use super::executions::{Parent, not_taken_up};
use crate::asl::frame::{Body, Phase};
use crate::asl::integrations::Executions;
use crate::asl::journal;
use crate::asl::token::TaskRef;
use crate::service::{AwsError, Reply};
use crate::store::StoreError;

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
                let (id, running) = self.number_of(arn).await?;
                if !running {
                    return self.description(arn).await;
                }
                match self.engine.handle(id) {
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
    /// Stops executions whose parent's task is no more: the process may have ended between the parent's step and
    /// the child's.
    pub(super) async fn stop_orphans(&self) -> Result<(), StoreError> {
        let orphans: Vec<String> = self
            .store()
            .read(|tx| {
                let mut rows = tx.prepare(
                    "select arn, parent_execution, parent_frame, parent_event from sfn_execution
                     where status = 'RUNNING' and parent_awaits",
                )?;
                let mut rows = rows.query([])?;
                let mut orphans = Vec::new();
                while let Some(row) = rows.next()? {
                    let frame = journal::key(row.get(1)?, row.get::<_, u32>(2)?.into());
                    let event: i64 = row.get(3)?;
                    let body: Option<String> = tx
                        .query_row("select body from sfn_frame where id = ?1", [frame], |row| row.get(0))
                        .optional()?;
                    let phase =
                        body.and_then(|body| serde_json::from_str::<Body>(&body).ok()).map(|body| body.phase);
                    let waits =
                        matches!(phase, Some(Phase::Task(task)) if i64::try_from(task.event) == Ok(event));
                    if !waits {
                        orphans.push(row.get(0)?);
                    }
                }
                Ok(orphans)
            })
            .await?;
        for arn in orphans {
            let stopped: Result<_, AwsError> =
                self.stop(&arn, "The parent execution no longer waits".into()).await;
            if let Err(error) = stopped
                && error != not_taken_up()
            {
                tracing::warn!(execution = arn, %error, "could not stop an orphaned execution");
            }
        }
        Ok(())
    }
}
