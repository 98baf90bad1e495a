//! `GetLogEvents`: one stream, page by page, in either direction
//! (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html>).
//!
//! A token is a direction and the position of an event. Both ends of a page carry one; at the end of the stream the
//! token comes back unchanged, which is how readers know, and it finds what arrives later.

use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Millis;
use crate::service::AwsError;
use crate::shape::parse;

use super::put::DAY;
use super::{Answer, Logs, group_name, invalid, no_group, no_stream};

/// "as many log events as can fit in a response size of 1 MB (up to 10,000 log events)".
pub(super) const MAX_REPLY_BYTES: usize = 1_048_576;
/// See [`MAX_REPLY_BYTES`].
pub(super) const MAX_REPLY_EVENTS: i64 = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetLogEvents {
    #[serde(default)]
    log_group_name: Option<String>,
    #[serde(default)]
    log_group_identifier: Option<String>,
    log_stream_name: String,
    #[serde(default)]
    start_time: Option<Millis>,
    #[serde(default)]
    end_time: Option<Millis>,
    #[serde(default)]
    next_token: Option<String>,
    #[serde(default)]
    limit: Option<i64>,
    #[serde(default)]
    start_from_head: bool,
}

/// Where an event is in its stream: its time, then its order of arrival (from 1).
type Position = (Millis, i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cursor {
    /// What comes after this position.
    After(Position),
    /// What comes before this position.
    Before(Position),
}

impl Cursor {
    fn from_token(token: &str) -> Option<Self> {
        let (direction, digits) = token.split_once('/')?;
        let position = (digits.get(..20)?.parse().ok()?, digits.get(20..)?.parse().ok()?);
        match direction {
            "f" => Some(Self::After(position)),
            "b" => Some(Self::Before(position)),
            _ => None,
        }
    }

    fn to_token(self) -> String {
        let (direction, (ts, seq)) = match self {
            Self::After(position) => ('f', position),
            Self::Before(position) => ('b', position),
        };
        format!("{direction}/{ts:020}{seq:020}")
    }

    /// The cursors to both sides of the page that was read from here.
    fn around(self, first_and_last: Option<(Position, Position)>) -> (Self, Self) {
        match (first_and_last, self) {
            (Some((first, last)), _) => (Self::Before(first), Self::After(last)),
            // Nothing there: the same token again, and the way back includes the event the token names.
            (None, Self::After((ts, seq))) => (Self::Before((ts, seq + 1)), self),
            (None, Self::Before((ts, seq))) => (self, Self::After((ts, (seq - 1).max(0)))),
        }
    }
}

pub(super) fn reply_limit(limit: Option<i64>) -> Result<i64, AwsError> {
    match limit.unwrap_or(MAX_REPLY_EVENTS) {
        limit @ 1..=MAX_REPLY_EVENTS => Ok(limit),
        other => Err(invalid(format!(
            "1 validation error detected: Value '{other}' at 'limit' failed to satisfy constraint: Member must have \
             value between 1 and {MAX_REPLY_EVENTS}"
        ))),
    }
}

/// The oldest time a group still shows.
pub(super) fn oldest_shown(now: Millis, retention_days: Option<i64>) -> Millis {
    retention_days.map_or(Millis::MIN, |days| now - days * DAY)
}

impl Logs {
    pub(super) async fn get_log_events(&self, body: Value) -> Result<Value, AwsError> {
        let request: GetLogEvents = parse(body)?;
        let group = group_name(request.log_group_name, request.log_group_identifier)?;
        let limit = reply_limit(request.limit)?;
        let cursor = match &request.next_token {
            Some(token) => {
                Cursor::from_token(token).ok_or_else(|| invalid("The specified nextToken is invalid."))?
            }
            None if request.start_from_head => Cursor::After((0, 0)),
            None => Cursor::Before((Millis::MAX, 0)),
        };
        let times = request.start_time.unwrap_or(0)..request.end_time.unwrap_or(Millis::MAX);
        let now = self.clock.now();
        self.store
            .read(move |tx| {
                let (stream, retention_days) = match find(tx, &group, &request.log_stream_name)? {
                    Ok(found) => found,
                    Err(error) => return Ok(Err(error)),
                };
                let start = times.start.max(oldest_shown(now, retention_days));
                let mut events = page(tx, stream, cursor, start..times.end, limit)?;
                if matches!(cursor, Cursor::Before(_)) {
                    events.reverse();
                }
                let ends = events.first().zip(events.last()).map(|(first, last)| (first.0, last.0));
                let (mut back, mut forward) = cursor.around(ends);
                if ends.is_none() && request.next_token.is_none() {
                    // Tokens of an empty range: the one forward must find whatever comes.
                    (back, forward) = (Cursor::Before((0, 0)), Cursor::After((0, 0)));
                }
                let events: Vec<Value> = events.into_iter().map(|(_, event)| event).collect();
                Ok(Ok(json!({
                    "events": events,
                    "nextForwardToken": forward.to_token(),
                    "nextBackwardToken": back.to_token(),
                })))
            })
            .await?
    }
}

fn find(tx: &Transaction<'_>, group: &str, stream: &str) -> Answer<(i64, Option<i64>)> {
    let found: Option<(Option<i64>, Option<i64>)> = tx
        .prepare_cached(
            "select s.id, g.retention_days from log_groups g
             left join log_streams s on s.group_id = g.id and s.name = ?2 where g.name = ?1",
        )?
        .query_row((group, stream), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        None => Err(no_group()),
        Some((None, _)) => Err(no_stream()),
        Some((Some(id), retention_days)) => Ok((id, retention_days)),
    })
}

/// Events from the cursor on, in its direction, as many as fit a reply.
fn page(
    tx: &Transaction<'_>,
    stream: i64,
    cursor: Cursor,
    times: std::ops::Range<Millis>,
    limit: i64,
) -> rusqlite::Result<Vec<(Position, Value)>> {
    let (sql, position) = match cursor {
        Cursor::After(position) => (
            "select ts, seq, ingested_at, message from log_events
             where stream_id = ?1 and (ts, seq) > (?2, ?3) and ts >= ?4 and ts < ?5
             order by ts, seq limit ?6",
            position,
        ),
        Cursor::Before(position) => (
            "select ts, seq, ingested_at, message from log_events
             where stream_id = ?1 and (ts, seq) < (?2, ?3) and ts >= ?4 and ts < ?5
             order by ts desc, seq desc limit ?6",
            position,
        ),
    };
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query((stream, position.0, position.1, times.start, times.end, limit))?;
    let mut events = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let message: String = row.get(3)?;
        bytes += message.len() + super::put::EVENT_OVERHEAD;
        if bytes > MAX_REPLY_BYTES && !events.is_empty() {
            break;
        }
        let at: Position = (row.get(0)?, row.get(1)?);
        let event = json!({ "timestamp": at.0, "message": message, "ingestionTime": row.get::<_, i64>(2)? });
        events.push((at, event));
    }
    Ok(events)
}

#[cfg(test)]
#[path = "paging_tests.rs"]
mod tests;
