//! Where the cluster lives and who runs it.
//!
//! Usually `<data dir>/warehouse`, as ourselves. Root cannot run PostgreSQL, and another user cannot pass through a
//! data directory that is closed to others; so root's clusters are in a directory of their own under `/var/lib` (or
//! the temporary directory, for a data directory that is in there), named after the data directory. Deleting a data
//! directory leaves its cluster behind there; the next new cluster clears it away.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::data_dir::{private_dir, replace_private_file};

use super::server::{Running, left_over};
use super::{WarehouseError, io};

/// Users that may run the server for root, in order of preference.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// What homes outside of their data directory are called.
const PREFIX: &str = "rsqlflow-warehouse-";

/// A user other than ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The cluster's directory and the user who owns it, where that is not us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) path: PathBuf,
    pub(super) user: Option<User>,
}

impl Home {
    pub(super) fn of(data_dir: &Path) -> Result<Self, WarehouseError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { path: data_dir.join("warehouse"), user: None });
        }
        let accounts = std::fs::read_to_string("/etc/passwd").map_err(io("read /etc/passwd"))?;
        let user = find_user(&accounts).ok_or(WarehouseError::NoUser)?;
        let data_dir = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
        let temporary = std::env::temp_dir();
        let base = if data_dir.starts_with(&temporary) { temporary } else { PathBuf::from("/var/lib") };
        Ok(Self { path: base.join(name_for(&data_dir)), user: Some(user) })
    }

    /// Makes the directories, private to their user.
    ///
    /// Root works here in a directory that another user owns and may rearrange, so nothing in it is ever followed:
    /// paths are made anew or left alone. A directory that this data directory did not make (its data directory was
    /// deleted, or somebody guessed the name) is not used but replaced.
    pub(super) async fn create(&self, data_dir: &Path) -> Result<(), WarehouseError> {
        let ours = data_dir.join("warehouse");
        private_dir(&ours)?;
        let Some(user) = self.user else {
            return Ok(private_dir(&self.sockets())?);
        };
        let marker = ours.join("files");
        let name = self.path.as_os_str().as_encoded_bytes();
        let found = self.path.symlink_metadata().ok();
        if let Some(found) = &found {
            if !found.is_dir() || (found.uid() != user.uid && found.uid() != 0) {
                return Err(WarehouseError::NotOurs(self.path.clone()));
            }
            if std::fs::read(&marker).is_ok_and(|content| content == name) && found.uid() == user.uid {
                return Ok(());
            }
            tracing::warn!(files = %self.path.display(), "the warehouse of a deleted data directory is removed");
            if let Some(orphan) = left_over(self) {
                Running::adopted(orphan).stop().await?;
            }
            std::fs::remove_dir_all(&self.path).map_err(io("remove an orphaned warehouse"))?;
        }
        tracing::info!(
            files = %self.path.display(),
            "PostgreSQL does not run as root: the warehouse's files are kept for another user"
        );
        remove_orphans(&self.path, user).await;
        for directory in [&self.path, &self.sockets()] {
            DirBuilder::new().mode(0o700).create(directory).map_err(io("make the warehouse's directory"))?;
        }
        let owner = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
        replace_private_file(&self.path.join(OWNER), owner.as_os_str().as_encoded_bytes())?;
        self.give(&self.sockets())?;
        self.give(&self.path)?;
        Ok(replace_private_file(&marker, name)?)
    }

    /// Makes a path the user's own.
    pub(super) fn give(&self, path: &Path) -> Result<(), WarehouseError> {
        match self.user {
            Some(user) => lchown(path, Some(user.uid), Some(user.gid))
                .map_err(io("give the warehouse's files to its user")),
            None => Ok(()),
        }
    }

    /// Where the server's socket is: a directory only its user may enter.
    pub(super) fn sockets(&self) -> PathBuf {
        self.path.join("sockets")
    }

    /// PostgreSQL's data directory.
    pub(super) fn cluster(&self) -> PathBuf {
        self.path.join("cluster")
    }

    /// A command that runs as the user, in the directory, without our environment's PostgreSQL settings.
    pub(super) fn command(&self, program: &Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").current_dir(&self.path).stdin(std::process::Stdio::null());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }
}

/// The file that names the data directory a home belongs to.
const OWNER: &str = "data_dir";

/// Removes the homes beside `path` whose data directory has been deleted: it was all that knew their password.
async fn remove_orphans(path: &Path, user: User) {
    for entry in path.parent().and_then(|base| std::fs::read_dir(base).ok()).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let orphan = Home { path: entry.path(), user: Some(user) };
        let ours =
            orphan.path.symlink_metadata().is_ok_and(|found| found.is_dir() && found.uid() == user.uid);
        let owner = std::fs::read(orphan.path.join(OWNER)).map(OsString::from_vec);
        if !ours || !owner.is_ok_and(|owner| matches!(Path::new(&owner).try_exists(), Ok(false))) {
            continue;
        }
        if let Some(server) = left_over(&orphan)
            && let Err(error) = Running::adopted(server).stop().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "an orphaned warehouse was not stopped");
            continue;
        }
        // What cannot be removed now is tried again next time.
        let removed = std::fs::remove_dir_all(&orphan.path).is_ok();
        tracing::info!(files = %orphan.path.display(), removed, "a warehouse without a data directory");
    }
}

fn find_user(accounts: &str) -> Option<User> {
    USERS.iter().find_map(|wanted| {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            (name == *wanted && uid != 0).then_some(User { uid, gid })
        })
    })
}

fn name_for(data_dir: &Path) -> String {
    let hash = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_is_preferred_and_root_never_taken() {
        let accounts = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";
        assert_eq!(find_user(accounts), Some(User { uid: 65534, gid: 65533 }));
        let both = format!("{accounts}postgres:x:101:104::/:/bin/sh\n");
        assert_eq!(find_user(&both), Some(User { uid: 101, gid: 104 }));
        assert_eq!(find_user("postgres:x:0:0::/:/bin/sh\nbroken\n"), None);
    }

    #[test]
    fn data_directories_have_different_homes() {
        assert_ne!(name_for(Path::new("/a")), name_for(Path::new("/b")));
    }
}
