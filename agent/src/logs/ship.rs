//! From an attempt's log file to its log stream.
//!
//! A shipper looks at the file a few times a second while the script runs, and drains it after. What the service has
//! accepted is noted in the journal as a position in the file; after a restart shipping goes on there, so a line may
//! come twice but never not at all. Faults of the service hold up the shipper and nothing else: it tries until the
//! service takes the events, and reads on only then, which bounds what it holds.
//!
//! A script may empty its own output (`echo x > /dev/stderr` does, where that is a file): shipping then begins with the
//! file again.
//!
//! A script that prints nothing costs no call: the stream is created with the first event.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::types::{InputLogEvent, RejectedLogEventsInfo};
use tokio::sync::watch;

use super::batch::{Batch, Event};
use super::lines::{Line, Lines, grouped};
use super::mark::LogMark;
use crate::classify::{Answer, Backoff, classify};
use crate::context::Context;
use crate::redact::Redactor;

/// How often a running script's file is looked at: a line is visible well within two seconds.
const POLL: Duration = Duration::from_millis(250);

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Ships one attempt's log.
pub(crate) struct Shipper {
    pub context: Arc<Context>,
    pub job_id: String,
    pub attempt: u32,
    pub stream: String,
    pub path: PathBuf,
    /// How far the file is shipped.
    pub mark: LogMark,
    pub task_token: String,
    pub secret_id: String,
    /// Whether the stream is known to be there.
    pub created: bool,
}

