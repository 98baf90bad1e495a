//! How much of all logs is in memory at once: one budget for the whole agent.
//!
//! A batch is paid for before it is read from its file, and the budget has it back as soon as the service has answered,
//! whatever the answer: who has to try again reads it again. So neither many shippers nor a service that does not answer
//! make the agent grow, and nobody waits for one who only waits.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::batch::BATCH_BYTES_MAX;

/// What all batches in memory may cost, in KiB: four full ones. (A call holds its batch about twice, as events and as
/// JSON.)
const BUDGET_KIB: usize = 4 * BATCH_MAX_KIB;

const BATCH_MAX_KIB: usize = BATCH_BYTES_MAX / 1024;

/// An event is so much more in memory than its text is in the file, where lines are short.
const GROWTH: u64 = 8;

static BUDGET: Semaphore = Semaphore::const_new(BUDGET_KIB);

/// Waits for the right to hold a batch of at most `bytes` of a file.
pub(crate) async fn take(bytes: u64) -> Option<SemaphorePermit<'static>> {
    let cost = (bytes.saturating_mul(GROWTH) / 1024).clamp(1, BATCH_MAX_KIB as u64);
    // None only if it were closed, which it never is.
    BUDGET.acquire_many(u32::try_from(cost).unwrap_or(u32::MAX)).await.ok()
}
