//! How far a log is shipped: what the journal keeps of it.

/// How far an attempt's log is shipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogMark {
    /// Everything in the file before this byte is with the service, or was told to be missing there.
    pub position: u64,
    /// The time of the newest events that the service took, in milliseconds since 1970. Batches carry one time each,
    /// and no two of a stream the same.
    pub last_at: i64,
    /// The batch that is on its way, or was when the process ended.
    pub sending: Option<Sending>,
}

/// A batch that is sent until it is taken: the same bytes at the same time, so that it can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sending {
    /// Where in the file it ends; it begins at the mark's position.
    pub to: u64,
    /// The time that all its events carry, in milliseconds since 1970.
    pub at: i64,
}

impl LogMark {
    /// Whether a file of this length has nothing left to ship.
    pub(crate) fn covers(&self, length: u64) -> bool {
        self.position == length
    }
}
