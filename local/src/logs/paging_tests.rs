//! Paging: whatever the events, the limits and the direction, every event comes exactly once and in order.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::logs::Logs;
use crate::place::Place;
use crate::service::Service;
use crate::store::Store;

const NOW: i64 = 1_700_000_000_000;

struct Fixture {
    logs: Logs,
    now: Arc<AtomicI64>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    async fn new(streams: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("l.db")).unwrap();
        let now = Arc::new(AtomicI64::new(NOW));
        let clock = Clock::from_fn({
            let now = now.clone();
            move || now.load(Ordering::SeqCst)
        });
        let fixture =
            Self { logs: Logs::open(store, clock, Place::default()).await.unwrap(), now, _dir: dir };
        fixture.ok("CreateLogGroup", json!({ "logGroupName": "g" })).await;
        for stream in streams {
            fixture.ok("CreateLogStream", json!({ "logGroupName": "g", "logStreamName": stream })).await;
        }
        fixture
    }

    async fn ok(&self, action: &str, body: Value) -> Value {
        self.logs.call(action, body).await.unwrap()
    }

    async fn put(&self, stream: &str, events: &[(i64, String)]) {
        let events: Vec<Value> =
            events.iter().map(|(at, text)| json!({ "timestamp": NOW + at, "message": text })).collect();
        self.ok("PutLogEvents", json!({ "logGroupName": "g", "logStreamName": stream, "logEvents": events }))
            .await;
    }

    async fn get(&self, token: Option<&str>, limit: i64, from_head: bool) -> Value {
        let mut request =
            json!({ "logGroupName": "g", "logStreamName": "s", "limit": limit, "startFromHead": from_head });
        if let Some(token) = token {
            request["nextToken"] = json!(token);
        }
        self.ok("GetLogEvents", request).await
    }

    /// Pages in one direction until the token stays the same.
    async fn walk(&self, from_head: bool, limit: i64) -> (Vec<String>, Value) {
        let member = if from_head { "nextForwardToken" } else { "nextBackwardToken" };
        let mut pages = Vec::new();
        let mut reply = self.get(None, limit, from_head).await;
        loop {
            pages.push(messages(&reply));
            let token = reply[member].as_str().unwrap().to_owned();
            reply = self.get(Some(&token), limit, from_head).await;
            if reply[member] == token {
                assert_eq!(messages(&reply), Vec::<String>::new());
                break;
            }
        }
        if !from_head {
            pages.reverse();
        }
        (pages.concat(), reply)
    }
}

fn messages(reply: &Value) -> Vec<String> {
    let events = reply["events"].as_array().unwrap();
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Batches of (offset in ms, text), each sorted as the service demands; texts are unique.
fn batches() -> impl Strategy<Value = Vec<Vec<(i64, String)>>> {
    let batch = prop::collection::vec(0_i64..20, 1..8).prop_map(|mut offsets| {
        offsets.sort_unstable();
        offsets
    });
    prop::collection::vec(batch, 0..6).prop_map(|batches| {
        let mut number = 0;
        let mut name = |at| {
            number += 1;
            (at, format!("event {number}"))
        };
        batches.into_iter().map(|batch| batch.into_iter().map(&mut name).collect()).collect()
    })
}

/// By time, then by arrival.
fn in_order(batches: &[Vec<(i64, String)>]) -> Vec<String> {
    let mut all: Vec<&(i64, String)> = batches.iter().flatten().collect();
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, text)| text.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_is_read_whole_in_both_directions(batches in batches(), limit in 1_i64..6) {
        run(async {
            let fixture = Fixture::new(&["s"]).await;
            for batch in &batches {
                fixture.put("s", batch).await;
            }
            let expected = in_order(&batches);
            let (forward, at_end) = fixture.walk(true, limit).await;
            assert_eq!(forward, expected);
            let (backward, at_start) = fixture.walk(false, limit).await;
            assert_eq!(backward, expected);
            // From either end the other token leads back.
            if !expected.is_empty() {
                let back = fixture.get(at_end["nextBackwardToken"].as_str(), 1, true).await;
                assert_eq!(messages(&back), expected[expected.len() - 1..]);
                let forth = fixture.get(at_start["nextForwardToken"].as_str(), 1, true).await;
                assert_eq!(messages(&forth), expected[..1]);
            }
            // Who waits at the end sees what comes.
            fixture.put("s", &[(1000, "late".into())]).await;
            let late = fixture.get(at_end["nextForwardToken"].as_str(), limit, true).await;
            assert_eq!(messages(&late), ["late"]);
        });
    }

    #[test]
    fn a_group_is_searched_whole(
        first in batches(), second in batches(), limit in 1_i64..6, prefix in prop::bool::ANY,
    ) {
        run(async {
            let fixture = Fixture::new(&["a/1", "a/2", "b"]).await;
            for (stream, batches) in [("a/1", &first), ("a/2", &second)] {
                for batch in batches {
                    let marked: Vec<_> =
                        batch.iter().map(|(at, text)| (*at, format!("{stream} {text}"))).collect();
                    fixture.put(stream, &marked).await;
                }
            }
            fixture.put("b", &[(5, "b other".into())]).await;
            let mut request = json!({ "logGroupName": "g", "limit": limit });
            if prefix {
                request["logStreamNamePrefix"] = json!("a/");
            } else {
                request["filterPattern"] = json!("event");
            }
            let (mut found, mut times, mut ids) = (Vec::new(), Vec::new(), HashSet::new());
            loop {
                let reply = fixture.ok("FilterLogEvents", request.clone()).await;
                found.extend(messages(&reply));
                for event in reply["events"].as_array().unwrap() {
                    times.push(event["timestamp"].as_i64().unwrap());
                    assert!(ids.insert(event["eventId"].to_string()));
                }
                match reply.get("nextToken") {
                    Some(token) => request["nextToken"] = token.clone(),
                    None => break,
                }
            }
            assert!(times.is_sorted());
            for (stream, batches) in [("a/1", &first), ("a/2", &second)] {
                let of_stream: Vec<_> = found.iter().filter_map(|text| text.strip_prefix(stream)).collect();
                let expected = in_order(batches);
                assert_eq!(of_stream, expected.iter().map(|text| format!(" {text}")).collect::<Vec<_>>());
            }
            assert!(!found.contains(&"b other".to_owned()));
        });
    }
}

