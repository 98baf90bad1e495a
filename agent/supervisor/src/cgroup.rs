//! A control group an attempt, where the host lets us have one.
//!
//! systemd delegates a part of the hierarchy to a unit with `Delegate=yes`, which shows by the directory's owner, or
//! for a unit that runs as root by a mark on it. Nothing is limited by these groups: they are there because no process
//! can leave them. Version 2 only.
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

/// The processes of a group.
pub(crate) fn members(directory: &Path) -> Vec<u32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Sends KILL to all of a group at once.
pub(crate) fn kill(directory: &Path) {
    // Kernels before 5.14 have no such file; the processes are then killed one by one.
    let _ = fs::write(directory.join("cgroup.kill"), "1");
}

/// Removes a group that has no processes any more.
pub fn remove(directory: &Path) {
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
}
