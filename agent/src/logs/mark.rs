//! How far a log is shipped: a file beside the log, one record in it.
//!
//! It is written before a batch is sent and after it was taken, always at the same place and with the same length, so
//! neither a full disk nor the end of the process leaves half of it. It does not depend on the journal: where that is
//! lost, every line still comes once. It is not flushed; what a power cut may do is told in [`super::ship`].

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// How far an attempt's log is shipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// Where in the file it ends; it begins at the mark's position.
    pub to: u64,
    /// The time that all its events carry, in milliseconds since 1970.
    pub at: i64,
}

/// Length of the record: four numbers of twenty digits and their names, padded with blanks.
const LENGTH: usize = 192;

impl LogMark {
    /// Whether a file of this length has nothing left to ship.
    pub(crate) fn covers(&self, length: u64) -> bool {
        self.position == length
    }

    /// What the file says; nothing where it is not there or says nothing.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Writes the file, and makes it and its directory where they are not there.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.resize(LENGTH - 1, b' ');
        text.push(b'\n');
        let file = open(path).or_else(|error| match path.parent() {
            Some(directory) if error.kind() == io::ErrorKind::NotFound => {
                crate::job_file::make_directory(directory)?;
                open(path)
            }
            _ => Err(error),
        })?;
        file.write_all_at(&text, 0)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_what_was_written_last_and_always_of_one_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("removed/1.shipped");
        assert_eq!(LogMark::read(&path), None);
        let sending = Some(Sending { to: u64::MAX, at: i64::MIN });
        for mark in [
            LogMark { position: u64::MAX, last_at: i64::MIN, sending },
            LogMark::default(),
            LogMark { position: 7, last_at: 8, sending: Some(Sending { to: 9, at: 10 }) },
        ] {
            mark.write(&path).unwrap();
            assert_eq!(LogMark::read(&path), Some(mark));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), LENGTH as u64);
        }
        std::fs::write(&path, [0; LENGTH]).unwrap();
        assert_eq!(LogMark::read(&path), None, "what a power cut may leave");
    }
}
