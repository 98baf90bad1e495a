//! The Step Functions API (<https://docs.aws.amazon.com/step-functions/latest/apireference/>).
//!
//! State machines, executions and their histories are rows; what runs is the `asl` module's. Actions are grouped by
//! what they are about, one file each. Standard workflows only.
//!
//! [`StepFunctions::open`] makes it, the other services are registered where it finds them, and then
//! [`StepFunctions::resume`] takes up what was running when the process last ended.

mod callbacks;
mod executions;
mod history;
mod machines;
mod names;
mod nested;
mod tags;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::broadcast;

use crate::asl::engine::Engine;
use crate::asl::integrations::Executions;
use crate::clock::Clock;
use crate::place::Place;
use crate::registry::Services;
use crate::service::{AwsError, Reply, Service};
use crate::store::{Store, StoreError};

pub use crate::asl::engine::StatusChange;
pub use crate::asl::time::{Sleep, Time};

/// Step Functions on one machine.
pub struct StepFunctions {
    engine: Arc<Engine>,
    place: Place,
}

impl StepFunctions {
    /// Opens Step Functions on `store`. Nothing runs before [`resume`](Self::resume) or a start. Tasks find their
    /// services in `services`; the caller registers the result there too.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(
        store: Store,
        place: Place,
        services: Services,
        clock: Clock,
    ) -> Result<Arc<Self>, StoreError> {
        Self::open_with(store, place, services, Arc::new(clock)).await
    }

    /// The same, with a time that can be moved.
    ///
    /// # Errors
    /// The store's.
    pub async fn open_with(
        store: Store,
        place: Place,
        services: Services,
        time: Arc<dyn Time>,
    ) -> Result<Arc<Self>, StoreError> {
        let engine = Arc::new(Engine::open(store, place.region.clone(), services, time).await?);
        let this = Arc::new(Self { engine, place });
        let executions: Arc<dyn Executions> = Arc::clone(&this) as Arc<dyn Executions>;
        this.engine.set_executions(Arc::downgrade(&executions));
        Ok(this)
    }

    /// Takes up every execution that was running, once all services are registered; gives how many. Until then,
    /// callbacks for them are refused with an error that SDK clients retry.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(&self) -> Result<usize, StoreError> {
        self.engine.resume().await
    }

    /// Every beginning and end of an execution from now on. Subscribe before asking for a status, and no change is
    /// missed; a receiver that lags asks again with `DescribeExecution`.
    pub fn subscribe(&self) -> broadcast::Receiver<StatusChange> {
        self.engine.subscribe()
    }

    /// Lets go of every execution, as the end of the process would: none moves on, all are taken up again when the
    /// store is opened next. For a process that opens a data directory and goes on after closing it.
    pub fn shut_down(&self) {
        self.engine.shut_down();
    }

    fn now(&self) -> i64 {
        self.engine.time.now()
    }

    fn store(&self) -> &Store {
        &self.engine.store
    }
}

impl Service for StepFunctions {
    fn target_prefix(&self) -> &'static str {
        "AWSStepFunctions"
    }

    fn sdk_name(&self) -> &'static str {
        "sfn"
    }

    fn error_prefix(&self) -> &'static str {
        "Sfn"
    }

    fn camel_case_members(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        Box::pin(async move {
            match action {
                "CreateStateMachine" => self.create_state_machine(body).await,
                "UpdateStateMachine" => self.update_state_machine(body).await,
                "DeleteStateMachine" => self.delete_state_machine(body).await,
                "DescribeStateMachine" => self.describe_state_machine(body).await,
                "ListStateMachines" => self.list_state_machines(body).await,
                "ValidateStateMachineDefinition" => machines::validate_definition(body),
                "DescribeStateMachineForExecution" => self.describe_state_machine_for_execution(body).await,
                "StartExecution" => self.start_execution(body, None).await,
                "StopExecution" => self.stop_execution(body).await,
                "DescribeExecution" => self.describe_execution(body).await,
                "ListExecutions" => self.list_executions(body).await,
                "GetExecutionHistory" => self.get_execution_history(body).await,
                "SendTaskSuccess" => self.send_task_success(body).await,
                "SendTaskFailure" => self.send_task_failure(body).await,
                "SendTaskHeartbeat" => self.send_task_heartbeat(body).await,
                "TagResource" => self.tag_resource(body).await,
                "UntagResource" => self.untag_resource(body).await,
                "ListTagsForResource" => self.list_tags_for_resource(body).await,
                _ => Err(AwsError::unknown_action("Step Functions", action)),
            }
        })
    }
}

#[cfg(test)]
mod tests;
