//! A host's entry in the table of hosts: what its agent writes, the state machines choose by, and operators see.

use serde::{Deserialize, Serialize};

/// An entry that is older is that of a host which is gone.
pub const ONLINE_SECONDS: u64 = 60;

/// After so long without its agent an entry may be removed from the table (`expires_at`): a week.
pub const FORGOTTEN_SECONDS: i64 = 7 * 24 * 3600;

/// What a host does with new jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Takes them.
    Open,
    /// An operator has drained it.
    Drained,
    /// Its agent was stopped in an orderly way.
    Stopped,
}

impl Standing {
    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Drained => "drained",
            Self::Stopped => "stopped",
        }
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The host.
    pub instance_id: String,
    /// What it does with new jobs.
    pub host_status: Standing,
    /// Its tags, each between two blanks.
    pub tags: String,
    /// Version of its agent.
    pub version: String,
    /// How many jobs run.
    pub running: u64,
    /// How many wait for a place or for their next attempt.
    pub queued: u64,
    /// How many may run; 0 for no limit.
    pub max_running_jobs: u64,
    /// When its agent last wrote this.
    pub seen_ts: String,
    /// The same in seconds since 1970.
    pub seen_at: i64,
}

impl HostEntry {
    /// Whether its agent runs, at a time in seconds since 1970.
    pub fn is_online(&self, now: i64) -> bool {
        self.host_status != Standing::Stopped
            && now - self.seen_at <= i64::try_from(ONLINE_SECONDS).unwrap_or(i64::MAX)
    }
}

/// Tags as the table has them, so that one is found by looking for it between blanks.
pub fn tags(words: &str) -> String {
    words.split_whitespace().fold(" ".to_owned(), |all, tag| all + tag + " ")
}
