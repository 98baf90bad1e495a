//! `PutLogEvents`, with every documented limit
//! (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>).

use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Millis;
use crate::service::AwsError;
use crate::shape::parse;

use super::{Answer, Logs, invalid, no_group, no_stream};

/// "The maximum batch size is 1,048,576 bytes."
pub(super) const MAX_BATCH_BYTES: usize = 1_048_576;
/// "This size is calculated as the sum of all event messages in UTF-8, plus 26 bytes for each log event."
pub(super) const EVENT_OVERHEAD: usize = 26;
/// "The maximum number of log events in a batch is 10,000."
const MAX_BATCH_EVENTS: usize = 10_000;
/// "A batch of log events in a single request cannot span more than 24 hours."
const MAX_SPAN: Millis = 24 * 3_600_000;
/// "None of the log events in the batch can be more than 2 hours in the future."
const MAX_AHEAD: Millis = 2 * 3_600_000;
/// "None of the log events in the batch can be more than 14 days in the past", nor older than the retention.
const MAX_AGE_DAYS: i64 = 14;
/// Milliseconds.
pub(super) const DAY: Millis = 86_400_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PutLogEvents {
    log_group_name: String,
    log_stream_name: String,
    log_events: Vec<InputLogEvent>,
}

#[derive(Deserialize)]
struct InputLogEvent {
    timestamp: Millis,
    message: String,
}

impl PutLogEvents {
    fn check(&self) -> Result<(), AwsError> {
        let events = &self.log_events;
        let out_of_range = events.is_empty() || events.len() > MAX_BATCH_EVENTS;
        if out_of_range || events.iter().any(|event| event.message.is_empty() || event.timestamp < 0) {
            return Err(invalid(format!(
                "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have 1 \
                 to {MAX_BATCH_EVENTS} events, each with a message and a timestamp"
            )));
        }
        let bytes: usize = events.iter().map(|event| event.message.len() + EVENT_OVERHEAD).sum();
        if bytes > MAX_BATCH_BYTES {
            return Err(invalid(format!(
                "Upload too large: {bytes} bytes exceeds limit of {MAX_BATCH_BYTES}"
            )));
        }
        if !events.is_sorted_by_key(|event| event.timestamp) {
            return Err(invalid(
                "Log events in a single PutLogEvents request must be in chronological order.",
            ));
        }
        let (first, last) = (events[0].timestamp, events[events.len() - 1].timestamp);
        if last - first > MAX_SPAN {
            return Err(invalid(
                "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
            ));
        }
        Ok(())
    }

    /// Which events are taken, and what is said about the others. Events are in order of time, so the old ones are
    /// the first and the new ones the last.
    fn sort_out(&self, now: Millis, retention_days: Option<i64>) -> (std::ops::Range<usize>, Option<Value>) {
        let before = |limit: Millis| self.log_events.partition_point(|event| event.timestamp < limit);
        let too_old = before(now - MAX_AGE_DAYS * DAY);
        let expired = retention_days.map_or(0, |days| before(now - days * DAY));
        let too_new = self.log_events.partition_point(|event| event.timestamp <= now + MAX_AHEAD);
        let mut rejected = serde_json::Map::new();
        if too_new < self.log_events.len() {
            rejected.insert("tooNewLogEventStartIndex".into(), json!(too_new));
        }
        if too_old > 0 {
            rejected.insert("tooOldLogEventEndIndex".into(), json!(too_old));
        }
        if expired > 0 {
            rejected.insert("expiredLogEventEndIndex".into(), json!(expired));
        }
        let start = too_old.max(expired);
        let rejected = (!rejected.is_empty()).then_some(Value::Object(rejected));
        (start..too_new.max(start), rejected)
    }
}

impl Logs {
    pub(super) async fn put_log_events(&self, body: Value) -> Result<Value, AwsError> {
        let request: PutLogEvents = parse(body)?;
        request.check()?;
        let now = self.clock.now();
        self.store.relaxed(move |tx| insert(tx, &request, now)).await?
    }
}

struct Stream {
    id: i64,
    next_seq: i64,
    retention_days: Option<i64>,
}

