//! A password inside base64 or hexadecimal digits.
//!
//! In base64 three bytes become four characters, so a password looks different after zero, one or two other bytes; of
//! each of the three that part is looked for which depends on the password alone. Programs break long output into lines,
//! anywhere: of a long one a piece will do.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::{Beginnings, Seen};

/// Nothing breaks shorter lines: `xxd -p` does after 60, openssl after 64, base64 and Python after 76.
const LINE_MIN: usize = 60;

/// Shortest piece out of the middle.
const PIECE_MIN: usize = 12;

/// Shortest piece at either end, and what pieces are found by.
const WINDOW: usize = super::SECRET_MIN;

/// One encoding.
pub(super) struct Encoded {
    text: Vec<u8>,
    /// Where a piece may begin, by its first bytes; one place only in what is never broken.
    places: Vec<([u8; WINDOW], usize)>,
    broken: bool,
}

impl Encoded {
    /// Every encoding of a password.
    pub(super) fn all(password: &[u8]) -> Vec<Self> {
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            for before in 0..3 {
                let bytes = [&[0; 2][..before], password].concat();
                let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
                texts.push(engine.encode(&bytes).as_bytes()[first..end].to_vec());
            }
        }
        let hex = |write: fn(&u8) -> String| password.iter().map(write).collect::<String>().into_bytes();
        texts.extend([hex(|byte| format!("{byte:02x}")), hex(|byte| format!("{byte:02X}"))]);
        texts.sort();
        texts.dedup();
        texts.into_iter().map(Self::new).collect()
    }

    fn new(text: Vec<u8>) -> Self {
        let broken = text.len() > LINE_MIN;
        let all = text.array_windows().copied().zip(0..);
        let mut places: Vec<_> = all.take(if broken { usize::MAX } else { 1 }).collect();
        places.sort_unstable();
        Self { text, places, broken }
    }

    /// Most bytes that it takes.
    pub(super) fn longest(&self) -> usize {
        self.text.len()
    }

    /// What the text begins with.
    pub(super) fn look(&self, text: &[u8]) -> Seen {
        let Some(window) = text.first_chunk::<WINDOW>() else {
            return Seen { whole: None, goes_on: self.text.starts_with(text) };
        };
        let mut seen = Seen::default();
        let first = self.places.partition_point(|(found, _)| found < window);
        for (_, place) in self.places[first..].iter().take_while(|(found, _)| found == window) {
            let own = &self.text[*place..];
            let length = own.iter().zip(text).take_while(|(own, other)| own == other).count();
            let piece = length >= PIECE_MIN || *place == 0 || length == own.len();
            if length == self.text.len() || self.broken && piece {
                seen.whole = seen.whole.max(Some(length));
            }
            seen.goes_on |= length == text.len() && length < own.len() && (piece || *place == 0);
        }
        seen
    }

    /// Adds all that it may begin with.
    pub(super) fn add_to(&self, beginnings: &mut Beginnings) {
        let all = self.places.iter().filter_map(|(window, _)| window.first_chunk());
        all.for_each(|beginning| beginnings.add(*beginning));
    }
}
