//! The data directory: private, and used by one process at a time.
//!
//! The directory is 0700 and every file made in it 0600, whatever the umask, because it holds task tokens and
//! passwords. A lock (`flock`, so the kernel drops it when the process ends in any way) keeps a second process out;
//! the lock file names the holder for the error message.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Another command that only looks whether the directory is in use holds the lock for an instant.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error(
        "{} is in use by process {pid}; stop that process or use another --data-dir",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that holds the lock, as it wrote itself down.
        pid: String,
    },
    /// The file system refused.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// With which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A locked data directory; dropping it unlocks.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory where needed, makes it private, and locks it.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] when another process holds it, otherwise the file system's.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        private_dir(path)?;
        let path = path.canonicalize().map_err(failed("find", path))?;
        let lock_path = path.join("lock");
        let mut lock = private_file(&lock_path)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    let pid = holder(&mut lock).map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string());
                    return Err(DataDirError::InUse { path, pid });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(DataDirError::Io { act: "lock", path: lock_path, source });
                }
            }
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(failed("write", &lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The process that holds `path`'s lock at this moment, if one does.
pub(crate) fn held_by(path: &Path) -> Option<u32> {
    let mut lock = File::open(path.join("lock")).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => holder(&mut lock),
        _ => None,
    }
}

fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Creates a directory (and its parents) that only we may enter, or makes an existing one so.
pub(crate) fn private_dir(path: &Path) -> Result<(), DataDirError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))?;
    let mode = path.metadata().map_err(failed("look at", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("protect", path))?;
    }
    Ok(())
}

/// Opens or creates a file that only we may read. SQLite gives its journals the mode of the database file, so
/// making that file here first keeps them private too.
pub(crate) fn private_file(path: &Path) -> Result<File, DataDirError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed("open", path))?;
    let mode = file.metadata().map_err(failed("look at", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed("protect", path))?;
    }
    Ok(file)
}

/// Replaces a small private file at once: readers see the old or the new content.
pub(crate) fn replace_private_file(path: &Path, content: &[u8]) -> Result<(), DataDirError> {
    let temporary = path.with_extension("new");
    // A leftover of a killed process may be there; its content does not matter.
    let mut file = private_file(&temporary)?;
    file.set_len(0)
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all())
        .map_err(failed("write", &temporary))?;
    std::fs::rename(&temporary, path).map_err(failed("replace", path))
}

pub(crate) fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError + use<> {
    let path = path.to_owned();
    move |source| DataDirError::Io { act, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_opener_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert_eq!(held_by(&path), None);
        let open = DataDir::open(&path).unwrap();
        assert_eq!((mode(&path), mode(&path.join("lock"))), (0o700, 0o600));
        assert_eq!(held_by(&path), Some(std::process::id()));
        let error = DataDir::open(&path).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(open);
        assert_eq!(held_by(&path), None);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn what_was_open_to_others_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let file = dir.path().join("local.db");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        private_dir(dir.path()).unwrap();
        private_file(&file).unwrap();
        assert_eq!((mode(dir.path()), mode(&file)), (0o700, 0o600));
    }
}
