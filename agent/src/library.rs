//! The directory that every script gets as `$1`: the shell files it may source, written by the agent at its start so
//! that they always are the ones that belong to it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a SQL file; see `lib/run_sql.sh`.
pub(crate) const RUN_SQL: &str = "run_sql.sh";

const FILES: [(&str, &str); 2] = [
    ("get_redshift_creds.sh", include_str!("../lib/get_redshift_creds.sh")),
    (RUN_SQL, include_str!("../lib/run_sql.sh")),
];

/// Tells the files of one call from those of another.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// Writes the files into `<data_dir>/lib` and answers that directory.
pub(crate) fn write(data_dir: &Path) -> io::Result<PathBuf> {
    let directory = data_dir.join("lib");
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory)?;
    for (name, text) in FILES {
        let path = directory.join(name);
        if std::fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
            continue;
        }
        // A script that is sourcing the old file keeps it. Attempts that begin at the same time write a file each.
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let fresh = directory.join(format!(".{name}.{}-{call}.new", std::process::id()));
        let written = std::fs::write(&fresh, text)
            .and_then(|()| std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o644)))
            .and_then(|()| std::fs::rename(&fresh, &path));
        if written.is_err() {
            // What a full disk left of it says nothing.
            let _ = std::fs::remove_file(&fresh);
        }
        written?;
    }
    directory.canonicalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_begin_at_once_all_find_the_files() {
        for _ in 0..100 {
            let data_dir = tempfile::tempdir().unwrap();
            let written: Vec<io::Result<PathBuf>> = std::thread::scope(|scope| {
                let writers: Vec<_> = (0..4).map(|_| scope.spawn(|| write(data_dir.path()))).collect();
                writers.into_iter().map(|writer| writer.join().unwrap()).collect()
            });
            for directory in written {
                assert_eq!(std::fs::read_dir(directory.unwrap()).unwrap().count(), FILES.len());
            }
        }
    }
}