impl Shipper {
    /// Ships until the script has ended and its file is drained.
    pub(crate) async fn run(mut self, mut ended: watch::Receiver<bool>) {
        let Some(file) = self.open().await else { return };
        let mut lines = Lines::new(self.redactor(), self.mark.position);
        let mut read = self.mark.position;
        loop {
            // Asked before the look at the file: what is printed after it is seen by the next look.
            let last = *ended.borrow_and_update();
            read = self.pass(&file, &mut lines, read, last).await;
            if last {
                break;
            }
            // A dropped sender means that nobody runs the script any more.
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                changed = ended.changed() => if changed.is_err() { return },
            }
        }
        self.say_what_was_not_shipped(&file, read).await;
    }

    async fn open(&self) -> Option<File> {
        let mut backoff = Backoff::default();
        loop {
            match File::open(&self.path) {
                Ok(file) => return Some(file),
                Err(error) => {
                    tracing::warn!(job_id = self.job_id, attempt = self.attempt, %error, "the log file cannot be opened");
                    if error.kind() == std::io::ErrorKind::NotFound {
                        return None;
                    }
                    backoff.pause().await;
                }
            }
        }
    }

    /// Ships what the file holds beyond `read`; answers how far it got.
    async fn pass(&mut self, file: &File, lines: &mut Lines, mut read: u64, last: bool) -> u64 {
        let limit = match self.context.config.log_limit_bytes {
            0 => u64::MAX,
            limit => limit,
        };
        let length = file.metadata().map_or(0, |data| data.len());
        if length < read {
            *lines = Lines::new(self.redactor(), 0);
            (read, self.mark.position) = (0, 0);
        }
        if read >= length.min(limit) && !last {
            return read;
        }
        lines.set_redactor(self.redactor());
        let mut batch = Batch::default();
        let mut full = Vec::new();
        let mut chunk = Vec::new();
        while read < length.min(limit) {
            // Reads of a local file just written come from memory; a hand-over to another thread would cost more.
            let want = usize::try_from(length.min(limit) - read).map_or(CHUNK, |left| left.min(CHUNK));
            chunk.resize(want, 0);
            let got = match file.read_at(&mut chunk, read) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) => {
                    tracing::warn!(job_id = self.job_id, %error, "the log file cannot be read");
                    break;
                }
            };
            read += got as u64;
            let now = chrono::Utc::now().timestamp_millis();
            lines.feed(&chunk[..got], |line| full.extend(batch.add(now, line)));
            for events in full.drain(..) {
                self.put(events).await;
            }
        }
        if last || read >= limit {
            let now = chrono::Utc::now().timestamp_millis();
            full.extend(lines.finish().and_then(|line| batch.add(now, line)));
        }
        for events in full.into_iter().chain(batch.take()) {
            self.put(events).await;
        }
        read
    }

    async fn say_what_was_not_shipped(&mut self, file: &File, read: u64) {
        let length = file.metadata().map_or(read, |data| data.len());
        if length > read {
            let text = format!(
                "[rsqlflow: {} more bytes are not shipped (log_limit_bytes); all of it is on host {} in {}]",
                grouped(length - read),
                self.context.config.instance_id,
                self.path.display()
            );
            let line = Line { text, end: length };
            let mut batch = Batch::default();
            batch.add(chrono::Utc::now().timestamp_millis(), line);
            if let Some(events) = batch.take() {
                self.put(events).await;
            }
        }
    }

    fn redactor(&self) -> Redactor {
        self.context.secrets.redactor(&self.task_token, &self.secret_id)
    }

    /// Puts the events, however long that takes.
    async fn put(&mut self, events: Vec<Event>) {
        let end = events.last().map_or(self.mark.position, |event| event.end);
        let count = events.len();
        let mut inputs = Vec::with_capacity(count);
        for event in events {
            // Cannot fail: text and time are set.
            inputs.extend(InputLogEvent::builder().timestamp(event.timestamp).message(event.text).build());
        }
        if !self.created {
            self.create_stream().await;
            self.created = true;
        }
        let client = &self.context.clients.logs;
        let mut backoff = Backoff::default();
        loop {
            let result = client
                .put_log_events()
                .log_group_name(&self.context.config.log_group)
                .log_stream_name(&self.stream)
                .set_log_events(Some(inputs.clone()))
                .send()
                .await;
            match result {
                Ok(answer) => {
                    let rejected = answer.rejected_log_events_info().map_or(0, |info| rejected(info, count));
                    if rejected > 0 {
                        tracing::warn!(
                            job_id = self.job_id,
                            rejected,
                            count,
                            "CloudWatch Logs rejected log events as too old or too new"
                        );
                    }
                    break;
                }
                Err(error) => match classify(&error) {
                    Answer::NotFound => {
                        self.create_stream().await;
                        backoff.pause().await;
                    }
                    Answer::Refused | Answer::Gone | Answer::ConditionFailed | Answer::AlreadyExists => {
                        tracing::warn!(job_id = self.job_id, count, error = %crate::callback::why(&error),
                            "CloudWatch Logs refused log events; they are left out");
                        break;
                    }
                    Answer::Passing => {
                        self.say_it_waits(&backoff, &crate::callback::why(&error));
                        backoff.pause().await;
                    }
                },
            }
        }
        self.mark.position = end;
        self.context.dispatcher.log_shipped(&self.job_id, self.attempt, self.mark);
    }

    fn say_it_waits(&self, backoff: &Backoff, error: &str) {
        if backoff.worth_telling() {
            tracing::warn!(
                job_id = self.job_id,
                error,
                "CloudWatch Logs does not take log events; trying again"
            );
        }
    }

    /// Creates the stream, and its group if that is missing too. Gives up only where the service refuses.
    async fn create_stream(&self) {
        let (client, group) = (&self.context.clients.logs, &self.context.config.log_group);
        let mut backoff = Backoff::default();
        loop {
            let stream = client.create_log_stream().log_group_name(group).log_stream_name(&self.stream);
            let Err(error) = stream.send().await else { return };
            match classify(&error) {
                Answer::AlreadyExists => return,
                Answer::NotFound => {
                    if let Err(error) = client.create_log_group().log_group_name(group).send().await
                        && classify(&error) != Answer::AlreadyExists
                    {
                        tracing::warn!(group, error = %crate::callback::why(&error), "the log group cannot be created");
                        backoff.pause().await;
                    }
                }
                Answer::Passing => {
                    self.say_it_waits(&backoff, &crate::callback::why(&error));
                    backoff.pause().await;
                }
                Answer::Refused | Answer::Gone | Answer::ConditionFailed => {
                    tracing::warn!(stream = self.stream, error = %crate::callback::why(&error),
                        "the log stream cannot be created");
                    return;
                }
            }
        }
    }
}

/// How many of `count` events the service left out: those up to an index are too old, those from one on too new.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_RejectedLogEventsInfo.html>
fn rejected(info: &RejectedLogEventsInfo, count: usize) -> usize {
    let index = |index: Option<i32>| index.and_then(|index| usize::try_from(index).ok());
    let old = index(info.too_old_log_event_end_index()).max(index(info.expired_log_event_end_index()));
    let new = index(info.too_new_log_event_start_index()).map_or(0, |start| count.saturating_sub(start));
    (old.unwrap_or(0) + new).min(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_events_are_counted() {
        let info = RejectedLogEventsInfo::builder();
        assert_eq!(rejected(&info.clone().build(), 10), 0);
        let info = info.too_old_log_event_end_index(2).expired_log_event_end_index(3);
        assert_eq!(rejected(&info.clone().build(), 10), 3);
        assert_eq!(rejected(&info.too_new_log_event_start_index(9).build(), 10), 4);
    }
}
