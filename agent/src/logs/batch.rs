//! Events into calls: the limits of PutLogEvents.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>

use super::lines::Line;

/// The service counts so many bytes for each event besides its text.
pub(crate) const EVENT_OVERHEAD: usize = 26;

/// Largest call, texts and overheads together.
pub(crate) const BATCH_BYTES_MAX: usize = 1_048_576;

/// Most events of a call.
pub(crate) const BATCH_EVENTS_MAX: usize = 10_000;

/// Longest time a call may span, in milliseconds: 24 hours, less one for clocks.
const BATCH_SPAN_MAX: i64 = 23 * 60 * 60 * 1000;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub text: String,
    /// Where in the file its line ends.
    pub end: u64,
}

/// The events of the next call.
///
/// Times never go back within a batch, whatever the clock does, and a batch that an outage kept for a day is full.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    events: Vec<Event>,
    bytes: usize,
}

impl Batch {
    /// Adds an event; where it no longer fits, answers the batch that is full and starts the next with it.
    pub(crate) fn add(&mut self, timestamp: i64, line: Line) -> Option<Vec<Event>> {
        let size = line.text.len() + EVENT_OVERHEAD;
        let timestamp = self.events.last().map_or(timestamp, |last| last.timestamp.max(timestamp));
        let span = self.events.first().map_or(0, |first| timestamp - first.timestamp);
        let full = self.bytes + size > BATCH_BYTES_MAX
            || self.events.len() == BATCH_EVENTS_MAX
            || span > BATCH_SPAN_MAX;
        let done = if full { self.take() } else { None };
        self.bytes += size;
        self.events.push(Event { timestamp, text: line.text, end: line.end });
        done
    }

    /// What is there, if anything.
    pub(crate) fn take(&mut self) -> Option<Vec<Event>> {
        self.bytes = 0;
        let events = std::mem::take(&mut self.events);
        (!events.is_empty()).then_some(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_go_forward_and_span_less_than_a_day() {
        let mut batch = Batch::default();
        let line = || Line { text: "x".into(), end: 0 };
        assert_eq!(batch.add(1_000, line()), None);
        assert_eq!(batch.add(500, line()), None);
        let full = batch.add(1_000 + BATCH_SPAN_MAX + 1, line()).unwrap();
        assert_eq!(full.iter().map(|event| event.timestamp).collect::<Vec<_>>(), [1_000, 1_000]);
        assert_eq!(batch.take().unwrap().len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn limits_hold_and_nothing_is_lost(
            sizes in proptest::collection::vec(
                prop_oneof![20 => 0usize..40, 1 => 200_000usize..super::super::lines::EVENT_TEXT_MAX],
                0..12_000,
            ),
        ) {
            let mut batch = Batch::default();
            let mut batches = Vec::new();
            // Large texts all together would be gigabytes: only as many as make some batches.
            let mut large = 0;
            let mut added = 0;
            for (index, size) in sizes.iter().enumerate() {
                large += usize::from(*size > 40);
                if *size > 40 && large > 20 {
                    continue;
                }
                added += 1;
                batches.extend(batch.add(0, Line { text: "x".repeat(*size), end: index as u64 }));
            }
            batches.extend(batch.take());
            for events in &batches {
                prop_assert!(!events.is_empty() && events.len() <= BATCH_EVENTS_MAX);
                let bytes: usize = events.iter().map(|event| event.text.len() + EVENT_OVERHEAD).sum();
                prop_assert!(bytes <= BATCH_BYTES_MAX);
            }
            let ends: Vec<u64> = batches.iter().flatten().map(|event| event.end).collect();
            prop_assert_eq!(ends.len(), added);
            prop_assert!(ends.is_sorted());
        }
    }
}
