//! Executions whose parent no longer waits for them.
//!
//! A task that ends takes its nested execution along, but the process may end between the parent's step and the
//! child's. So a child asks for its parent's task when it is taken up again.

use rusqlite::{Connection, OptionalExtension as _};

use super::frame::{Body, Phase};
use super::journal;

/// Whether execution `id` was started by a task that was to wait for it and is no more.
pub(super) fn is_orphan(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    let parent: Option<(i64, u32, i64)> = connection
        .prepare_cached(
            "select parent_execution, parent_frame, parent_event from sfn_execution
             where id = ?1 and parent_awaits and parent_execution is not null",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((execution, frame, event)) = parent else { return Ok(false) };
    let body: Option<String> = connection
        .prepare_cached("select body from sfn_frame where id = ?1")?
        .query_row([journal::key(execution, frame.into())], |row| row.get(0))
        .optional()?;
    let phase = body.and_then(|body| serde_json::from_str::<Body>(&body).ok()).map(|body| body.phase);
    Ok(!matches!(phase, Some(Phase::Task(task)) if i64::try_from(task.event) == Ok(event)))
}
