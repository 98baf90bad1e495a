//! The sweep: events past their group's retention, and those of deleted streams, in steps too small to be felt.

use crate::store::StoreError;

use super::Logs;
use super::put::DAY;

/// Events deleted in one transaction.
const STEP: i64 = 2_000;

const DELETE_DEAD: &str = "
    delete from log_events where (stream_id, ts, seq) in (
        select e.stream_id, e.ts, e.seq from log_dead_streams d join log_events e on e.stream_id = d.id
        limit ?1)";

const DELETE_EXPIRED: &str = "
    delete from log_events where (stream_id, ts, seq) in (
        select e.stream_id, e.ts, e.seq
        from log_groups g join log_streams s on s.group_id = g.id join log_events e on e.stream_id = s.id
        where g.retention_days is not null and s.first_ts < ?2 - g.retention_days * ?3
          and e.ts < ?2 - g.retention_days * ?3
        limit ?1)";

/// So that the next sweep looks only at streams with something to delete, and sizes stay about right.
const SETTLE: &str = "
    update log_streams set
        first_ts = (select min(ts) from log_events e where e.stream_id = log_streams.id),
        bytes = case when exists (select 1 from log_events e where e.stream_id = log_streams.id)
                     then bytes else 0 end
    where id in (select s.id from log_groups g join log_streams s on s.group_id = g.id
                 where g.retention_days is not null and s.first_ts < ?1 - g.retention_days * ?2)";

impl Logs {
    /// Deletes what nobody can see any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        while self.store.relaxed(|tx| tx.execute(DELETE_DEAD, [STEP])).await? > 0 {}
        let emptied = "delete from log_dead_streams where not exists (
            select 1 from log_events e where e.stream_id = log_dead_streams.id)";
        self.store.relaxed(move |tx| tx.execute(emptied, [])).await?;
        let now = self.clock.surely();
        while self.store.relaxed(move |tx| tx.execute(DELETE_EXPIRED, (STEP, now, DAY))).await? > 0 {}
        self.store.relaxed(move |tx| tx.execute(SETTLE, (now, DAY))).await?;
        Ok(())
    }
}
