//! Events into calls: the limits of PutLogEvents.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>
//!
//! All events of a call carry one time, that of the look at the file, which is the nearest to when they were printed that
//! is known. So they are in order and within 24 hours whatever the clock does and however long an outage keeps them.

use super::lines::Line;

/// The service counts so many bytes for each event besides its text.
pub(crate) const EVENT_OVERHEAD: usize = 26;

/// Largest call, texts and overheads together.
pub(crate) const BATCH_BYTES_MAX: usize = 1_048_576;

/// Most events of a call.
pub(crate) const BATCH_EVENTS_MAX: usize = 10_000;

/// The events of one call.
#[derive(Debug)]
pub(crate) struct Batch {
    texts: Vec<String>,
    bytes: usize,
    events_max: usize,
    /// Where in the file the last of them ends.
    end: Option<u64>,
    full: bool,
}

impl Batch {
    /// For at most `events_max` events, and what the service takes.
    pub(crate) fn new(events_max: usize) -> Self {
        let events_max = events_max.clamp(1, BATCH_EVENTS_MAX);
        Self { texts: Vec::new(), bytes: 0, events_max, end: None, full: false }
    }

    /// Adds an event, unless it is full: then it stays so, and the event is left for the next.
    pub(crate) fn add(&mut self, line: Line) {
        let size = line.text.len() + EVENT_OVERHEAD;
        self.full |= self.bytes + size > BATCH_BYTES_MAX || self.texts.len() == self.events_max;
        if !self.full {
            self.bytes += size;
            self.end = Some(line.end);
            self.texts.push(line.text);
        }
    }

    /// Adds a word of our own, which stands for nothing in the file. It comes first, so there is room.
    pub(crate) fn say(&mut self, text: String) {
        self.bytes += text.len() + EVENT_OVERHEAD;
        self.texts.push(text);
    }

    /// Whether an event had no room.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Where in the file the last event ends.
    pub(crate) fn end(&self) -> Option<u64> {
        self.end
    }

    pub(crate) fn into_texts(self) -> Vec<String> {
        self.texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn limits_hold_and_nothing_is_lost(
            sizes in proptest::collection::vec(
                prop_oneof![2000 => 0usize..40, 1 => 200_000usize..super::super::lines::EVENT_TEXT_MAX],
                0..22_000,
            ),
            events_max in prop_oneof![Just(BATCH_EVENTS_MAX), 500usize..20_000],
        ) {
            let mut next = 0;
            while next < sizes.len() {
                let mut batch = Batch::new(events_max);
                let begin = next;
                while next < sizes.len() {
                    batch.add(Line { text: "x".repeat(sizes[next]), end: next as u64 + 1 });
                    if batch.is_full() {
                        break;
                    }
                    next += 1;
                }
                // Whoever goes on at its end misses nothing.
                prop_assert_eq!(batch.end(), Some(next as u64));
                let texts = batch.into_texts();
                prop_assert_eq!(texts.len(), next - begin);
                prop_assert!(!texts.is_empty() && texts.len() <= BATCH_EVENTS_MAX.min(events_max));
                let bytes: usize = texts.iter().map(|text| text.len() + EVENT_OVERHEAD).sum();
                prop_assert!(bytes <= BATCH_BYTES_MAX);
            }
        }
    }
}
