//! Keeps secrets out of what leaves the host: log events, audit records, callbacks.
//!
//! It knows the secrets that it was told: the job's task token, and the passwords that the agent handed out to it. Those
//! are found as text however a program quotes them ([`ways`]), inside base64 and hexadecimal digits ([`encoded`]), and line
//! by line where they have line ends. It does not recognise secrets that it was not told.

mod encoded;
mod ways;
mod written;

use std::sync::Arc;

use encoded::Encoded;
use written::Written;

/// What stands where a secret stood.
pub(crate) const MASK: &[u8] = b"********";

/// Shorter secrets, and shorter lines of one, are left alone: they would be found everywhere, and blotting them out would
/// tell what they are.
pub(crate) const SECRET_MIN: usize = 6;

/// What a text begins with.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// The length of the longest secret there.
    whole: Option<usize>,
    /// The text ends where a secret may go on.
    goes_on: bool,
}

/// The four bytes that secrets may begin with, as bits by their hash: nearly every place of a log is passed by with one
/// look.
#[derive(Clone)]
struct Beginnings(Box<[u64; 1024]>);

impl Beginnings {
    fn place(bytes: [u8; 4]) -> (usize, u32) {
        // 2^32 over the golden ratio spreads what differs in any byte; 16 bits of it are left.
        let hash = u32::from_le_bytes(bytes).wrapping_mul(0x9e37_79b1) >> 16;
        ((hash >> 6) as usize, hash & 63)
    }

    fn add(&mut self, bytes: [u8; 4]) {
        let (word, bit) = Self::place(bytes);
        self.0[word] |= 1 << bit;
    }

    fn has(&self, bytes: [u8; 4]) -> bool {
        let (word, bit) = Self::place(bytes);
        self.0[word] >> bit & 1 == 1
    }
}

/// One secret in all its forms.
pub(crate) struct Forms {
    written: Vec<Written>,
    encoded: Vec<Encoded>,
    beginnings: Beginnings,
    longest: usize,
}

impl Forms {
    /// Those of a password.
    pub(crate) fn of_password(password: &str) -> Self {
        // With the line ends that dash's echo makes of a backslash and a letter.
        let lines = password
            .split(['\r', '\n'])
            .flat_map(|line| line.split("\\n").flat_map(|line| line.split("\\r")));
        let mut texts: Vec<&str> = [password, password.trim()].into_iter().chain(lines).collect();
        texts.retain(|text| text.len() >= SECRET_MIN);
        texts.sort_unstable();
        texts.dedup();
        let written = texts.iter().map(|text| Written::new(text)).collect();
        let bytes = [password.to_owned(), password.replace("\r\n", "\n").replace('\n', "\r\n")];
        let encoded = bytes.iter().filter(|bytes| bytes.len() >= SECRET_MIN);
        Self::new(written, encoded.flat_map(|bytes| Encoded::all(bytes.as_bytes())).collect())
    }

    /// Nothing but these bytes.
    pub(crate) fn exactly(secret: &[u8]) -> Self {
        let written = (secret.len() >= SECRET_MIN).then(|| Written::exactly(secret));
        Self::new(written.into_iter().collect(), Vec::new())
    }

    fn new(written: Vec<Written>, encoded: Vec<Encoded>) -> Self {
        let mut beginnings = Beginnings(Box::new([0; 1024]));
        written.iter().for_each(|written| written.add_to(&mut beginnings));
        encoded.iter().for_each(|encoded| encoded.add_to(&mut beginnings));
        let longest = written.iter().map(Written::longest).chain(encoded.iter().map(Encoded::longest)).max();
        Self { written, encoded, beginnings, longest: longest.unwrap_or(0) }
    }

    fn look(&self, text: &[u8]) -> impl Iterator<Item = Seen> {
        let written = self.written.iter().map(move |written| written.look(text));
        written.chain(self.encoded.iter().map(move |encoded| encoded.look(text)))
    }
}

/// The secrets of one job.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    secrets: Vec<Arc<Forms>>,
    /// None without secrets.
    beginnings: Option<Beginnings>,
}

impl Redactor {
    pub(crate) fn new(secrets: impl IntoIterator<Item = Arc<Forms>>) -> Self {
        let secrets: Vec<_> = secrets.into_iter().filter(|secret| secret.longest > 0).collect();
        let beginnings = secrets.iter().map(|secret| secret.beginnings.clone()).reduce(|mut all, more| {
            all.0.iter_mut().zip(more.0.iter()).for_each(|(all, more)| *all |= more);
            all
        });
        Self { secrets, beginnings }
    }

    /// Most bytes that a secret takes.
    pub(crate) fn longest(&self) -> usize {
        self.secrets.iter().map(|secret| secret.longest).max().unwrap_or(0)
    }

    /// Masks `raw` up to `limit`: a secret that begins before the limit is masked whole, nothing from the limit on is
    /// kept. Also answers how many bytes of `raw` that was.
    pub(crate) fn mask(&self, raw: &[u8], limit: usize) -> (Vec<u8>, usize) {
        let limit = limit.min(raw.len());
        let mut masked = Vec::with_capacity(limit);
        // Up to here it is in `masked`.
        let (mut done, mut at) = (0, 0);
        while let Some(place) = self.candidate(raw, at, limit) {
            match self.look(&raw[place..]).filter_map(|seen| seen.whole).max() {
                Some(length) => {
                    masked.extend_from_slice(&raw[done..place]);
                    masked.extend_from_slice(MASK);
                    done = place + length;
                    at = done;
                }
                None => at = place + 1,
            }
        }
        masked.extend_from_slice(&raw[done.min(limit)..limit]);
        (masked, done.max(limit))
    }

    /// How many bytes at the end of `raw` may become a secret with those that follow.
    pub(crate) fn begun(&self, raw: &[u8]) -> usize {
        let most = self.longest().min(raw.len());
        let begins = |length: &usize| {
            let end = &raw[raw.len() - length..];
            let known = end.first_chunk().zip(self.beginnings.as_ref());
            known.is_none_or(|(bytes, all)| all.has(*bytes)) && self.look(end).any(|seen| seen.goes_on)
        };
        (1..=most).rev().find(begins).unwrap_or(0)
    }

    /// Masks a text for people.
    pub(crate) fn mask_text(&self, text: &str) -> String {
        let (masked, _) = self.mask(text.as_bytes(), usize::MAX);
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// The next place before `limit` where a secret may begin.
    fn candidate(&self, raw: &[u8], from: usize, limit: usize) -> Option<usize> {
        let beginnings = self.beginnings.as_ref()?;
        // None has fewer bytes than these.
        let end = (limit + 3).min(raw.len());
        let found = raw.get(from..end)?.array_windows().position(|bytes| beginnings.has(*bytes));
        found.map(|at| from + at)
    }

    fn look(&self, text: &[u8]) -> impl Iterator<Item = Seen> {
        self.secrets.iter().flat_map(move |secret| secret.look(text))
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("secrets", &self.secrets.len()).finish()
    }
}

#[cfg(test)]
#[path = "redact/tests.rs"]
mod tests;
