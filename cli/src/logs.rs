//! The output of several jobs as one: streams of CloudWatch Logs merged by time.
//!
//! Each job attempt is a stream with its events in order. [`Merge`] keeps the head of each stream that is open and
//! gives out the earliest. A stream is opened when the merge has come to the time at which its attempt started, so a
//! night with hundreds of scripts holds pages of only those that ran at once, and asks for pages one after another.
//!
//! A pass ends when every stream is at its end; the next pass goes on where it was, which is how output is followed.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::operation::get_log_events::GetLogEventsError;

use crate::error::CliError;
use crate::records::{Records, State};
use rsqlflow_config::names::log_stream;

/// The output of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    /// The job.
    pub(crate) job: String,
    /// The attempt, from 1.
    pub(crate) attempt: u32,
    /// Name of the log stream.
    pub(crate) name: String,
    /// Milliseconds since 1970 before which it has nothing.
    pub(crate) since: i64,
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// The line.
    pub(crate) message: String,
}

/// The streams of a run in the order of their starts. A job that left no record may have printed something all the same.
pub(crate) fn streams(records: &Records) -> Vec<Stream> {
    let millis = |text: &str| rsqlflow_config::time::parse(text).map_or(0, |time| time.timestamp_millis());
    let mut streams = Vec::new();
    for job in &records.jobs {
        for attempt in &job.attempts {
            streams.push(Stream {
                job: job.job_name.clone(),
                attempt: attempt.attempt,
                name: attempt.log_stream.clone(),
                since: millis(&attempt.execution_start_ts),
            });
        }
        if let Some(name) = &job.log_stream {
            let since = job.attempts.last().map_or(&job.execution_start_ts, |last| &last.execution_end_ts);
            streams.push(Stream {
                job: job.job_name.clone(),
                attempt: job.attempt,
                name: name.clone(),
                since: millis(since),
            });
        }
    }
    let run = &records.run;
    let unrecorded = records.jobs().into_iter().filter(|place| matches!(place.state, State::NoRecord));
    streams.extend(unrecorded.map(|place| Stream {
        job: place.name.into(),
        attempt: 1,
        name: log_stream(&run.workflow_execution_id, place.name, 1),
        since: millis(&run.execution_start_ts),
    }));
    streams.sort_by_key(|stream| stream.since);
    streams.dedup_by(|a, b| a.name == b.name);
    streams
}

/// Where pages of a stream come from.
pub(crate) trait Pages {
    /// The page after `token`, and its own token; the same token says that there is no more for now.
    fn page(
        &self,
        stream: &str,
        token: Option<String>,
    ) -> impl Future<Output = Result<(Vec<Line>, Option<String>), CliError>> + Send;
}

/// CloudWatch Logs.
pub(crate) struct CloudWatch {
    client: Client,
    group: String,
}

impl CloudWatch {
    /// The streams of a group.
    pub(crate) fn new(client: Client, group: &str) -> Self {
        Self { client, group: group.into() }
    }
}

impl Pages for CloudWatch {
    async fn page(
        &self,
        stream: &str,
        token: Option<String>,
    ) -> Result<(Vec<Line>, Option<String>), CliError> {
        let answer = self
            .client
            .get_log_events()
            .log_group_name(&self.group)
            .log_stream_name(stream)
            .start_from_head(true)
            .set_next_token(token)
            .send()
            .await;
        match answer {
            Ok(page) => {
                let lines = page.events.unwrap_or_default().into_iter().map(|event| Line {
                    timestamp: event.timestamp.unwrap_or_default(),
                    message: event.message.unwrap_or_default(),
                });
                Ok((lines.collect(), page.next_forward_token))
            }
            // A job that has printed nothing yet has no stream.
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(GetLogEventsError::ResourceNotFoundException(_))
                ) =>
            {
                Ok((vec![], None))
            }
            Err(error) => Err(CliError::aws("reading the logs")(error)),
        }
    }
}

/// Streams merged by time.
pub(crate) struct Merge<P> {
    pages: P,
    known: BTreeSet<String>,
    waiting: VecDeque<Stream>,
    open: Vec<Open>,
}

/// A stream that has been opened.
struct Open {
    stream: Stream,
    token: Option<String>,
    lines: VecDeque<Line>,
    at_end: bool,
}

impl<P: Pages> Merge<P> {
    /// A merge of nothing yet.
    pub(crate) fn new(pages: P) -> Self {
        Self { pages, known: BTreeSet::new(), waiting: VecDeque::new(), open: Vec::new() }
    }

    /// Goes on reading from elsewhere, where the same streams are.
    pub(crate) fn read_from(&mut self, pages: P) {
        self.pages = pages;
    }

    /// Adds the streams that are new, in the order of their starts.
    pub(crate) fn add(&mut self, streams: Vec<Stream>) {
        for stream in streams {
            if self.known.insert(stream.name.clone()) {
                self.waiting.push_back(stream);
            }
        }
    }

