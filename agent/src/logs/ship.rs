//! From an attempt's log file to its log stream, every line once.
//!
//! A shipper looks at the file a few times a second while the script runs, and drains it after. Before a batch is sent
//! the journal knows of it: which bytes of the file, and the one time that all its events carry and no other batch of the
//! stream does. From then on it is those bytes at that time until the service has taken them. Where the answer is lost,
//! by a cut connection or by the end of this process, the stream is asked for events of that time before anything is sent
//! again. What remains possible: the service takes a batch and for longer than a second does not show it, or the host
//! loses power and with it the newest of the journal; then lines come twice.
//!
//! Faults of the service hold up the shipper and nothing else. It holds no batch while it waits, see [`super::budget`].
//!
//! A script may empty its own output (`echo x > /dev/stderr` does, where that is a file): shipping then begins with the
//! file again. A script that prints nothing costs no call: the stream is created with the first event.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::batch::{BATCH_EVENTS_MAX, Batch};
use super::mark::{LogMark, Sending};
use super::notice::{Missing, not_shipped};
use super::read::{LastLine, Reach, read};
use super::stream::{Held, Put, Stream};
use super::{Pace, budget};
use crate::classify::Backoff;
use crate::context::Context;

/// A line that has not ended is shown after so long.
const PARTIAL_AFTER: Duration = Duration::from_millis(1500);

/// Events that wait for an outage to end keep the time of their printing, unless that is what they are rejected for.
const STALE_AFTER_MS: i64 = 60 * 1000;

/// So many refused events in a row, and it is not the events: whole batches are left out until one is taken.
const REFUSED_MAX: u32 = 8;

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
    pub(crate) async fn run(self, mut ended: watch::Receiver<bool>) {
        let Some(file) = self.open().await else { return };
        let mut shipping = Shipping {
            stream: Stream {
                context: Arc::clone(&self.context),
                name: self.stream.clone(),
                created: self.created,
            },
            in_doubt: self.mark.sending.is_some(),
            noted: self.mark,
            mark: self.mark,
            shipper: self,
            file,
            seen: None,
            rest_since: None,
            events_max: BATCH_EVENTS_MAX,
            refused: 0,
            missing: Missing::default(),
            told_in_vain: false,
        };
        let mut pace = Pace::default();
        loop {
            // Asked before the look at the file: what is printed after it is seen by the next look.
            let last = *ended.borrow_and_update();
            if last {
                shipping.told_in_vain = false;
            }
            let before = shipping.seen;
            while shipping.next(last).await {}
            if last {
                break;
            }
            // A dropped sender means that nobody runs the script any more.
            tokio::select! {
                () = tokio::time::sleep(pace.pause(shipping.seen != before || shipping.rest_since.is_some())) => {}
                changed = ended.changed() => if changed.is_err() { return },
            }
        }
        if shipping.noted != shipping.mark {
            shipping.note();
        }
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
}

struct Shipping {
    shipper: Shipper,
    stream: Stream,
    file: File,
    mark: LogMark,
    /// What the journal was told last.
    noted: LogMark,
    /// Whether the batch on its way may have been taken.
    in_doubt: bool,
    /// The file's length at the last look, if that saw all of it.
    seen: Option<u64>,
    /// Since when a line waits for its end.
    rest_since: Option<Instant>,
    /// Most events of a batch: fewer while an event is looked for that the service refuses.
    events_max: usize,
    /// How many were refused since something was taken.
    refused: u32,
    /// Events left out, of which the stream does not tell yet.
    missing: Missing,
    /// Whether telling it was rejected as well.
    told_in_vain: bool,
}

/// A batch as it is read.
struct Next {
    texts: Vec<String>,
    to: u64,
    /// Whether the first text tells of what is missing.
    notice: bool,
}

enum Look {
    Nothing,
    /// Only what needs no showing, and more behind it.
    Further,
    Batch(Next),
}

