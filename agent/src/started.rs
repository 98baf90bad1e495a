//! That an attempt was started in this boot of the host, kept where no disk can lose it.
//!
//! The notes of a start (the run file, the journal's row) are not flushed. A power cut takes them, and then the boot is
//! another, which says enough. A file system that fails and comes back without a reboot takes them as well, and nothing
//! on it says that a script has run; the script would run once more. So a start is also noted in memory that lives
//! exactly as long as the boot: an empty file in a tmpfs, `RUNTIME_DIRECTORY` of the service or else `/dev/shm`. It costs
//! microseconds, where a flush costs milliseconds. On a host without such memory the run file is flushed.
//!
//! The file is made after the run file and before the script starts. It is asked for only where there is no run file:
//! so an agent that ends between the two is not taken for a disk that failed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// <https://man7.org/linux/man-pages/man2/statfs.2.html>
const TMPFS: i128 = 0x0102_1994;
const RAMFS: i128 = 0x8584_58f6;

/// The notes of one agent.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    /// Directory of the notes, where there is memory for them.
    directory: Option<PathBuf>,
    /// Tells the notes of this agent from those of another on the same host.
    agent: String,
}

impl Started {
    /// Notes of the agent that works in `data_dir`.
    pub(crate) fn of(data_dir: &Path) -> Self {
        let own = rustix::process::geteuid().as_raw();
        let of_service = std::env::var_os("RUNTIME_DIRECTORY")
            .and_then(|all| std::env::split_paths(&all).next())
            .map(|directory| directory.join("started"));
        let shared = Path::new("/dev/shm").join(format!("rsqlflow-agent-{own}"));
        let directory = of_service.into_iter().chain([shared]).find(|directory| is_volatile(directory, own));
        if directory.is_none() {
            tracing::warn!(
                "neither RUNTIME_DIRECTORY nor /dev/shm is a tmpfs of ours: every start of a script waits for the disk"
            );
        }
        Self::in_directory(directory, data_dir)
    }

    fn in_directory(directory: Option<PathBuf>, data_dir: &Path) -> Self {
        let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
        Self { directory, agent: digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect() }
    }

    fn path(&self, job_id: &str, attempt: u32) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(format!("{}-{job_id}.{attempt}", self.agent)))
    }

    /// Notes that an attempt is about to start, whose run file is there.
    pub(crate) fn note(&self, job_id: &str, attempt: u32, run_file: &Path) -> io::Result<()> {
        let noted = self
            .path(job_id, attempt)
            .map(|path| OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path));
        match noted {
            Some(Ok(_)) => Ok(()),
            // Memory may be full, or somebody may have removed the directory.
            Some(Err(_)) | None => flush_with_directories(run_file),
        }
    }

    /// It did not start after all.
    pub(crate) fn take_back(&self, job_id: &str, attempt: u32) {
        // A note too many costs a job its attempt and starts nothing twice.
        let _ = self.path(job_id, attempt).map(fs::remove_file);
    }

    /// Whether an attempt was started in this boot.
    pub(crate) fn has(&self, job_id: &str, attempt: u32) -> bool {
        self.path(job_id, attempt).is_some_and(|path| path.exists())
    }

    /// Forgets the attempts of a job that is settled.
    pub(crate) fn forget(&self, job_id: &str, first_attempt: u32) {
        for attempt in first_attempt.. {
            if self.path(job_id, attempt).is_none_or(|path| fs::remove_file(path).is_err()) {
                return;
            }
        }
    }

    /// Forgets what is noted of jobs that are not to be known any more.
    pub(crate) fn keep_only(&self, is_known: impl Fn(&str) -> bool) {
        let entries = self.directory.iter().filter_map(|directory| fs::read_dir(directory).ok());
        for entry in entries.flatten().flatten() {
            let name = entry.file_name();
            let job_id = name.to_str().and_then(|name| {
                name.strip_prefix(&self.agent)?.strip_prefix('-')?.split_once('.').map(|(job_id, _)| job_id)
            });
            if job_id.is_some_and(|job_id| !is_known(job_id)) {
                // The next agent looks again.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether it is, or can be made, a directory of ours in memory that ends with the boot.
fn is_volatile(directory: &Path, own: u32) -> bool {
    let made = fs::DirBuilder::new().mode(0o700).create(directory);
    if made.is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        return false;
    }
    // Everybody may write to /dev/shm: what is there may be another's, or lead elsewhere.
    let ours = fs::symlink_metadata(directory)
        .is_ok_and(|data| data.is_dir() && data.uid() == own && data.mode() & 0o022 == 0);
    ours && rustix::fs::statfs(directory).is_ok_and(|system| [TMPFS, RAMFS].contains(&system.f_type.into()))
}

/// Flushes a file and its place in the two directories that were made for it.
fn flush_with_directories(file: &Path) -> io::Result<()> {
    for path in file.ancestors().take(3) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_one_agent_are_no_other_s() {
        let dir = tempfile::tempdir().unwrap();
        let of = |data_dir: &str| Started::in_directory(Some(dir.path().to_owned()), Path::new(data_dir));
        let (one, other) = (of("/one"), of("/other"));
        let run_file = Path::new("/no/such/file");
        for attempt in [3, 4] {
            one.note("job", attempt, run_file).unwrap();
        }
        other.note("job", 3, run_file).unwrap();
        assert!(one.has("job", 3) && one.has("job", 4) && !one.has("job", 5) && !one.has("other", 3));
        one.keep_only(|job_id| job_id == "job");
        assert!(one.has("job", 3));
        one.forget("job", 3);
        assert!(!one.has("job", 3) && !one.has("job", 4) && other.has("job", 3));
        other.keep_only(|_| false);
        assert!(!other.has("job", 3));
        other.note("job", 1, run_file).unwrap();
        other.take_back("job", 1);
        assert!(!other.has("job", 1));
    }

    #[test]
    fn without_memory_for_it_a_start_is_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let started = Started::in_directory(None, dir.path());
        let run_file = dir.path().join("jobs/job/1.run");
        assert!(started.note("job", 1, &run_file).is_err());
        fs::create_dir_all(run_file.parent().unwrap()).unwrap();
        fs::write(&run_file, "").unwrap();
        started.note("job", 1, &run_file).unwrap();
        assert!(!started.has("job", 1));
    }

    #[test]
    fn a_directory_on_a_disk_or_open_to_others_is_none_of_ours() {
        let own = rustix::process::geteuid().as_raw();
        assert!(!is_volatile(Path::new("/proc/self"), own));
        let shared = tempfile::tempdir_in("/dev/shm").unwrap();
        assert!(is_volatile(&shared.path().join("ours"), own));
        assert!(!is_volatile(&shared.path().join("ours"), own + 1));
        let open = shared.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(!is_volatile(&open, own));
    }
}
