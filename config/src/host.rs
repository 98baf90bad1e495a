//! A host's entry in the table of hosts: what its agent writes, the state machines choose by, and operators see.
//!
//! Its key is what IAM calls the caller, `aws:userid`, which is `ROLE:INSTANCE` where an instance has its role, so that a
//! policy can let every host write its own entry alone. The part of the key after the colon is the host.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable>

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
    /// Since when AWS has not taken something that the agent has to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_report_since: Option<String>,
    /// What that is: actions as policies name them, each with the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_report: Option<String>,
}

/// The key of the entry of a host that STS calls `user_id`; the host's id where it is no instance with a role.
pub fn key(instance_id: &str, user_id: &str) -> String {
    let own = user_id.strip_suffix(instance_id).is_some_and(|role| role.len() > 1 && role.ends_with(':'));
    if own { user_id.into() } else { instance_id.into() }
}

/// The host of an entry with this key.
pub fn of_key(key: &str) -> &str {
    key.split_once(':').map_or(key, |(_, instance_id)| instance_id)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_of_the_host_that_iam_names() {
        let id = "i-0123456789abcdef0";
        assert_eq!(key(id, "AROAEXAMPLE:i-0123456789abcdef0"), "AROAEXAMPLE:i-0123456789abcdef0");
        for other in
            ["AROAEXAMPLE:i-00000000000000000", "AIDAEXAMPLE", "123456789012", "", id, ":i-0123456789abcdef0"]
        {
            assert_eq!(key(id, other), id, "{other}");
        }
        assert_eq!(of_key("AROAEXAMPLE:i-0123456789abcdef0"), id);
        assert_eq!(of_key(id), id);
    }
}
