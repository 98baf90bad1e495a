//! `FilterLogEvents`: many streams of a group, merged in order of time
//! (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>).
//!
//! Each stream is read in small chunks and merged by a heap, so a page costs memory for a chunk per stream. A call
//! looks at a bounded number of events; as in AWS, it then answers with what it found (perhaps nothing) and a token
//! that goes on, so one search over a large log never holds up the store.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Millis;
use crate::service::AwsError;
use crate::shape::parse;

use super::pattern::Pattern;
use super::put::EVENT_OVERHEAD;
use super::read::{MAX_REPLY_BYTES, oldest_shown, reply_limit};
use super::{Answer, Logs, group_name, invalid, no_group, no_stream};

/// Events and bytes one call looks at before it answers: some ten milliseconds of the store's time.
const SCAN_EVENTS: usize = 20_000;
/// See [`SCAN_EVENTS`].
const SCAN_BYTES: usize = 8 * 1024 * 1024;
/// Events read at once over all streams.
const CHUNK: usize = 2_048;
/// "logStreamNames: maximum number of 100 items".
const MAX_STREAM_NAMES: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilterLogEvents {
    #[serde(default)]
    log_group_name: Option<String>,
    #[serde(default)]
    log_group_identifier: Option<String>,
    #[serde(default)]
    log_stream_names: Vec<String>,
    #[serde(default)]
    log_stream_name_prefix: Option<String>,
    #[serde(default)]
    start_time: Option<Millis>,
    #[serde(default)]
    end_time: Option<Millis>,
    #[serde(default)]
    filter_pattern: Option<String>,
    #[serde(default)]
    next_token: Option<String>,
    #[serde(default)]
    limit: Option<i64>,
}

/// An event's place in the merged order: its time, its stream, its order of arrival there (from 1).
type Key = (Millis, i64, i64);

struct Search {
    streams: HashMap<i64, Source>,
    /// The next key of every stream; a sequence of 0 stands for a stream that has not been read yet.
    next: BinaryHeap<Reverse<Key>>,
    end: Millis,
    chunk: usize,
}

struct Source {
    name: String,
    /// Everything up to here has been read.
    read_to: (Millis, i64),
    rows: VecDeque<Row>,
}

struct Row {
    at: (Millis, i64),
    ingested_at: Millis,
    message: String,
}

impl Logs {
    pub(super) async fn filter_log_events(&self, body: Value) -> Result<Value, AwsError> {
        let request: FilterLogEvents = parse(body)?;
        let group = group_name(request.log_group_name.clone(), request.log_group_identifier.clone())?;
        if !request.log_stream_names.is_empty() && request.log_stream_name_prefix.is_some() {
            return Err(invalid(
                "Either logStreamNames or logStreamNamePrefix can be given, not both of them.",
            ));
        }
        if request.log_stream_names.len() > MAX_STREAM_NAMES {
            return Err(invalid("logStreamNames has more than 100 items."));
        }
        let pattern = Pattern::parse(request.filter_pattern.as_deref().unwrap_or_default())?;
        let limit = usize::try_from(reply_limit(request.limit)?).unwrap_or(1);
        let after = match request.next_token.as_deref().map(from_token) {
            Some(None) => return Err(invalid("The specified nextToken is invalid.")),
            Some(Some(key)) => Some(key),
            None => None,
        };
        let now = self.clock.now();
        self.store
            .read(move |tx| {
                let mut search = match Search::open(tx, &group, &request, after, now)? {
                    Ok(search) => search,
                    Err(error) => return Ok(Err(error)),
                };
                search.run(tx, &pattern, limit).map(Ok)
            })
            .await?
    }
}

