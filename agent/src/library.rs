//! The directory that every script gets as `$1`: the shell files it may source, written by the agent at its start so
//! that they always are the ones that belong to it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Runs a SQL file; see `lib/run_sql.sh`.
pub(crate) const RUN_SQL: &str = "run_sql.sh";

const FILES: [(&str, &str); 2] = [
    ("get_redshift_creds.sh", include_str!("../lib/get_redshift_creds.sh")),
    (RUN_SQL, include_str!("../lib/run_sql.sh")),
];

/// Writes the files into `<data_dir>/lib` and answers that directory.
pub(crate) fn write(data_dir: &Path) -> io::Result<PathBuf> {
    let directory = data_dir.join("lib");
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory)?;
    for (name, text) in FILES {
        let path = directory.join(name);
        if std::fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
            continue;
        }
        // A script that is sourcing the old file keeps it.
        let fresh = directory.join(format!(".{name}.new"));
        std::fs::write(&fresh, text)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o644))?;
        std::fs::rename(&fresh, &path)?;
    }
    directory.canonicalize()
}