    /// Whether no stream was ever added.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Begins a pass: what was at its end is asked again.
    pub(crate) fn begin(&mut self) {
        for open in &mut self.open {
            open.at_end = false;
        }
    }

    /// The earliest line of this pass, or nothing when every stream is at its end.
    ///
    /// # Errors
    /// The source's.
    pub(crate) async fn next(&mut self) -> Result<Option<(&Stream, Line)>, CliError> {
        loop {
            for open in self.open.iter_mut().filter(|open| open.lines.is_empty() && !open.at_end) {
                fill(&self.pages, open).await?;
            }
            let heads = self.open.iter().enumerate();
            let earliest = heads.filter_map(|(at, open)| Some((open.lines.front()?.timestamp, at))).min();
            let due = match (self.waiting.front(), earliest) {
                (Some(stream), Some((time, _))) => stream.since <= time,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if due && let Some(stream) = self.waiting.pop_front() {
                self.open.push(Open { stream, token: None, lines: VecDeque::new(), at_end: false });
                continue;
            }
            let Some((_, at)) = earliest else { return Ok(None) };
            let open = &mut self.open[at];
            return Ok(open.lines.pop_front().map(|line| (&open.stream, line)));
        }
    }
}

async fn fill<P: Pages>(pages: &P, open: &mut Open) -> Result<(), CliError> {
    while open.lines.is_empty() && !open.at_end {
        let (lines, token) = pages.page(&open.stream.name, open.token.clone()).await?;
        open.at_end = token.is_none() || token == open.token;
        // A stream that is not there yet has no token, and is asked from its head again.
        open.token = token.or_else(|| open.token.take());
        open.lines = lines.into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::samples;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// Streams of pages with two lines each, as GetLogEvents gives them out; what was asked for is written down.
    #[derive(Default)]
    struct Fake {
        streams: Mutex<BTreeMap<String, Vec<i64>>>,
        asked: Mutex<Vec<String>>,
    }

    impl Pages for &Fake {
        async fn page(
            &self,
            stream: &str,
            token: Option<String>,
        ) -> Result<(Vec<Line>, Option<String>), CliError> {
            self.asked.lock().unwrap().push(stream.to_string());
            let streams = self.streams.lock().unwrap();
            let Some(times) = streams.get(stream) else { return Ok((vec![], None)) };
            let from: usize = token.map_or(0, |token| token.parse().unwrap());
            let lines: Vec<Line> = times.iter().skip(from).take(2).map(|time| line(stream, *time)).collect();
            let token = (from + lines.len()).to_string();
            Ok((lines, Some(token)))
        }
    }

    fn line(stream: &str, timestamp: i64) -> Line {
        Line { timestamp, message: format!("{stream}@{timestamp}") }
    }

    fn stream(name: &str, since: i64) -> Stream {
        Stream { job: name.into(), attempt: 1, name: name.into(), since }
    }

    async fn pass(merge: &mut Merge<&Fake>) -> String {
        let mut messages = Vec::new();
        merge.begin();
        while let Some((_, line)) = merge.next().await.unwrap() {
            messages.push(line.message);
        }
        messages.join(" ")
    }

    #[tokio::test]
    async fn lines_of_all_streams_come_in_the_order_of_their_times() {
        let fake = Fake::default();
        let put = |name: &str, times: &[i64]| {
            fake.streams.lock().unwrap().insert(name.into(), times.to_vec());
        };
        put("a", &[1, 2, 5, 6, 6]);
        put("b", &[2, 3, 9]);
        put("late", &[100]);
        let mut merge = Merge::new(&fake);
        merge.add(vec![stream("a", 0), stream("b", 2), stream("none", 3), stream("late", 90)]);
        assert_eq!(pass(&mut merge).await, "a@1 a@2 b@2 b@3 a@5 a@6 a@6 b@9 late@100");
        assert_eq!(pass(&mut merge).await, "");
        put("a", &[1, 2, 5, 6, 6, 7]);
        put("none", &[4]);
        merge.add(vec![stream("a", 0)]);
        assert_eq!(pass(&mut merge).await, "none@4 a@7");
    }

    #[tokio::test]
    async fn a_stream_is_not_asked_for_before_its_time() {
        let fake = Fake::default();
        fake.streams.lock().unwrap().extend([("a".into(), vec![1]), ("b".into(), vec![50])]);
        let mut merge = Merge::new(&fake);
        merge.add(vec![stream("a", 0), stream("b", 40)]);
        merge.begin();
        assert_eq!(merge.next().await.unwrap().unwrap().1.timestamp, 1);
        assert!(!fake.asked.lock().unwrap().contains(&"b".to_string()));
    }

    #[test]
    fn every_attempt_has_its_stream() {
        let names: Vec<String> = streams(&samples::failed())
            .iter()
            .map(|stream| format!("{} {} {}", stream.job, stream.attempt, stream.since % 100_000))
            .collect();
        assert_eq!(names, ["load_a.sh 1 1000", "dim/load_b.sh 1 2500", "dim/load_b.sh 2 10000"]);
    }
}
