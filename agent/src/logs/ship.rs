//! From an attempt's log file to its log stream, every line once.
//!
//! A shipper looks at the file a few times a second while the script runs, and drains it after. Before a batch is sent
//! the mark beside the log says so: which bytes of the file, and the one time that all its events carry and no other batch
//! of the stream does. From then on it is those bytes at that time until the service has taken them. Where the answer is
//! lost, by a cut connection or by the end of this process, the stream is asked for events of that time before anything is
//! sent again. What remains possible: the service takes a batch and for longer than a second does not show it, or the host
//! loses power and with it the newest mark; then lines come twice. Where there is no mark for a stream that has events, the
//! stream says so.
//!
//! Faults of the service hold up the shipper and nothing else, and so does a password that is not known, see
//! [`super::hold`]. It holds no batch while it waits, see [`super::budget`].
//!
//! What is not shipped is told in the stream: events that the service did not take, and the rest of a file that is longer
//! than is wanted, cannot be read, or may show what it must not. While events that were not taken have not been told of,
//! the file of marks has them as not shipped, and a next process tries them again.
//!
//! A script may empty its own output (`echo x > /dev/stderr` does, where that is a file): shipping then begins with the
//! file again. A script that prints nothing costs no call: the stream is created with the first event.

mod settle;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsqlflow_config::time;
use tokio::sync::watch;

use super::batch::{BATCH_EVENTS_MAX, Batch};
use super::hold;
use super::mark::{LogMark, Sending};
use super::notice::{AGAIN, Missing, REDATED, Withheld, not_shipped};
use super::read::{LastLine, Reach, read};
use super::stream::{Held, Put, Stream};
use super::{Pace, budget};
use crate::classify::Backoff;
use crate::context::Context;

/// A line that has not ended is shown after so long.
const PARTIAL_AFTER: Duration = Duration::from_millis(1500);

/// A file that cannot be read is tried so often, over some minutes.
const UNREADABLE_MAX: u32 = 20;

/// More than so many bytes are read on a thread that may block: they may have to come from the disk, and masking them
/// takes a while. A few that were just written come from memory, and a hand-over would cost more.
const READ_ASIDE: u64 = 256 * 1024;

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
    /// Whether an earlier process of the agent began the log.
    pub recovered: bool,
}

