//! The data directory and what is in it: there, ours, closed to others, and with room to write.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use rsqlflow_agent::JOURNAL_VERSION;

use super::Check;
use crate::command::{BESIDE_UP, beside_up};

const MIB: u64 = 1024 * 1024;

pub(super) fn data_dir(path: &Path, min_free: u64) -> Vec<Check> {
    const NAME: &str = "data directory";
    let shown = path.display();
    let data = match std::fs::metadata(path) {
        Ok(data) if data.is_dir() => data,
        Ok(_) => {
            return vec![Check::fail(NAME, format!("{shown} is no directory"), "set agent.data_dir to one")];
        }
        Err(error) => {
            let hint = match error.kind() {
                std::io::ErrorKind::PermissionDenied => "use sudo",
                _ if beside_up() => BESIDE_UP,
                _ => "the agent makes it when it starts; --data-dir or agent.data_dir says where it is",
            };
            return vec![Check::fail(NAME, format!("{shown}: {error}"), hint)];
        }
    };
    let own = rustix::process::geteuid().as_raw();
    let (owner, mode) = (data.uid(), data.mode() & 0o7777);
    let place = if mode & 0o007 != 0 {
        Check::warn(
            NAME,
            format!("{shown} is open to others (mode {mode:04o})"),
            format!("chmod o-rwx {shown}"),
        )
    } else if owner != own {
        Check::warn(
            NAME,
            format!("{shown} belongs to uid {owner}, and this is uid {own}: the agent may see other things"),
            format!("sudo -u '#{owner}' rsqlflow-agent doctor"),
        )
    } else {
        Check::ok(NAME, format!("{shown} (uid {owner}, mode {mode:04o})"))
    };
    vec![place, disk(path, min_free)]
}

fn disk(path: &Path, min_free: u64) -> Check {
    const NAME: &str = "disk";
    let Ok(disk) = rustix::fs::statvfs(path) else {
        return Check::warn(NAME, "how full it is cannot be told", "df shows it");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let hint = "mount it writable; after a fault of the disk the kernel does that: see dmesg";
        return Check::fail(NAME, "is mounted read-only: nothing can be written", hint);
    }
    judge_disk(free, disk.f_files > 0 && disk.f_favail == 0, min_free)
}

fn judge_disk(free: u64, no_inodes: bool, min_free: u64) -> Check {
    const NAME: &str = "disk";
    let mib = free / MIB;
    let hint =
        "free some space, or move agent.data_dir; settled jobs' logs go after agent.log_retention_days";
    let message = format!("{mib} MiB free, {} needed (agent.min_free_mib)", min_free / MIB);
    if no_inodes {
        Check::fail(NAME, "no inode is free: no file can be made", "df -i shows where they are")
    } else if free < min_free {
        Check::fail(NAME, format!("{message}: no jobs are taken"), hint)
    } else if free < min_free.saturating_mul(2) {
        Check::warn(NAME, message, hint)
    } else {
        Check::ok(NAME, message)
    }
}

pub(super) fn socket(path: &Path) -> Check {
    const NAME: &str = "socket";
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Ok(data) if !data.file_type().is_socket() => Check::fail(
            NAME,
            format!("{shown} is no socket"),
            "remove it; the agent makes one when it starts",
        ),
        Ok(data) if data.mode() & 0o007 != 0 => Check::warn(
            NAME,
            format!("{shown} is open to others (mode {:04o})", data.mode() & 0o7777),
            format!("chmod o-rwx {shown}"),
        ),
        Ok(data) => {
            Check::ok(NAME, format!("{shown} (uid {}, mode {:04o})", data.uid(), data.mode() & 0o7777))
        }
        Err(error) => Check::fail(NAME, format!("{shown}: {error}"), missing(&error)),
    }
}

/// What to do about something of the agent's that is not seen.
fn missing(error: &std::io::Error) -> &'static str {
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        "use sudo"
    } else {
        "the agent makes it when it starts"
    }
}

