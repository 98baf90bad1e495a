//! The trigger function of the embedded default: the very handler of the Lambda function, in this process.

use rsqlflow_local::lambda::{Function, FunctionError, Invocation, Returning};
use rsqlflow_trigger::Trigger;
use rsqlflow_trigger::events::{self, Context};

/// Hands events to the trigger.
pub(super) struct TriggerFunction {
    trigger: Trigger,
}

impl TriggerFunction {
    /// A function over this trigger.
    pub(super) fn new(trigger: Trigger) -> Self {
        Self { trigger }
    }
}

impl Function for TriggerFunction {
    fn handle(&self, invocation: Invocation) -> Returning<'_> {
        Box::pin(async move {
            let context = Context::of(invocation.request_id, &invocation.function_arn);
            events::handle(&self.trigger, invocation.event, &context).await.map_err(|error| FunctionError {
                error_type: error.error_type,
                error_message: error.error_message,
            })
        })
    }
}
