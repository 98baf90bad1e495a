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
        // Made read-only aside, where nobody opens anything meanwhile; a mount of a mount has its flags.
        let aside = directory.with_extension("aside");
        std::fs::create_dir_all(&aside).unwrap();
        let bind = |from: &Path, to: &Path| run(Command::new("mount").arg("--bind").args([from, to]));
        if bind(directory, &aside).code != 0 {
            return None;
        }
        let flags = run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&aside));
        let mounted = bind(&aside, directory);
        run(Command::new("umount").arg("-l").arg(&aside)).expect(0);
        flags.expect(0);
        mounted.expect(0);
        let made = Self(directory.to_owned());
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
