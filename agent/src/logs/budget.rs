//! How much of all logs is in memory at once: one budget for the whole agent.
//!
//! A batch is paid for before it is read from its file, and the budget has it back as soon as the service has answered,
//! whatever the answer: who has to try again reads it again. So neither many shippers nor a service that does not answer
//! make the agent grow, and nobody waits for one who only waits. A few lines have a budget of their own, so that they need
//! not wait for those who print much.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::batch::BATCH_BYTES_MAX;

const BATCH_MAX_KIB: usize = BATCH_BYTES_MAX / 1024;

/// What all large batches in memory may cost, in KiB: three full ones. (A call holds its batch about twice, as events and
/// as JSON.)
const LARGE_KIB: usize = 3 * BATCH_MAX_KIB;

/// What all small batches may cost.
const SMALL_KIB: usize = BATCH_MAX_KIB;

/// The most that a small batch costs.
const SMALL_MAX_KIB: u32 = 64;

/// An event is so much more in memory than its text is in the file, where lines are short.
const GROWTH: u64 = 8;

static LARGE: Semaphore = Semaphore::const_new(LARGE_KIB);
static SMALL: Semaphore = Semaphore::const_new(SMALL_KIB);

/// Waits for the right to hold a batch of at most `bytes` of a file.
pub(crate) async fn take(bytes: u64) -> Option<SemaphorePermit<'static>> {
    let cost = (bytes.saturating_mul(GROWTH) / 1024).clamp(1, BATCH_MAX_KIB as u64);
    let cost = u32::try_from(cost).unwrap_or(u32::MAX);
    let budget = if cost <= SMALL_MAX_KIB { &SMALL } else { &LARGE };
    // None only if it were closed, which it never is.
    budget.acquire_many(cost).await.ok()
}
