//! Keeps secrets out of what leaves the host: log events, audit records, callbacks.
//!
//! It replaces the exact bytes of the secrets it was told: the job's task token and the password the agent fetched
//! for it. It does not recognise secrets it was not told; which forms of a password it is told is said in `secrets`.

/// What stands where a secret stood.
pub(crate) const MASK: &[u8] = b"********";

/// Shorter secrets are left alone: they would be found everywhere, and blotting them out would tell what they are.
pub(crate) const SECRET_MIN: usize = 6;

/// The secrets of one job.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    /// Longest first, so that one that contains another goes whole.
    secrets: Vec<Vec<u8>>,
}

impl Redactor {
    pub(crate) fn new(secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut secrets: Vec<_> = secrets.into_iter().filter(|secret| secret.len() >= SECRET_MIN).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// Length of the longest secret.
    pub(crate) fn longest(&self) -> usize {
        self.secrets.first().map_or(0, Vec::len)
    }

    /// Masks `raw` up to `limit`: a secret that begins before the limit is masked whole, nothing from the limit on is
    /// kept. Also answers how many bytes of `raw` that was.
    pub(crate) fn mask(&self, raw: &[u8], limit: usize) -> (Vec<u8>, usize) {
        let limit = limit.min(raw.len());
        if self.secrets.is_empty() {
            return (raw[..limit].to_vec(), limit);
        }
        let starts: [bool; 256] = {
            let mut starts = [false; 256];
            for secret in &self.secrets {
                starts[usize::from(secret[0])] = true;
            }
            starts
        };
        let mut masked = Vec::with_capacity(limit);
        let mut at = 0;
        while at < limit {
            let found = starts[usize::from(raw[at])]
                .then(|| self.secrets.iter().find(|secret| raw[at..].starts_with(secret)))
                .flatten();
            if let Some(secret) = found {
                masked.extend_from_slice(MASK);
                at += secret.len();
            } else {
                masked.push(raw[at]);
                at += 1;
            }
        }
        (masked, at)
    }

    /// How many bytes at the end of `raw` may become a secret with those that follow.
    pub(crate) fn begun(&self, raw: &[u8]) -> usize {
        let most = self.longest().saturating_sub(1).min(raw.len());
        let begins = |length: &usize| {
            let end = &raw[raw.len() - length..];
            self.secrets.iter().any(|secret| secret.len() > end.len() && secret.starts_with(end))
        };
        (1..=most).rev().find(begins).unwrap_or(0)
    }

    /// Masks a text for people.
    pub(crate) fn mask_text(&self, text: &str) -> String {
        let (masked, _) = self.mask(text.as_bytes(), usize::MAX);
        String::from_utf8_lossy(&masked).into_owned()
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("secrets", &self.secrets.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let redactor = Redactor::new([b"hunter22".to_vec(), b"hunter22-longer".to_vec(), b"abc".to_vec()]);
        assert_eq!(redactor.mask_text("x hunter22 abc hunter22-longer"), "x ******** abc ********");
        // Across the limit: masked, not cut in two.
        let (masked, consumed) = redactor.mask(b"12hunter2233", 5);
        assert_eq!((masked.as_slice(), consumed), (&b"12********"[..], 10));
        assert_eq!([&b"xhun"[..], b"hunter22", b"hunter2x"].map(|raw| redactor.begun(raw)), [3, 8, 0]);
    }
}
