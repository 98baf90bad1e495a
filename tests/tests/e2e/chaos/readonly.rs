//! A file system that can be read only for a while.
//!
//! The daemon holds files that it writes to, and so the kernel does not make their mount read-only. It gets another,
//! read-only mount of the same directory on top: what is open goes on, and nothing can be opened to be written or made.

use std::path::{Path, PathBuf};
use std::process::Command;

use rsqlflow_tests::site::run;

/// A directory that can only be read, until this is dropped.
pub(super) struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Nothing where this user may not mount.
    pub(super) fn make(directory: &Path) -> Option<Self> {
        let mounted = run(Command::new("mount").arg("--bind").args([directory, directory]));
        if mounted.code != 0 {
            return None;
        }
        let made = Self(directory.to_owned());
        run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(directory)).expect(0);
        assert!(std::fs::write(directory.join("probe"), "").is_err(), "it can be written to");
        Some(made)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Lazily: what was opened to be read goes on.
        let unmounted = run(Command::new("umount").arg("-l").arg(&self.0));
        assert!(unmounted.code == 0 || std::thread::panicking(), "{unmounted:?}");
    }
}
