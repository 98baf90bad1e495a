//! What scripts print, on its way to CloudWatch Logs.
//!
//! * [`lines`]: bytes into events, one per line, whatever the bytes are;
//! * [`batch`]: events into calls, inside the service's limits;
//! * [`mark`]: how far a log is shipped, for the journal;
//! * [`ship`]: from the file to the service, while the script runs and after it ended.
//!
//! Scripts write to a file, never to a pipe of ours: they cannot be held up by us, their order is kept, and nothing is
//! lost with us. Memory is bounded by a few buffers per job, whatever a script prints.

pub(crate) mod batch;
pub(crate) mod lines;
pub(crate) mod mark;
pub(crate) mod ship;
