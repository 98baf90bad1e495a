//! What scripts print, on its way to CloudWatch Logs.
//!
//! * [`lines`]: bytes into events, one per line, whatever the bytes are;
//! * [`batch`]: events into calls, inside the service's limits;
//! * [`read`]: from a position in the file to the next batch;
//! * [`stream`]: the calls, and what their answers mean;
//! * [`dated`]: what time it is there;
//! * [`mark`]: how far a log is shipped, in a file of marks beside it;
//! * [`ship`]: from the file to the service, while the script runs and after it ended, every line once;
//! * [`hold`]: what an earlier process began waits until its password can be masked;
//! * [`notice`]: what the stream says about events that are not in it;
//! * [`budget`]: how much of all logs is in memory.
//!
//! Scripts write to a file, never to a pipe of ours: they cannot be held up by us, their order is kept, and nothing is
//! lost with us.

pub(crate) mod batch;
mod budget;
mod dated;
mod hold;
pub(crate) mod lines;
pub(crate) mod mark;
mod notice;
mod pace;
mod read;
pub(crate) mod ship;
mod stream;

use pace::Pace;
