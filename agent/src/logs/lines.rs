//! Bytes into events.
//!
//! A line ends with LF and is an event. Besides that:
//!
//! * A line that is longer than an event may be becomes several, each saying that the line goes on.
//! * A line whose end is long in coming (a question, a progress bar) can be shown as it stands; what follows on it is an
//!   event of its own.
//! * After a carriage return a terminal writes over what it showed: of `10%\r20%\r30%` the event says `30%`.
//! * What is not UTF-8 becomes U+FFFD; characters are not split.
//! * Secrets are masked before anything is split, and a line that is shown as it stands is shown only up to what may
//!   become a secret, so none escapes in two halves. One that has line ends in it is found line by line.
//!
//! Every event says where in the input it ends, and from there another [`Lines`] can go on: what it must know of the
//! past is in the byte before. Never more than one event's text is in memory.

use crate::redact::{MASK, Redactor};

/// Longest text of an event in bytes: 256 KiB with the overhead the service counts. The service takes 1 MB in most
/// regions and 256 KB in some.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>
pub(crate) const EVENT_TEXT_MAX: usize = 256 * 1024 - super::batch::EVENT_OVERHEAD;

/// Ends an event whose line goes on in the next.
const GOES_ON: &str = " … [rsqlflow: the line goes on]";

/// Begins an event whose line began in the one before.
const WENT_ON: &str = "[rsqlflow: the line goes on] … ";

/// Longest text between the two, with room for a last secret's mask.
const BODY_MAX: usize = EVENT_TEXT_MAX - GOES_ON.len() - WENT_ON.len() - MASK.len();

/// A byte of input becomes at most so many of text: U+FFFD has three, and a mask is at most twice its secret.
const GROWTH_MAX: usize = 3;

/// An event's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub text: String,
    /// Where in the input it ends.
    pub end: u64,
}

/// What the text that comes next is to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Line,
    /// More of a line that was shown in part.
    Continuation,
    /// It stands where the line's earlier text stood.
    Overwrite,
}

/// Splits what it is fed into events.
#[derive(Debug)]
pub(crate) struct Lines {
    redactor: Redactor,
    body_max: usize,
    begin: Begin,
    /// The input up to here is handed out, or written over.
    passed: u64,
    /// The text after that.
    text: Vec<u8>,
    /// How many carriage returns are after that.
    returns: u64,
}

impl Lines {
    /// Begins, or goes on, at `position` of the input, with the byte before it where there is one.
    pub(crate) fn new(redactor: Redactor, position: u64, before: Option<u8>) -> Self {
        let begin = match before {
            None | Some(b'\n') => Begin::Line,
            Some(b'\r') => Begin::Overwrite,
            Some(_) => Begin::Continuation,
        };
        Self { redactor, body_max: BODY_MAX, begin, passed: position, text: Vec::new(), returns: 0 }
    }

    /// The input up to here needs no more looking at once every event handed out is shipped.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether there is text that waits for its line's end.
    pub(crate) fn has_rest(&self) -> bool {
        !self.text.is_empty() || self.returns > 0
    }

    /// Takes bytes, hands out the events that are complete with them.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Line)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
            self.print(&rest[..at], &mut each);
            match rest.get(at) {
                Some(b'\n') => self.end_line(1, &mut each),
                Some(_) => self.returns += 1,
                None => break,
            }
            rest = &rest[at + 1..];
        }
    }

    /// The input has ended: what is left is a line.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Line)) {
        if self.has_rest() {
            self.end_line(0, &mut each);
        }
    }

    /// Hands out what there is of a line that has not ended; what follows on it is an event of its own. `cut`: which
    /// nobody will see, so that it is marked.
    pub(crate) fn flush(&mut self, cut: bool, mut each: impl FnMut(Line)) {
        let mut length = self.text.len();
        if self.returns == 0 {
            // More of it may come.
            length -= self.redactor.begun(&self.text).max(incomplete_character(&self.text));
        }
        while length > 0 {
            let (body, consumed) = self.cut(length);
            length = length.saturating_sub(consumed);
            self.hand_out(body, consumed, cut || length > 0, 0, &mut each);
        }
    }

    fn print(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Line)) {
        if bytes.is_empty() {
            return;
        }
        if self.returns > 0 {
            self.passed += self.text.len() as u64 + std::mem::take(&mut self.returns);
            self.text.clear();
            self.begin = Begin::Overwrite;
        }
        // A secret that begins within an event must be whole to be recognised.
        let most = self.body_max + self.redactor.longest() + 1;
        loop {
            let room = most.saturating_sub(self.text.len()).min(bytes.len());
            self.text.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            if bytes.is_empty() {
                return;
            }
            let (body, consumed) = self.cut(self.text.len());
            self.hand_out(body, consumed, true, 0, each);
        }
    }

    /// Hands out what is left of a line, with its `line_end` bytes of line end.
    fn end_line(&mut self, line_end: u64, each: &mut impl FnMut(Line)) {
        let tail = std::mem::take(&mut self.returns) + line_end;
        loop {
            let (body, consumed) = self.cut(self.text.len());
            if consumed < self.text.len() {
                self.hand_out(body, consumed, true, 0, each);
            } else if consumed == 0 && self.begin != Begin::Line {
                // All of it has been shown.
                self.passed += tail;
                break;
            } else {
                // The service takes no empty events, and the layout of what was printed matters to readers.
                let body = if body.is_empty() { " ".into() } else { body };
                self.hand_out(body, consumed, false, tail, each);
                break;
            }
        }
        self.begin = Begin::Line;
    }

    /// The first of `length` bytes of text that an event can hold, and how many they are.
    fn cut(&self, length: usize) -> (String, usize) {
        let mut limit = self.body_max;
        loop {
            let end = if limit < length { character_boundary(&self.text, limit) } else { length };
            let (masked, consumed) = self.redactor.mask(&self.text, end);
            let body = match String::from_utf8(masked) {
                Ok(body) => body,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            };
            if body.len() <= self.body_max + MASK.len() {
                return (body, consumed);
            }
            limit = self.body_max / GROWTH_MAX;
        }
    }

    fn hand_out(
        &mut self,
        body: String,
        consumed: usize,
        goes_on: bool,
        tail: u64,
        each: &mut impl FnMut(Line),
    ) {
        let text = match (self.begin == Begin::Continuation, goes_on) {
            (false, false) => body,
            (went_on, _) => {
                [if went_on { WENT_ON } else { "" }, &body, if goes_on { GOES_ON } else { "" }].concat()
            }
        };
        self.text.drain(..consumed);
        self.passed += consumed as u64 + tail;
        self.begin = Begin::Continuation;
        each(Line { text, end: self.passed });
    }
}

/// The last place up to `limit` where a character may begin.
fn character_boundary(text: &[u8], limit: usize) -> usize {
    // A character has at most three bytes after its first; where there are more, it is not UTF-8.
    let begins = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0b1100_0000 != 0b1000_0000);
    (limit.saturating_sub(3).max(1)..=limit).rev().find(begins).unwrap_or(limit)
}

/// How many bytes at the end may become a character with those that follow.
fn incomplete_character(text: &[u8]) -> usize {
    let last = &text[text.len().saturating_sub(3)..];
    (0..last.len())
        .map(|start| &last[start..])
        .find(|end| {
            std::str::from_utf8(end)
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .map_or(0, <[u8]>::len)
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