impl Shipper {
    /// Ships until the script has ended and its file is drained.
    pub(crate) async fn run(self, mut ended: watch::Receiver<bool>) {
        let Some(file) = self.open().await else { return };
        let withheld = match self.recovered {
            true => hold::until_masked(&self.context, &self.job_id, &self.secret_id).await,
            false => None,
        };
        let mut shipping = Shipping {
            stream: Stream {
                context: Arc::clone(&self.context),
                name: self.stream.clone(),
                created: self.mark.position > 0,
                proven: false,
            },
            withheld,
            unreadable: 0,
            untold_from: None,
            with_notice: false,
            unsure: self.recovered && self.mark == LogMark::default(),
            again: false,
            in_doubt: self.mark.sending.is_some(),
            late: false,
            service: None,
            highest: self.mark.last_at,
            redated: false,
            noted: self.mark,
            written: self.mark,
            mark: self.mark,
            shipper: self,
            file: Arc::new(file),
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
            while shipping.next(last).await {
                shipping.write().await;
            }
            shipping.write().await;
            if last {
                break;
            }
            // A dropped sender means that nobody runs the script any more.
            tokio::select! {
                () = tokio::time::sleep(pace.pause(shipping.seen != before || shipping.rest_since.is_some())) => {}
                changed = ended.changed() => if changed.is_err() { return },
            }
        }
        // What has not been told by now never is.
        shipping.untold_from = None;
        shipping.note();
        shipping.write().await;
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
    file: Arc<File>,
    /// Why the rest is not shipped.
    withheld: Option<Withheld>,
    /// How often in a row the file could not be read.
    unreadable: u32,
    mark: LogMark,
    /// What its file should say.
    noted: LogMark,
    /// What it says.
    written: LogMark,
    /// Where the events begin that were left out and not told of.
    untold_from: Option<u64>,
    /// Whether an earlier process may have shipped what no mark knows of.
    unsure: bool,
    /// Whether it has.
    again: bool,
    /// Whether the batch on its way may have been taken.
    in_doubt: bool,
    /// Whether it may even be under way still.
    late: bool,
    /// The service's time in milliseconds since 1970 and when that was, where the host's is another and that has mattered.
    /// It goes on whatever becomes of the host's clock.
    service: Option<(i64, Instant)>,
    /// The latest time of a batch that is in the stream.
    highest: i64,
    /// Whether the next batch tells that times are not the host's.
    redated: bool,
    /// Whether it tells of what is missing.
    with_notice: bool,
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
            let length = match self.file.metadata() {
                Ok(data) => data.len(),
                Err(_) if self.withheld.is_some() => return false,
                Err(error) => {
                    self.cannot_read(&error.to_string());
                    backoff.pause().await;
                    continue;
                }
            };
            if length < self.mark.position {
                self.start_over();
            }
            if !self.is_worth_a_look(length, last) {
                return false;
            }
            if let Some(sending) = self.mark.sending
                && self.in_doubt
            {
                match self.stream.holds(sending.at, self.late).await {
                    Held::Yes => {
                        (self.stream.created, self.stream.proven) = (true, true);
                        if self.with_notice {
                            self.missing = Missing::default();
                        }
                        self.taken(sending, true);
                        return true;
                    }
                    Held::No => (self.in_doubt, self.late) = (false, false),
                    Held::Unknown(why) => {
                        self.stream.say_it_waits(&backoff, &why);
                        backoff.pause().await;
                        continue;
                    }
                }
            }
            if self.unsure {
                match self.stream.holds_any().await {
                    Held::Unknown(why) => {
                        self.stream.say_it_waits(&backoff, &why);
                        backoff.pause().await;
                        continue;
                    }
                    held => (self.again, self.unsure) = (matches!(held, Held::Yes), false),
                }
            }
            if !self.stream.created {
                self.stream.create().await;
            }
            let permit = budget::take(length - self.mark.position).await;
            let next = match self.look(length, last).await {
                Ok(Look::Nothing) => return false,
                Ok(Look::Further) => return true,
                Ok(Look::Batch(next)) => next,
                Err(error) => {
                    drop(permit);
                    self.cannot_read(&error);
                    backoff.pause().await;
                    continue;
                }
            };
            let sent = match self.announce(next.to).await {
                Ok(sending) => self.send(next, sending).await,
                Err(why) => Err(why),
            };
            // Nothing is held while waiting.
            drop(permit);
            match sent {
                Ok(()) => {
                    self.stream.say_it_goes_on(&backoff);
                    return true;
                }
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

    /// The file could not be read, once more.
    fn cannot_read(&mut self, error: &str) {
        self.unreadable += 1;
        if self.unreadable == 1 {
            let Shipper { job_id, path, .. } = &self.shipper;
            tracing::warn!(job_id, error, "the log file {} cannot be read; trying again", path.display());
        }
        if self.unreadable >= UNREADABLE_MAX {
            self.withheld = Some(Withheld::Unreadable(error.to_owned()));
        }
    }

    /// Reads the next batch, or the one that is on its way again.
    async fn look(&mut self, length: u64, last: bool) -> Result<Look, String> {
        let (position, path) = (self.mark.position, &self.shipper.path);
        let config = &self.shipper.context.config;
        let limit = match config.log_limit_bytes {
            _ if self.withheld.is_some() => position,
            0 => u64::MAX,
            limit => limit,
        };
        let resent = self.mark.sending.map(|sending| sending.to).filter(|_| self.withheld.is_none());
        let end = resent.unwrap_or(length);
        let last_line = if end > limit {
            LastLine::Cut
        } else if last || resent.is_some() {
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
        if self.again {
            batch.say(AGAIN.into());
        }
        if self.redated {
            batch.say(REDATED.into());
        }
        let mut reach = Reach { to: position, more: false, rest: false };
        let upto = end.min(length).min(limit);
        if position < upto {
            let shipper = &self.shipper;
            let redactor = shipper.context.secrets.redactor(&shipper.task_token, &shipper.secret_id);
            let file = Arc::clone(&self.file);
            let reading = move || {
                let reach = read(&file, redactor, position, upto, last_line, &mut batch);
                (reach, batch)
            };
            let (read, filled) = if upto - position > READ_ASIDE {
                tokio::task::spawn_blocking(reading).await.map_err(|error| error.to_string())?
            } else {
                reading()
            };
            (reach, batch) = (read.map_err(|error| error.to_string())?, filled);
        }
        self.unreadable = 0;
        if end > limit && !reach.more && batch.end().is_none() && (last || resent.is_some()) {
            let why = self.withheld.as_ref().unwrap_or(&Withheld::Limit);
            batch.say(not_shipped(end - reach.to, why, &config.instance_id, path));
            reach.to = end;
        }
        let all = resent.is_none() && !reach.more;
        self.seen = all.then_some(length);
        if all {
            self.rest_since = match self.rest_since {
                _ if !reach.rest => None,
                // What is left of it cannot be shown before there is more.
                _ if batch.is_empty() && matches!(last_line, LastLine::Shown | LastLine::Cut) => None,
                Some(since) if batch.is_empty() => Some(since),
                _ => Some(Instant::now()),
            };
        }
        if batch.is_empty() {
            self.mark = LogMark { position: reach.to, sending: None, ..self.mark };
            return Ok(if reach.more { Look::Further } else { Look::Nothing });
        }
        Ok(Look::Batch(Next { texts: batch.into_texts(), to: reach.to, notice }))
    }

    /// The time of the next batch: now, at the service's clock, and no time that another batch of the stream has. Where
    /// the clock went back, the stream is asked for it.
    async fn unused_time(&self) -> Result<i64, String> {
        let mut at = self.now().max(self.mark.last_at + 1);
        while at <= self.highest {
            match self.stream.holds_now(at).await {
                Held::Yes => at += 1,
                Held::No => break,
                Held::Unknown(why) => return Err(why),
            }
        }
        Ok(at)
    }

    /// The time at the service, as far as is known.
    fn now(&self) -> i64 {
        match self.service {
            Some((at, then)) => {
                at.saturating_add(i64::try_from(then.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
            None => time::wall().timestamp_millis(),
        }
    }

    /// Writes down what is about to be sent, unless it is there.
    async fn announce(&mut self, to: u64) -> Result<Sending, String> {
        let at = match self.mark.sending {
            Some(sending) if sending.to == to => return Ok(sending),
            Some(sending) => sending.at,
            None => self.unused_time().await?,
        };
        let sending = Sending { to, at };
        let mark = LogMark { sending: Some(sending), ..self.mark };
        let noted = LogMark { position: self.untold_from.unwrap_or(mark.position), ..mark };
        if let Err(error) = self.write_mark(noted).await {
            // Without it a restart could not know whether the lines are there.
            self.mark.sending = None;
            return Err(format!("how far the log is shipped cannot be written: {error}"));
        }
        (self.mark, self.noted) = (mark, noted);
        Ok(sending)
    }

    /// Sends a batch. An error says why it is to be tried again.
    async fn send(&mut self, next: Next, sending: Sending) -> Result<(), String> {
        let Next { texts, notice, .. } = next;
        let count = texts.len();
        self.with_notice = notice;
        match self.stream.put(texts, sending.at).await {
            Put::Taken(rejected, date) => {
                self.stream.proven = true;
                self.settle(rejected, date, count, notice, sending);
                Ok(())
            }
            Put::Doubtful(why) => {
                self.in_doubt = true;
                Err(why)
            }
            Put::Late(why) => {
                (self.in_doubt, self.late) = (true, true);
                Err(why)
            }
            Put::Later(why) => Err(why),
            Put::NoStream => {
                self.stream.created = false;
                Err("the log stream is not there".into())
            }
            // It may be the names that it refuses, and those are seen when the stream is made.
            Put::Refused(why) if !self.stream.proven => {
                self.stream.created = false;
                Err(why)
            }
            Put::Refused(why) => {
                self.isolate(count, notice, sending, why);
                Ok(())
            }
        }
    }

    /// The file is shorter than what was shipped of it: it is another.
    fn start_over(&mut self) {
        let last_at =
            self.mark.sending.map_or(self.mark.last_at, |sending| sending.at.max(self.mark.last_at));
        self.mark = LogMark { position: 0, last_at, sending: None };
        (self.in_doubt, self.late, self.seen, self.rest_since, self.untold_from) =
            (false, false, None, None, None);
        self.note();
    }

    /// What is shipped by now; it is written before anything else is sent.
    fn note(&mut self) {
        self.noted = LogMark { position: self.untold_from.unwrap_or(self.mark.position), ..self.mark };
    }

    /// Writes down what was noted.
    async fn write(&mut self) {
        if self.noted != self.written
            && let Err(error) = self.write_mark(self.noted).await
        {
            // The next process finds a batch on its way, and asks for it.
            tracing::warn!(job_id = self.shipper.job_id, %error, "how far a log is shipped was not written");
        }
    }

    /// On a thread that may block: a disk that hangs must not hold up heartbeats.
    async fn write_mark(&mut self, mark: LogMark) -> std::io::Result<()> {
        let path = self.shipper.context.mark_path(&self.shipper.job_id, self.shipper.attempt);
        let written = tokio::task::spawn_blocking(move || mark.write(&path)).await;
        written.map_err(std::io::Error::other).flatten()?;
        self.written = mark;
        Ok(())
    }
}
