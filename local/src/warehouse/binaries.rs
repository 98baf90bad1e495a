//! Finding PostgreSQL's server programs.
//!
//! Debian keeps them out of the PATH, one directory per major version. A cluster belongs to the version that made it;
//! a new one is made by the newest.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::WarehouseError;
use super::home::Home;

/// Where Debian and Ubuntu put them: `/usr/lib/postgresql/<version>/bin`.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The directory of `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    pub(super) fn find(home: &Home) -> Result<Self, WarehouseError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut found = candidates(&path, Path::new(VERSIONS));
        if found.is_empty()
            && let Ok(output) = Command::new("pg_config").arg("--bindir").output()
        {
            let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
            if is_complete(&directory) {
                found.push(directory);
            }
        }
        let versioned: Vec<(String, PathBuf)> =
            found.into_iter().filter_map(|directory| Some((major(&directory)?, directory))).collect();
        let made_by = std::fs::read_to_string(home.cluster().join("PG_VERSION")).ok();
        choose(versioned, made_by.as_deref().map(str::trim), home)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn choose(
    mut versioned: Vec<(String, PathBuf)>,
    made_by: Option<&str>,
    home: &Home,
) -> Result<Binaries, WarehouseError> {
    if versioned.is_empty() {
        return Err(WarehouseError::NotInstalled);
    }
    if let Some(wanted) = made_by {
        return versioned
            .into_iter()
            .find(|(version, _)| version == wanted)
            .map(|(_, directory)| Binaries { directory })
            .ok_or_else(|| WarehouseError::WrongVersion {
                home: home.path.clone(),
                wanted: wanted.to_owned(),
            });
    }
    versioned.sort_by_key(|(version, _)| version.parse::<u32>().unwrap_or_default());
    versioned.pop().map(|(_, directory)| Binaries { directory }).ok_or(WarehouseError::NotInstalled)
}

fn candidates(path: &OsStr, versions: &Path) -> Vec<PathBuf> {
    let installed = std::fs::read_dir(versions).into_iter().flatten().flatten();
    std::env::split_paths(path)
        .chain(installed.map(|entry| entry.path().join("bin")))
        .filter(|directory| is_complete(directory))
        .collect()
}

fn is_complete(directory: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file())
}

/// `postgres (PostgreSQL) 15.14 (Debian ...)` is 15.
fn major(directory: &Path) -> Option<String> {
    let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    Some(version[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        Home { path: "/h".into(), user: None }
    }

    fn installed() -> Vec<(String, PathBuf)> {
        ["9", "15", "14"].map(|version| (version.to_owned(), PathBuf::from(version))).into()
    }

    #[test]
    fn a_new_cluster_is_made_by_the_newest_and_an_old_one_run_by_its_own() {
        assert_eq!(choose(installed(), None, &home()).unwrap().directory, Path::new("15"));
        assert_eq!(choose(installed(), Some("14"), &home()).unwrap().directory, Path::new("14"));
        let error = choose(installed(), Some("12"), &home()).unwrap_err().to_string();
        assert!(error.contains("apt-get install postgresql-12"), "{error}");
        let error = choose(Vec::new(), None, &home()).unwrap_err().to_string();
        assert!(error.contains("apt-get install postgresql`"), "{error}");
    }

    #[test]
    fn both_programs_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("15/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("postgres"), "").unwrap();
        assert_eq!(candidates(OsStr::new(""), dir.path()), Vec::<PathBuf>::new());
        std::fs::write(bin.join("initdb"), "").unwrap();
        for (path, versions) in [(OsStr::new(""), dir.path()), (bin.as_os_str(), Path::new("/none"))] {
            assert_eq!(candidates(path, versions), [bin.as_path()]);
        }
    }
}
