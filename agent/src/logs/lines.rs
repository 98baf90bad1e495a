//! Bytes into lines.
//!
//! A line ends with LF; a CR before it is dropped. What is not UTF-8 becomes U+FFFD. A line that is longer than an
//! event may be is cut, and the event says by how much; only its beginning is ever in memory. Secrets are masked before
//! anything is cut, so none escapes by lying across an edge.

use crate::redact::Redactor;

/// Longest text of an event in bytes: 256 KiB with the overhead the service counts. The service takes 1 MB in most
/// regions and 256 KB in some.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>
pub(crate) const EVENT_TEXT_MAX: usize = 256 * 1024 - super::batch::EVENT_OVERHEAD;

/// Kept free at the end of a cut line for the words that say so.
const MARKER_MAX: usize = 128;

/// A line as an event's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub text: String,
    /// Bytes of the input up to and with this line's end.
    pub end: u64,
}

/// Splits what it is fed into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    redactor: Redactor,
    /// The beginning of the line that has not ended yet.
    start: Vec<u8>,
    /// Bytes of that line, of which `start` may hold only the first.
    length: u64,
    /// Bytes of all lines that ended.
    end: u64,
}

impl Lines {
    /// `end`: where in the input the first byte is that will be fed.
    pub(crate) fn new(redactor: Redactor, end: u64) -> Self {
        Self { redactor, start: Vec::new(), length: 0, end }
    }

    pub(crate) fn set_redactor(&mut self, redactor: Redactor) {
        self.redactor = redactor;
    }

    /// Takes bytes, hands out the lines that end in them.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Line)) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            self.keep(&rest[..at]);
            self.length += 1;
            rest = &rest[at + 1..];
            each(self.take(1));
        }
        self.keep(rest);
    }

    /// The input has ended: what is left is a line.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        (self.length > 0).then(|| self.take(0))
    }

    fn keep(&mut self, bytes: &[u8]) {
        // A secret that begins within the text must be whole to be recognised.
        let most = EVENT_TEXT_MAX + self.redactor.longest() + 1;
        let room = most.saturating_sub(self.start.len()).min(bytes.len());
        self.start.extend_from_slice(&bytes[..room]);
        self.length += bytes.len() as u64;
    }

    fn take(&mut self, line_end: u64) -> Line {
        let mut raw = std::mem::take(&mut self.start);
        let mut length = std::mem::take(&mut self.length);
        self.end += length;
        length -= line_end;
        if line_end == 1 && raw.len() as u64 == length && raw.last() == Some(&b'\r') {
            raw.pop();
            length -= 1;
        }
        Line { text: text(&raw, length, &self.redactor), end: self.end }
    }
}

fn text(raw: &[u8], length: u64, redactor: &Redactor) -> String {
    let (masked, consumed) = redactor.mask(raw, EVENT_TEXT_MAX);
    let whole = String::from_utf8_lossy(&masked);
    if consumed as u64 == length && whole.len() <= EVENT_TEXT_MAX {
        // The service takes no empty events, and the layout of what was printed matters to readers.
        return if whole.is_empty() { " ".into() } else { whole.into_owned() };
    }
    // Counts what is shown in bytes of the input: replacement characters are longer than what they stand for.
    let mut shown = String::new();
    let mut shown_raw = 0;
    'line: for chunk in masked.utf8_chunks() {
        for character in chunk.valid().chars() {
            if shown.len() + character.len_utf8() > EVENT_TEXT_MAX - MARKER_MAX {
                break 'line;
            }
            shown.push(character);
            shown_raw += character.len_utf8() as u64;
        }
        if !chunk.invalid().is_empty() {
            let replacement = char::REPLACEMENT_CHARACTER;
            if shown.len() + replacement.len_utf8() > EVENT_TEXT_MAX - MARKER_MAX {
                break;
            }
            shown.push(replacement);
            shown_raw += chunk.invalid().len() as u64;
        }
    }
    let cut = length.saturating_sub(shown_raw);
    shown.push_str(&format!(" … [rsqlflow: {} bytes of this line cut]", grouped(cut)));
    shown
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(input: &[u8], sizes: &[usize]) -> Vec<Line> {
        let mut lines = Lines::new(Redactor::default(), 0);
        let mut all = Vec::new();
        let (mut rest, mut sizes) = (input, sizes.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
            lines.feed(now, |line| all.push(line));
            rest = later;
        }
        all.extend(lines.finish());
        all
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_however_it_arrives(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..400),
            sizes in proptest::collection::vec(1usize..50, 1..10),
        ) {
            let lines = split(&input, &sizes);
            let mut expected: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
            let ended = expected.pop().unwrap();
            let mut expected: Vec<String> = expected
                .iter()
                .map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
                .collect();
            if !ended.is_empty() {
                expected.push(String::from_utf8_lossy(ended).into_owned());
            }
            let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
            let expected: Vec<&str> =
                expected.iter().map(|line| if line.is_empty() { " " } else { line }).collect();
            prop_assert_eq!(texts, expected);
            prop_assert_eq!(lines.last().map_or(0, |line| line.end), input.len() as u64);
        }
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let mut input = vec![b'x'; 52_428_800];
        input.extend_from_slice(b"\nnext\n");
        let lines = split(&input, &[64 * 1024]);
        assert_eq!(lines.len(), 2);
        let shown = EVENT_TEXT_MAX - MARKER_MAX;
        let marker =
            format!(" … [rsqlflow: {} bytes of this line cut]", grouped((52_428_800 - shown) as u64));
        assert!(lines[0].text.ends_with(&marker), "{}", &lines[0].text[shown..]);
        assert!(lines[0].text.len() <= EVENT_TEXT_MAX);
        assert_eq!(lines[1].text, "next");
    }

    #[test]
    fn binary_grows_and_stays_inside_the_limit() {
        let lines = split(&vec![0xff; EVENT_TEXT_MAX], &[64 * 1024]);
        assert!(lines[0].text.len() <= EVENT_TEXT_MAX && lines[0].text.contains("bytes of this line cut"));
    }

    #[test]
    fn a_secret_across_the_cut_is_masked() {
        let mut lines = Lines::new(Redactor::new([b"hunter22".to_vec()]), 0);
        let mut input = vec![b'x'; EVENT_TEXT_MAX - 4];
        input.extend_from_slice(b"hunter22 and more\n");
        let mut all = Vec::new();
        lines.feed(&input, |line| all.push(line));
        assert!(!all[0].text.contains("hunt"));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 52_166_656].map(grouped), ["0", "999", "1,000", "52,166,656"]);
    }
}