#[tokio::test]
async fn time_ranges_include_their_start_and_not_their_end() {
    let fixture = Fixture::new(&["s"]).await;
    fixture.put("s", &[(1, "one".into()), (2, "two".into()), (3, "three".into())]).await;
    let request = json!({
        "logGroupName": "g", "logStreamName": "s", "startTime": NOW + 1, "endTime": NOW + 3, "startFromHead": true
    });
    assert_eq!(messages(&fixture.ok("GetLogEvents", request).await), ["one", "two"]);
    // FilterLogEvents includes its end, as AWS's does.
    let request = json!({ "logGroupName": "g", "startTime": NOW + 2, "endTime": NOW + 3 });
    assert_eq!(messages(&fixture.ok("FilterLogEvents", request).await), ["two", "three"]);
}

#[tokio::test]
async fn retention_hides_at_once_and_the_sweep_deletes() {
    let fixture = Fixture::new(&["s", "t"]).await;
    fixture.put("s", &[(0, "old".into())]).await;
    fixture.put("t", &[(0, "of a deleted stream".into())]).await;
    fixture.ok("PutRetentionPolicy", json!({ "logGroupName": "g", "retentionInDays": 1 })).await;
    fixture.ok("DeleteLogStream", json!({ "logGroupName": "g", "logStreamName": "t" })).await;
    fixture.now.fetch_add(2 * crate::logs::put::DAY, Ordering::SeqCst);
    assert_eq!(messages(&fixture.get(None, 10, true).await), Vec::<String>::new());
    let count = || {
        fixture.logs.store.read(|tx| tx.query_row("select count(*) from log_events", [], |row| row.get(0)))
    };
    let before: i64 = count().await.unwrap();
    fixture.logs.sweep().await.unwrap();
    let after: i64 = count().await.unwrap();
    assert_eq!((before, after), (2, 0));
}

#[tokio::test]
async fn streams_are_listed_in_both_orders_page_by_page() {
    let names = ["c", "a", "b", "d"];
    let fixture = Fixture::new(&names).await;
    for (at, name) in names.iter().enumerate() {
        fixture.put(name, &[(i64::try_from(at).unwrap(), "x".into())]).await;
    }
    for (order, descending, expected) in [
        ("LogStreamName", false, ["a", "b", "c", "d"]),
        ("LogStreamName", true, ["d", "c", "b", "a"]),
        ("LastEventTime", true, ["d", "b", "a", "c"]),
    ] {
        let mut request =
            json!({ "logGroupName": "g", "orderBy": order, "descending": descending, "limit": 3 });
        let mut found = Vec::new();
        loop {
            let reply = fixture.ok("DescribeLogStreams", request.clone()).await;
            for stream in reply["logStreams"].as_array().unwrap() {
                found.push(stream["logStreamName"].as_str().unwrap().to_owned());
            }
            match reply.get("nextToken") {
                Some(token) => request["nextToken"] = token.clone(),
                None => break,
            }
        }
        assert_eq!(found, expected, "{order} {descending}");
    }
}