impl Search {
    fn open(
        tx: &Transaction<'_>,
        group: &str,
        request: &FilterLogEvents,
        after: Option<Key>,
        now: Millis,
    ) -> Answer<Self> {
        let found: Option<(i64, Option<i64>)> = tx
            .prepare_cached("select id, retention_days from log_groups where name = ?1")?
            .query_row([group], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((group_id, retention_days)) = found else { return Ok(Err(no_group())) };
        for name in &request.log_stream_names {
            let known = tx
                .prepare_cached("select 1 from log_streams where group_id = ?1 and name = ?2")?
                .exists((group_id, name))?;
            if !known {
                return Ok(Err(no_stream()));
            }
        }
        let start = request.start_time.unwrap_or(0).max(oldest_shown(now, retention_days));
        let end = request.end_time.unwrap_or(Millis::MAX);
        let prefix = request.log_stream_name_prefix.as_deref().unwrap_or_default();
        // A prefix of a name is a range of names, which the index finds.
        let mut statement = tx.prepare_cached(
            "select id, name, first_ts from log_streams
             where group_id = ?1 and name >= ?2 and substr(name, 1, length(?2)) = ?2
               and first_ts <= ?3 and last_ts >= ?4 and name < ?5",
        )?;
        let beyond = format!("{prefix}\u{10ffff}");
        let mut rows = statement.query((group_id, prefix, end, start, beyond))?;
        let (mut streams, mut next) = (HashMap::new(), BinaryHeap::new());
        while let Some(row) = rows.next()? {
            let (id, name, first_ts): (i64, String, Millis) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let wanted = &request.log_stream_names;
            if !wanted.is_empty() && !wanted.contains(&name) {
                continue;
            }
            // Everything at or before this has been answered, or is too old.
            let read_to = match after {
                Some((ts, stream, seq)) => match id.cmp(&stream) {
                    std::cmp::Ordering::Less => (ts, i64::MAX),
                    std::cmp::Ordering::Equal => (ts, seq),
                    std::cmp::Ordering::Greater => (ts, 0),
                },
                None => (start, 0),
            }
            .max((start, 0));
            next.push(Reverse((first_ts.max(read_to.0), id, 0)));
            streams.insert(id, Source { name, read_to, rows: VecDeque::new() });
        }
        let chunk = (CHUNK / streams.len().max(1)).max(8);
        Ok(Ok(Self { streams, next, end, chunk }))
    }

    fn run(&mut self, tx: &Transaction<'_>, pattern: &Pattern, limit: usize) -> rusqlite::Result<Value> {
        let mut events = Vec::new();
        let (mut scanned, mut scanned_bytes, mut reply_bytes) = (0, 0, 0);
        let mut last = None;
        while let Some(Reverse((_, id, seq))) = self.next.pop() {
            let Some(source) = self.streams.get_mut(&id) else { continue };
            if seq > 0
                && let Some(row) = source.rows.pop_front()
            {
                scanned += 1;
                scanned_bytes += row.message.len();
                last = Some((row.at.0, id, row.at.1));
                if pattern.matches(&row.message) {
                    reply_bytes += row.message.len() + EVENT_OVERHEAD;
                    events.push(json!({
                        "logStreamName": source.name,
                        "timestamp": row.at.0,
                        "message": row.message,
                        "ingestionTime": row.ingested_at,
                        "eventId": to_token((row.at.0, id, row.at.1)),
                    }));
                }
            }
            if source.rows.is_empty() {
                source.read(tx, id, self.end, self.chunk)?;
            }
            if let Some(row) = source.rows.front() {
                self.next.push(Reverse((row.at.0, id, row.at.1)));
            }
            let enough = events.len() >= limit
                || reply_bytes + MAX_EVENT_MARGIN > MAX_REPLY_BYTES
                || scanned >= SCAN_EVENTS
                || scanned_bytes >= SCAN_BYTES;
            if enough {
                break;
            }
        }
        let mut reply = json!({ "events": events, "searchedLogStreams": [] });
        if let (Some(last), false) = (last, self.next.is_empty()) {
            reply["nextToken"] = json!(to_token(last));
        }
        Ok(reply)
    }
}

/// A reply ends when the next event of usual size might not fit; a single large one may still exceed a reply's size
/// a little, as it may be as large as a reply itself.
const MAX_EVENT_MARGIN: usize = 16 * 1024;

impl Source {
    fn read(&mut self, tx: &Transaction<'_>, id: i64, end: Millis, chunk: usize) -> rusqlite::Result<()> {
        let mut statement = tx.prepare_cached(
            "select ts, seq, ingested_at, message from log_events
             where stream_id = ?1 and (ts, seq) > (?2, ?3) and ts <= ?4 order by ts, seq limit ?5",
        )?;
        let chunk = i64::try_from(chunk).unwrap_or(i64::MAX);
        let mut rows = statement.query((id, self.read_to.0, self.read_to.1, end, chunk))?;
        while let Some(row) = rows.next()? {
            self.read_to = (row.get(0)?, row.get(1)?);
            self.rows.push_back(Row { at: self.read_to, ingested_at: row.get(2)?, message: row.get(3)? });
        }
        Ok(())
    }
}

/// AWS's event ids are 56 digits; ours are a key, which also serves as the token after that event.
fn to_token((ts, stream, seq): Key) -> String {
    format!("{ts:020}{stream:018}{seq:018}")
}

fn from_token(token: &str) -> Option<Key> {
    Some((
        token.get(..20)?.parse().ok()?,
        token.get(20..38)?.parse().ok()?,
        token.get(38..56).filter(|_| token.len() == 56)?.parse().ok()?,
    ))
}
