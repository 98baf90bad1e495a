//! A control group an attempt, where the host lets us have one.
//!
//! systemd delegates a part of the hierarchy to a unit with `Delegate=yes`, which shows by the directory's owner, or
//! for a unit that runs as root by a mark on it. Nothing is limited by these groups: they are there because a process
//! cannot leave them by what it is, only by writing into another group's file, which nobody does by accident. A group
//! that a script makes below its own belongs to it. Version 2 only.
//! <https://systemd.io/CGROUP_DELEGATION/>

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory below which this process may make groups, if any was delegated to it.
pub fn delegated() -> Option<PathBuf> {
    let own = own()?;
    // With DelegateSubgroup= the daemon is in a group of its own below the one that was delegated.
    [own.parent(), Some(own.as_path())]
        .into_iter()
        .flatten()
        .find(|directory| is_delegated(directory))
        .map(PathBuf::from)
}

/// The directory of this process's own group.
pub(crate) fn own() -> Option<PathBuf> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?.join(path))
}

/// Where version 2 is mounted.
/// <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next() == Some("cgroup2")).then(|| before.split(' ').nth(4))?.map(PathBuf::from)
    })
}

fn is_delegated(directory: &Path) -> bool {
    let user = rustix::process::geteuid();
    if user.is_root() {
        let mut value = [0; 8];
        let marked = rustix::fs::getxattr(directory, "trusted.delegate", &mut value[..]);
        return marked.is_ok_and(|length| value.get(..length) == Some(b"1"));
    }
    fs::metadata(directory.join("cgroup.procs")).is_ok_and(|data| data.uid() == user.as_raw())
}

/// Moves this process into a group, which is made if it is not there.
pub(crate) fn enter(directory: &Path) -> std::io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::write(directory.join("cgroup.procs"), "0")
}

/// The processes of a group, and of those that a script made below it.
pub(crate) fn members(directory: &Path) -> Vec<u32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let mut all: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    all.extend(below(directory).iter().flat_map(|group| members(group)));
    all
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Sends KILL to all of a group, and of those below it, at once.
pub(crate) fn kill(directory: &Path) {
    // Kernels before 5.14 have no such file; the processes are then killed one by one.
    let _ = fs::write(directory.join("cgroup.kill"), "1");
}

/// Removes a group that has no processes any more, and those below it.
pub fn remove(directory: &Path) {
    for group in below(directory) {
        remove(&group);
    }
    // One with processes stays, and is found by whoever looks at the host.
    let _ = fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_is_found_among_the_mounts() {
        let text = "36 25 0:31 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                    40 36 0:35 / /sys/fs/cgroup/unified rw,relatime shared:5 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(text), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("nonsense"), None);
    }

    #[test]
    fn groups_that_a_script_made_belong_to_its_own() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("job");
        fs::create_dir_all(group.join("deeper/still")).unwrap();
        fs::write(group.join("cgroup.procs"), "7\n8\n").unwrap();
        fs::write(group.join("deeper/still/cgroup.procs"), "9\n").unwrap();
        assert_eq!(members(&group), [7, 8, 9]);

        // The kernel's files go with their group; these do not.
        fs::remove_file(group.join("cgroup.procs")).unwrap();
        fs::remove_file(group.join("deeper/still/cgroup.procs")).unwrap();
        remove(&group);
        assert!(!group.exists());
    }
}
