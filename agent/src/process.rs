//! Processes as the kernel sees them: which one is meant, which belong to a job, and how they are ended.
//!
//! A pid alone names nothing for long, so a process is remembered by its pid, its start time and the boot it belongs
//! to. A job's processes are its process group, and, since a process may leave that, all that carry the job's id in
//! their environment ([`JOB_VARIABLE`]). Signals to single processes go through a pidfd, so they reach the process
//! that was looked at or none.
//!
//! Ending is a ladder: TERM to all of them, time to comply, KILL until none is left. It does not use control groups,
//! which an unprivileged agent cannot have everywhere.

use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal, test_kill_process_group,
};

/// Carries the job's id in the environment of its processes.
pub(crate) const JOB_VARIABLE: &str = "RSQLFLOW_JOB_ID";

/// How long a process that was sent KILL may take to go: one that waits for a dead disk or network file system cannot.
const KILL_PATIENCE: Duration = Duration::from_secs(15);

/// A process of some boot of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessMark {
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    pub boot_id: String,
}

impl ProcessMark {
    pub(crate) fn of(pid: u32) -> Self {
        let start_ticks = stat(pid).map_or(0, |stat| stat.start_ticks);
        Self { pid, start_ticks, boot_id: boot_id() }
    }

    /// Whether this very process is there, be it only as a zombie.
    pub(crate) fn exists(&self) -> bool {
        self.boot_id == boot_id() && stat(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks)
    }
}

/// Differs after every boot.
pub(crate) fn boot_id() -> String {
    static BOOT_ID: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BOOT_ID
        .get_or_init(|| {
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map_or_else(|_| "unknown".into(), |id| id.trim().to_owned())
        })
        .clone()
}

struct Stat {
    state: char,
    group: i32,
    start_ticks: u64,
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>; the name in parentheses may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = text.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&text[after_name..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, group, start_ticks })
}

/// The processes of one job.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// The process group, as long as its leader is known to be the one that was started.
    pub group: Option<u32>,
    pub job_id: String,
}

/// What it took to end a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing was alive.
    Already,
    /// All went after TERM.
    Terminated,
    /// Some had to be killed.
    Killed,
    /// Some cannot even be killed.
    Survived,
}

impl Tree {
    /// Whether the process group has any member. One system call; sees only the group.
    pub(crate) fn group_has_members(&self) -> bool {
        // EPERM too means that there is someone.
        self.group_pid().is_some_and(|group| test_kill_process_group(group) != Err(rustix::io::Errno::SRCH))
    }

    fn group_pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.group?).ok()?)
    }

    /// All living processes of the job.
    fn members(&self) -> Vec<u32> {
        let group = self.group.and_then(|group| i32::try_from(group).ok());
        let marker = format!("{JOB_VARIABLE}={}\0", self.job_id);
        let own = std::process::id();
        let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
        all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != own)
            .filter(|pid| {
                let Some(stat) = stat(*pid) else { return false };
                let alive = !matches!(stat.state, 'Z' | 'X');
                alive && (Some(stat.group) == group || is_marked(*pid, marker.as_bytes()))
            })
            .collect()
    }

    fn signal(&self, members: &[u32], signal: Signal) {
        let group = self.group.and_then(|group| i32::try_from(group).ok());
        if let Some(group) = self.group_pid() {
            // Nobody there is what we want.
            let _ = kill_process_group(group, signal);
        }
        let marker = format!("{JOB_VARIABLE}={}\0", self.job_id);
        for pid in members {
            let Some(target) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else { continue };
            let Ok(handle) = pidfd_open(target, PidfdFlags::empty()) else { continue };
            let in_group = stat(*pid).is_some_and(|stat| Some(stat.group) == group);
            if !in_group && is_marked(*pid, marker.as_bytes()) {
                let _ = pidfd_send_signal(&handle, signal);
            }
        }
    }

    /// Ends every process of the job. Does not reap: children of ours are waited for elsewhere.
    pub(crate) async fn end(&self, grace: Duration) -> Ended {
        let mut members = self.members();
        if members.is_empty() {
            return Ended::Already;
        }
        self.signal(&members, Signal::TERM);
        // A stopped process hears TERM only once it continues.
        self.signal(&members, Signal::CONT);
        let deadline = Instant::now() + grace;
        let mut pause = Duration::from_millis(5);
        while Instant::now() < deadline {
            tokio::time::sleep(pause.min(deadline - Instant::now())).await;
            pause = (pause * 2).min(Duration::from_millis(100));
            members = self.members();
            if members.is_empty() {
                return Ended::Terminated;
            }
        }
        let deadline = Instant::now() + KILL_PATIENCE;
        pause = Duration::from_millis(1);
        while Instant::now() < deadline {
            self.signal(&members, Signal::KILL);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
            members = self.members();
            if members.is_empty() {
                return Ended::Killed;
            }
        }
        Ended::Survived
    }
}

fn is_marked(pid: u32, marker: &[u8]) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        environment.starts_with(marker)
            || environment.windows(marker.len() + 1).any(|window| window[0] == 0 && &window[1..] == marker)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_one_process() {
        let mark = ProcessMark::of(std::process::id());
        assert!(mark.start_ticks > 0 && mark.exists());
        assert!(!ProcessMark { start_ticks: mark.start_ticks + 1, ..mark.clone() }.exists());
        assert!(!ProcessMark { boot_id: "another".into(), ..mark }.exists());
    }
}
