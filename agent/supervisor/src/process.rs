//! Which process is meant.
//!
//! A pid alone names nothing for long, so a process is remembered by its pid, its start time and the boot it belongs
//! to.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process of some boot of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// Which boot.
    pub boot_id: String,
}

impl ProcessMark {
    /// The mark of a process that is there.
    pub fn of(pid: u32) -> Self {
        let start_ticks = stat(pid).map_or(0, |stat| stat.start_ticks);
        Self { pid, start_ticks, boot_id: boot_id() }
    }

    /// Whether this very process is there, be it only as a zombie.
    pub fn exists(&self) -> bool {
        self.boot_id == boot_id() && stat(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks)
    }

    /// Whether this very process was stopped (`SIGSTOP`, or a key of its terminal) and has not been let go on.
    pub fn is_stopped(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && stat.state == 'T')
    }

    /// How long ago it started, times in which the host slept included. Whatever was done to the clock makes no
    /// difference.
    pub fn age(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let started = Duration::from_millis(self.start_ticks.saturating_mul(1000) / ticks);
        Duration::try_from(now).unwrap_or_default().saturating_sub(started)
    }

    /// A descriptor of this very process, where it is there: becomes readable when it ends.
    ///
    /// # Errors
    /// The system's, for instance where there are too many descriptors: the process may be there.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = pid(self.pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Looked at after it was opened: from then on the pid is not anybody else's.
            Ok(handle) => Ok(self.exists().then_some(handle)),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Differs after every boot.
pub fn boot_id() -> String {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID
        .get_or_init(|| {
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map_or_else(|_| "unknown".into(), |id| id.trim().to_owned())
        })
        .clone()
}

/// A number as a process id.
pub(crate) fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// What `/proc` says about a process.
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) start_ticks: u64,
}

impl Stat {
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>; the name in parentheses may hold anything.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = text.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&text[after_name..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, parent, group, start_ticks })
}

/// The processes above one, its parent first. A script's processes stay below their supervisor, which is their subreaper,
/// whatever parents and sessions they had.
pub fn ancestors(pid: u32) -> Vec<ProcessMark> {
    /// A parent may end while it is looked at, and another has its children then.
    const TRIES: u32 = 10;
    let mut found = Vec::new();
    for _ in 0..TRIES {
        found.clear();
        let mut at = stat(pid);
        while let Some(Stat { parent, .. }) = at {
            if parent == 0 {
                return found;
            }
            at = stat(parent);
            if let Some(above) = &at {
                found.push(ProcessMark { pid: parent, start_ticks: above.start_ticks, boot_id: boot_id() });
            }
        }
    }
    found
}

/// Every process id of the host.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ancestors_of_a_process_begin_with_its_parent() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let above = ancestors(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(above[0], ProcessMark::of(own));
        assert_eq!(above[1..], ancestors(own));
        assert!(ancestors(child.id()).is_empty());
    }

    #[test]
    fn a_mark_names_one_process() {
        let mark = ProcessMark::of(std::process::id());
        assert!(mark.start_ticks > 0 && mark.exists());
        assert!(mark.open().unwrap().is_some() && !mark.is_stopped());
        assert!(mark.age() < Duration::from_secs(600), "this test has just started: {:?}", mark.age());
        assert!(!ProcessMark { start_ticks: mark.start_ticks + 1, ..mark.clone() }.exists());
        assert!(ProcessMark { boot_id: "another".into(), ..mark }.open().unwrap().is_none());
    }
}
