//! The service's limits, each with the page that states it.
//!
//! Unless a constant says otherwise: <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>.

/// Largest input or output of a state, a task or an execution, in bytes of UTF-8.
pub(crate) const PAYLOAD_BYTES: usize = 262_144;

/// Levels a document may nest; ours. What is written must be read again, and the JSON reader goes 127 levels deep.
pub(crate) const PAYLOAD_DEPTH: usize = 120;

/// Events one execution may record; the last one says that the limit was reached.
pub(crate) const HISTORY_EVENTS: u64 = 25_000;

/// Largest definition, in bytes.
pub(crate) const DEFINITION_BYTES: usize = 1_048_576;

/// Characters of a state machine's, an execution's or a state's name.
pub(crate) const NAME_CHARS: usize = 80;

/// Characters of an error name
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html>).
pub(crate) const ERROR_CHARS: usize = 256;

/// Characters of a cause (same page).
pub(crate) const CAUSE_CHARS: usize = 32_768;

/// Characters of a task token
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html>).
pub(crate) const TOKEN_CHARS: usize = 2_048;

/// Longest time of any kind a definition may name, in seconds
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/state-task.html>).
pub(crate) const SECONDS: u64 = 99_999_999;

/// Longest `MaxDelaySeconds`, exclusive: a year and a day
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>).
pub(crate) const MAX_DELAY_SECONDS: u64 = 31_622_400;

/// Iterations an inline Map runs at once, whatever it asks for
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html>).
pub(crate) const INLINE_MAP_CONCURRENCY: usize = 40;

/// Iterations a Map that asked for DISTRIBUTED mode runs at once here. AWS gives each its own child execution and
/// allows 10,000; in place, they share one history and one machine.
pub(crate) const DISTRIBUTED_MAP_CONCURRENCY: usize = 1_000;

/// Bytes all variables of an execution may take together
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html>).
pub(crate) const VARIABLES_BYTES: usize = 10 * 1_048_576;

/// Days during which a closed execution's name stays taken
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>).
pub(crate) const NAME_DAYS: i64 = 90;

/// Milliseconds one JSONata expression may take. AWS documents no figure; an expression shapes one payload, so a
/// second is already far outside what is meant.
pub(crate) const EXPRESSION_MILLIS: u64 = 1_000;

/// Levels one JSONata expression may nest while it is evaluated; ours, like the time.
pub(crate) const EXPRESSION_DEPTH: usize = 2_000;

/// Items a sequence made by a JSONata expression may have; ours, like the time.
pub(crate) const EXPRESSION_ITEMS: usize = 1_000_000;
