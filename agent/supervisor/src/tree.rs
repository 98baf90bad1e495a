//! All processes of an attempt, and how they are ended.
//!
//! A process may leave its group, its session and its parent. While the supervisor lives it cannot leave the
//! supervisor's descendants, because that is the subreaper of all of them; where the supervisor has been killed, what
//! is left is found by its process group and by the job's id in its environment ([`JOB_VARIABLE`]). Where there is a
//! control group it knows them all.
//!
//! Signals to single processes go through a pidfd, so they reach the process that was looked at or none.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cgroup;
use crate::process::{self, Stat};
use crate::run_file::Ended;

/// Carries the job's id in the environment of its processes.
pub const JOB_VARIABLE: &str = "RSQLFLOW_JOB_ID";

/// How long a process that was sent KILL may take to go: one that waits for a dead disk or network file system cannot.
pub const KILL_PATIENCE: Duration = Duration::from_secs(15);

/// How the processes of an attempt are found.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Everything below this process; not itself.
    pub root: Option<u32>,
    /// The script's process group, as long as its leader is known to be the one that was started.
    pub group: Option<u32>,
    /// Whatever carries this id; costs a look at every process of this user.
    pub job_id: Option<String>,
    /// The control group.
    pub cgroup: Option<PathBuf>,
}

impl Tree {
    /// All that live.
    pub fn members(&self) -> Vec<u32> {
        let own = std::process::id();
        let all: HashMap<u32, Stat> =
            process::all().into_iter().filter_map(|pid| Some((pid, process::stat(pid)?))).collect();
        let grouped: HashSet<u32> =
            self.cgroup.iter().flat_map(|directory| cgroup::members(directory)).collect();
        let marker = self.job_id.as_ref().map(|id| format!("{JOB_VARIABLE}={id}\0"));
        let belongs = |pid: u32, stat: &Stat| {
            Some(stat.group) == self.group
                || grouped.contains(&pid)
                || self.root.is_some_and(|root| descends(&all, pid, root))
                || marker.as_ref().is_some_and(|marker| carries(pid, marker.as_bytes()))
        };
        all.iter()
            .filter(|(pid, stat)| **pid != own && stat.is_alive() && belongs(**pid, stat))
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Sends a signal to all that live; answers how many.
    pub(crate) fn signal(&self, signal: Signal) -> usize {
        let members = self.members();
        for number in &members {
            let Some(target) = process::pid(*number) else { continue };
            let before = process::stat(*number).map(|stat| stat.start_ticks);
            let Ok(handle) = pidfd_open(target, PidfdFlags::empty()) else { continue };
            // The same one before and after it was opened is the one that was looked at.
            if before.is_some() && before == process::stat(*number).map(|stat| stat.start_ticks) {
                // One that is gone by now is what we want.
                let _ = pidfd_send_signal(&handle, signal);
            }
        }
        members.len()
    }

    /// TERM, then CONT, for one that is stopped hears TERM only once it goes on.
    pub(crate) fn terminate(&self) -> usize {
        let members = self.signal(Signal::TERM);
        self.signal(Signal::CONT);
        members
    }

    /// KILL, through the control group where there is one: it reaches those that are born meanwhile.
    pub(crate) fn kill(&self) -> usize {
        if let Some(directory) = &self.cgroup {
            cgroup::kill(directory);
        }
        self.signal(Signal::KILL)
    }

    /// Ends all of them from outside, where no supervisor does: TERM, time to comply, KILL until none is left.
    pub fn end(&self, grace: Duration) -> Ended {
        if self.terminate() == 0 {
            return Ended::Already;
        }
        if self.wait(Instant::now() + grace, Self::members_count) {
            return Ended::Terminated;
        }
        if self.wait(Instant::now() + KILL_PATIENCE, Self::kill) { Ended::Killed } else { Ended::Survived }
    }

    fn members_count(&self) -> usize {
        self.members().len()
    }

    /// Looks again and again until `look` finds none.
    fn wait(&self, deadline: Instant, look: impl Fn(&Self) -> usize) -> bool {
        let mut pause = Duration::from_millis(2);
        loop {
            if look(self) == 0 {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

fn descends(all: &HashMap<u32, Stat>, pid: u32, root: u32) -> bool {
    let mut at = pid;
    // Parents are never more than there are processes; a look at a moving tree must end all the same.
    for _ in 0..=all.len() {
        let Some(stat) = all.get(&at) else { return false };
        if stat.parent == root {
            return true;
        }
        at = stat.parent;
    }
    false
}

fn carries(pid: u32, marker: &[u8]) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        environment.starts_with(marker)
            || environment.windows(marker.len() + 1).any(|window| window[0] == 0 && &window[1..] == marker)
    })
}