fn insert(tx: &Transaction<'_>, request: &PutLogEvents, now: Millis) -> Answer<Value> {
    let stream = match find(tx, &request.log_group_name, &request.log_stream_name)? {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    let (accepted, rejected) = request.sort_out(now, stream.retention_days);
    let events = &request.log_events[accepted];
    let mut seq = stream.next_seq;
    let mut bytes = 0;
    let mut statement = tx.prepare_cached("insert into log_events values (?1, ?2, ?3, ?4, ?5)")?;
    for event in events {
        statement.execute((stream.id, event.timestamp, seq, now, &event.message))?;
        seq += 1;
        bytes += event.message.len() + EVENT_OVERHEAD;
    }
    if let (Some(first), Some(last)) = (events.first(), events.last()) {
        tx.prepare_cached(
            "update log_streams set next_seq = ?2, bytes = bytes + ?3, last_ingested = ?4,
                 first_ts = min(coalesce(first_ts, ?5), ?5), last_ts = max(coalesce(last_ts, ?6), ?6)
             where id = ?1",
        )?
        .execute((
            stream.id,
            seq,
            i64::try_from(bytes).unwrap_or_default(),
            now,
            first.timestamp,
            last.timestamp,
        ))?;
    }
    let mut reply = json!({ "nextSequenceToken": format!("{seq:056}") });
    if let Some(rejected) = rejected {
        reply["rejectedLogEventsInfo"] = rejected;
    }
    Ok(Ok(reply))
}

fn find(tx: &Transaction<'_>, group: &str, stream: &str) -> Answer<Stream> {
    let found: Option<(Option<i64>, Option<i64>, Option<i64>)> = tx
        .prepare_cached(
            "select s.id, s.next_seq, g.retention_days from log_groups g
             left join log_streams s on s.group_id = g.id and s.name = ?2 where g.name = ?1",
        )?
        .query_row((group, stream), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(match found {
        None => Err(no_group()),
        Some((Some(id), Some(next_seq), retention_days)) => Ok(Stream { id, next_seq, retention_days }),
        Some(_) => Err(no_stream()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(timestamps: &[Millis]) -> PutLogEvents {
        PutLogEvents {
            log_group_name: "g".into(),
            log_stream_name: "s".into(),
            log_events: timestamps
                .iter()
                .map(|&timestamp| InputLogEvent { timestamp, message: "m".into() })
                .collect(),
        }
    }

    #[test]
    fn batches_beyond_the_limits_are_refused_whole() {
        assert!(batch(&[]).check().is_err());
        assert!(batch(&[2, 1]).check().is_err());
        assert!(batch(&[0, MAX_SPAN]).check().is_ok());
        assert!(batch(&[0, MAX_SPAN + 1]).check().is_err());
        assert!(batch(&vec![1; MAX_BATCH_EVENTS]).check().is_ok());
        assert!(batch(&vec![1; MAX_BATCH_EVENTS + 1]).check().is_err());
        let mut large = batch(&[1]);
        large.log_events[0].message = "x".repeat(MAX_BATCH_BYTES - EVENT_OVERHEAD);
        assert!(large.check().is_ok());
        large.log_events[0].message.push('x');
        assert!(large.check().unwrap_err().message.contains("1048577 bytes"));
    }

    #[test]
    fn events_too_old_or_too_new_are_rejected_one_by_one() {
        let now = 100 * DAY;
        let ages = [-15 * DAY, -14 * DAY, -3 * DAY, 0, MAX_AHEAD, MAX_AHEAD + 1];
        let events = batch(&ages.map(|age| now + age));
        assert_eq!(
            events.sort_out(now, None),
            (1..5, Some(json!({ "tooNewLogEventStartIndex": 5, "tooOldLogEventEndIndex": 1 })))
        );
        let (taken, rejected) = events.sort_out(now, Some(1));
        assert_eq!((taken, rejected.unwrap()["expiredLogEventEndIndex"].clone()), (3..5, json!(3)));
        assert_eq!(batch(&[now]).sort_out(now, None), (0..1, None));
    }
}