impl Shipping {
    /// Ships the next batch, however long that takes. False when there is none.
    async fn next(&mut self, last: bool) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let length = self.file.metadata().map_or(0, |data| data.len());
            if length < self.mark.position {
                self.start_over();
            }
            if !self.is_worth_a_look(length, last) {
                return false;
            }
            if let Some(sending) = self.mark.sending
                && self.in_doubt
            {
                match self.stream.holds(sending.at).await {
                    Held::Yes => {
                        self.stream.created = true;
                        self.taken(sending, true);
                        return true;
                    }
                    Held::No => self.in_doubt = false,
                    Held::Unknown(why) => {
                        self.stream.say_it_waits(&backoff, &why);
                        backoff.pause().await;
                        continue;
                    }
                }
            }
            if !self.stream.created {
                self.stream.create().await;
            }
            let permit = budget::take(length - self.mark.position).await;
            let next = match self.look(length, last) {
                Look::Nothing => return false,
                Look::Further => return true,
                Look::Batch(next) => next,
            };
            let sent = match self.announce(next.to).await {
                Ok(sending) => self.send(next, sending).await,
                Err(why) => Err(why),
            };
            // Nothing is held while waiting.
            drop(permit);
            match sent {
                Ok(()) => return true,
                Err(why) => {
                    self.stream.say_it_waits(&backoff, &why);
                    backoff.pause().await;
                }
            }
        }
    }

    fn is_worth_a_look(&self, length: u64, last: bool) -> bool {
        self.mark.sending.is_some()
            || self.tells_what_is_missing()
            || !self.mark.covers(length) && (last || self.seen != Some(length) || self.is_rest_due())
    }

    fn is_rest_due(&self) -> bool {
        self.rest_since.is_some_and(|since| since.elapsed() >= PARTIAL_AFTER)
    }

    fn tells_what_is_missing(&self) -> bool {
        self.missing.count() > 0 && !self.told_in_vain
    }

    /// Reads the next batch, or the one that is on its way again.
    fn look(&mut self, length: u64, last: bool) -> Look {
        let (position, path) = (self.mark.position, &self.shipper.path);
        let config = &self.shipper.context.config;
        let limit = if config.log_limit_bytes == 0 { u64::MAX } else { config.log_limit_bytes };
        let resent = self.mark.sending.map(|sending| sending.to);
        let upto = resent.unwrap_or(length).min(length).min(limit);
        let last_line = if last || resent.is_some() || length >= limit {
            LastLine::Ended
        } else if self.is_rest_due() {
            LastLine::Shown
        } else {
            LastLine::Waits
        };
        let mut batch = Batch::new(self.events_max);
        let notice = self.tells_what_is_missing();
        if notice {
            batch.say(self.missing.text(&config.instance_id, path));
        }
        let mut reach = Reach { to: position, more: false, rest: false };
        let end = resent.unwrap_or(length);
        if position < upto {
            let shipper = &self.shipper;
            let redactor = shipper.context.secrets.redactor(&shipper.task_token, &shipper.secret_id);
            reach = match read(&self.file, redactor, position, upto, last_line, &mut batch) {
                Ok(reach) => reach,
                Err(error) => {
                    tracing::warn!(job_id = shipper.job_id, %error, "the log file cannot be read");
                    return Look::Nothing;
                }
            };
        } else if position >= limit && end > position && (last || resent.is_some()) {
            batch.say(not_shipped(end - position, &config.instance_id, path));
            reach.to = end;
        }
        let all = resent.is_none() && !reach.more;
        self.seen = all.then_some(length);
        if all {
            self.rest_since = match self.rest_since {
                _ if !reach.rest => None,
                // What is left of it cannot be shown before there is more.
                _ if batch.is_empty() && last_line == LastLine::Shown => None,
                Some(since) if batch.is_empty() => Some(since),
                _ => Some(Instant::now()),
            };
        }
        if batch.is_empty() {
            self.mark = LogMark { position: reach.to, sending: None, ..self.mark };
            return if reach.more { Look::Further } else { Look::Nothing };
        }
        Look::Batch(Next { texts: batch.into_texts(), to: reach.to, notice })
    }

    /// Writes to the journal what is about to be sent, unless it knows.
    async fn announce(&mut self, to: u64) -> Result<Sending, String> {
        let at = match self.mark.sending {
            Some(sending) if sending.to == to => return Ok(sending),
            Some(sending) => sending.at,
            None => chrono::Utc::now().timestamp_millis().max(self.mark.last_at + 1),
        };
        let sending = Sending { to, at };
        let mark = LogMark { sending: Some(sending), ..self.mark };
        let Shipper { context, job_id, attempt, .. } = &self.shipper;
        if let Err(error) = context.dispatcher.log_sending(job_id, *attempt, mark).await {
            // Without it a restart could not know whether the lines are there.
            self.mark.sending = None;
            return Err(format!("the journal cannot be written: {error}"));
        }
        (self.mark, self.noted) = (mark, mark);
        Ok(sending)
    }

    /// Sends a batch. An error says why it is to be tried again.
    async fn send(&mut self, next: Next, sending: Sending) -> Result<(), String> {
        let Next { texts, notice, .. } = next;
        let count = texts.len();
        match self.stream.put(texts, sending.at).await {
            Put::Taken(rejected) => {
                self.settle(rejected, count, notice, sending);
                Ok(())
            }
            Put::Doubtful(why) => {
                self.in_doubt = true;
                Err(why)
            }
            Put::Later(why) => Err(why),
            Put::NoStream => {
                self.stream.created = false;
                Err("the log stream is not there".into())
            }
            Put::Refused(why) => {
                self.isolate(count, notice, sending, why);
                Ok(())
            }
        }
    }

    /// A batch was taken, apart from what was rejected.
    fn settle(&mut self, mut rejected: Missing, count: usize, notice: bool, sending: Sending) {
        let total = rejected.count();
        let old = rejected.too_old + rejected.expired;
        let age = chrono::Utc::now().timestamp_millis() - sending.at;
        if old == count && age > STALE_AFTER_MS {
            // An outage made it old; it is sent again at the time of today.
            self.mark.sending = None;
            return;
        }
        if notice {
            // It came first.
            let lost = match &mut rejected {
                Missing { too_old: n @ 1.., .. } | Missing { expired: n @ 1.., .. } => Some(n),
                Missing { too_new: n, .. } if total == count => Some(n),
                _ => None,
            };
            match lost {
                Some(n) => {
                    *n -= 1;
                    self.told_in_vain = true;
                }
                None => self.missing = Missing::default(),
            }
        }
        let metrics = &self.shipper.context.metrics;
        metrics.log_events(count - total, usize::try_from(sending.to - self.mark.position).unwrap_or(0));
        if total > 0 {
            metrics.log_events_rejected(total);
            tracing::warn!(
                job_id = self.shipper.job_id,
                rejected = total,
                count,
                "CloudWatch Logs rejected log events as too old or too new"
            );
            self.missing.add(rejected);
        } else {
            self.told_in_vain = false;
        }
        self.taken(sending, total < count);
    }

    /// A batch is behind us. `there`: and at least some of it in the stream.
    fn taken(&mut self, sending: Sending, there: bool) {
        if there {
            // Times that nothing carries may be used again: a clock that was ahead for a while costs no more.
            self.mark.last_at = sending.at;
            self.refused = 0;
            self.events_max = (self.events_max * 2).min(BATCH_EVENTS_MAX);
        }
        self.mark.position = sending.to;
        self.mark.sending = None;
        self.in_doubt = false;
        self.note();
    }

    /// The service refuses a batch for good: the event that it does not take is looked for by halves, and left out.
    fn isolate(&mut self, count: usize, notice: bool, sending: Sending, why: String) {
        if count > 1 && self.refused < REFUSED_MAX {
            self.events_max = count / 2;
            self.mark.sending = None;
            return;
        }
        tracing::warn!(
            job_id = self.shipper.job_id,
            count,
            error = why,
            "CloudWatch Logs refused log events; they are left out"
        );
        self.shipper.context.metrics.log_events_rejected(count);
        self.refused += 1;
        if self.refused >= REFUSED_MAX {
            self.events_max = BATCH_EVENTS_MAX;
        }
        self.told_in_vain |= notice;
        self.missing.add(Missing { refused: count - usize::from(notice), why, ..Missing::default() });
        self.taken(sending, false);
    }

    /// The file is shorter than what was shipped of it: it is another.
    fn start_over(&mut self) {
        let last_at =
            self.mark.sending.map_or(self.mark.last_at, |sending| sending.at.max(self.mark.last_at));
        self.mark = LogMark { position: 0, last_at, sending: None };
        (self.in_doubt, self.seen, self.rest_since) = (false, None, None);
        self.note();
    }

    fn note(&mut self) {
        self.noted = self.mark;
        let Shipper { context, job_id, attempt, .. } = &self.shipper;
        context.dispatcher.log_shipped(job_id, *attempt, self.mark);
    }
}
