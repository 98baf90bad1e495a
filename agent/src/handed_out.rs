//! Whether a job's scripts were given the warehouse's password, and which: a file in the job's directory with the
//! versions of the secret, one a line.
//!
//! A process of the agent knows which passwords it handed out, and masks them. The next one does not, and has to ask
//! Secrets Manager before it shows anything of what those scripts print. The file tells it whose output that is; that of
//! other jobs cannot hold a password of ours and waits for nobody. A version is noted before its password is handed out,
//! and the file goes with the job's settlement.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const NAME: &str = "handed-out";

/// Notes that a version of the job's secret is about to be handed out. Durable.
pub(crate) fn note(directory: &Path, version: &str) -> io::Result<()> {
    if versions(directory)?.contains(version) {
        return Ok(());
    }
    crate::job_file::make_directory(directory)?;
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(directory.join(NAME))?;
    let length = file.metadata()?.len();
    let written = file.write_all(format!("{version}\n").as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a line is no version.
        let _ = file.set_len(length);
    }
    written
}

/// What was noted; nothing for most jobs.
pub(crate) fn versions(directory: &Path) -> io::Result<BTreeSet<String>> {
    match fs::read_to_string(directory.join(NAME)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_noted_once() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("job");
        assert!(versions(&directory).unwrap().is_empty());
        for version in ["v1", "v2", "v1"] {
            note(&directory, version).unwrap();
        }
        assert_eq!(fs::read_to_string(directory.join(NAME)).unwrap(), "v1\nv2\n");
        assert_eq!(versions(&directory).unwrap(), BTreeSet::from(["v1".into(), "v2".into()]));
        crate::job_file::forget(&directory);
        assert!(versions(&directory).unwrap().is_empty());
    }
}