pub(super) fn journal(data_dir: &Path) -> Check {
    const NAME: &str = "journal";
    let path = data_dir.join("journal.db");
    let data = match std::fs::metadata(&path) {
        Ok(data) => data,
        Err(error) => {
            return Check::warn(NAME, format!("{}: {error}", path.display()), missing(&error));
        }
    };
    match read_journal(&path) {
        Ok((_, _, problem)) if problem != "ok" => Check::fail(
            NAME,
            format!("{} is damaged: {problem}", path.display()),
            "restart the agent: it moves the file aside and takes running scripts up from their own files",
        ),
        Ok((version, ..)) if version > i64::from(JOURNAL_VERSION) => Check::fail(
            NAME,
            format!(
                "{} was written by a newer agent (version {version}, this one knows {JOURNAL_VERSION})",
                path.display()
            ),
            "install that version of the agent again: this one does not start with it",
        ),
        Ok((version, unsettled, _)) if data.mode() & 0o077 == 0 => {
            let message = format!("version {version}, {unsettled} jobs not settled");
            match aside(data_dir) {
                None => Check::ok(NAME, message),
                Some(name) => Check::warn(
                    NAME,
                    format!("{message}; a damaged one was moved aside as {name}"),
                    "it holds task tokens: remove it once nobody needs it (it goes after agent.log_retention_days)",
                ),
            }
        }
        Ok(_) => Check::fail(
            NAME,
            format!("{} holds task tokens and is open to others", path.display()),
            format!("chmod 0600 {}", path.display()),
        ),
        Err(error) => Check::fail(
            NAME,
            format!("{} cannot be read: {error}", path.display()),
            "run this as the agent's user; a journal that is damaged is moved aside when the agent starts",
        ),
    }
}

/// A journal that was moved aside.
fn aside(data_dir: &Path) -> Option<String> {
    let names =
        std::fs::read_dir(data_dir).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("journal.db.corrupt-")).min()
}

/// Its version, how many jobs are not settled, and what SQLite finds wrong. Reading must leave nothing behind: where no
/// agent has the journal open, the files that SQLite would make to read it are ours and may keep the agent out.
fn read_journal(path: &Path) -> rusqlite::Result<(i64, i64, String)> {
    let mut shared = path.as_os_str().to_owned();
    shared.push("-shm");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let journal = if Path::new(&shared).exists() {
        Connection::open_with_flags(path, flags)?
    } else {
        let escaped = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        // <https://sqlite.org/uri.html>
        Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)?
    };
    journal.busy_timeout(super::LOCAL_PATIENCE)?;
    let version = journal.query_row("pragma user_version", [], |row| row.get(0))?;
    let problem = journal.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
    let unsettled =
        journal.query_row("select count(*) from jobs where settled_at is null", [], |row| row.get(0))?;
    Ok((version, unsettled, problem))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Level;
    use super::*;

    #[test]
    fn disks_fill_up_in_steps() {
        assert_eq!(judge_disk(200 * MIB, false, 64 * MIB).level, Level::Ok);
        assert_eq!(judge_disk(100 * MIB, false, 64 * MIB).level, Level::Warn);
        assert_eq!(judge_disk(60 * MIB, false, 64 * MIB).level, Level::Fail);
        assert_eq!(judge_disk(200 * MIB, true, 64 * MIB).level, Level::Fail);
    }

    #[test]
    fn a_journal_is_read_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(journal(dir.path()).level, Level::Warn);
        let path = dir.path().join("journal.db");
        let made = Connection::open(&path).unwrap();
        made.pragma_update(None, "journal_mode", "WAL").unwrap();
        made.execute_batch(
            "create table jobs (settled_at text); insert into jobs values (null); pragma user_version = 1",
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(journal(dir.path()).message, "version 1, 1 jobs not settled", "while it is open");
        drop(made);
        assert_eq!(journal(dir.path()).message, "version 1, 1 jobs not settled", "while it is not");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        let corrupt = dir.path().join("journal.db.corrupt-20261121T030000000");
        std::fs::write(&corrupt, "").unwrap();
        assert!(
            journal(dir.path()).message.ends_with("moved aside as journal.db.corrupt-20261121T030000000")
        );
        std::fs::remove_file(corrupt).unwrap();
        let newer = Connection::open(&path).unwrap();
        newer.execute_batch("pragma user_version = 99").unwrap();
        let told = journal(dir.path());
        assert!(told.level == Level::Fail && told.message.contains("newer agent (version 99"), "{told:?}");
        newer.execute_batch("pragma user_version = 1").unwrap();
        drop(newer);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(journal(dir.path()).message.contains("open to others"));
        std::fs::write(&path, "nonsense".repeat(1000)).unwrap();
        assert_eq!(journal(dir.path()).level, Level::Fail);
    }
}
