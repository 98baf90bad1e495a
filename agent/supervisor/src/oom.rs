//! Who the kernel ends first when memory runs out.
//!
//! The unit protects the daemon (`OOMScoreAdjust=`), and a supervisor, which is needed to record how its script ended,
//! inherits that. A script must not: it is what needs the memory. It is started while the supervisor has the ordinary
//! score; a process may always raise its score, and go back down to what a privileged one gave it
//! (<https://docs.kernel.org/filesystems/proc.html>). Where the score is not below the ordinary one nothing is done.

use std::fs;
use std::path::Path;

const OWN_SCORE: &str = "/proc/self/oom_score_adj";

/// Runs `spawn` so that what it starts is as likely to be ended as any other process.
pub(crate) fn as_any_other<T>(spawn: impl FnOnce() -> T) -> T {
    with_score(Path::new(OWN_SCORE), spawn)
}

fn with_score<T>(score: &Path, spawn: impl FnOnce() -> T) -> T {
    let own = fs::read_to_string(score).ok().filter(|own| own.starts_with('-'));
    let raised = own.filter(|_| fs::write(score, "0").is_ok());
    let spawned = spawn();
    if let Some(own) = raised {
        // Without its protection the supervisor does its work all the same.
        let _ = fs::write(score, own);
    }
    spawned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protection_ends_at_the_script_and_comes_back() {
        let score = tempfile::NamedTempFile::new().unwrap();
        for (own, at_the_spawn) in [("-500\n", "0"), ("0\n", "0\n"), ("300\n", "300\n")] {
            fs::write(score.path(), own).unwrap();
            let seen = with_score(score.path(), || fs::read_to_string(score.path()).unwrap());
            assert_eq!(
                (seen.as_str(), fs::read_to_string(score.path()).unwrap().as_str()),
                (at_the_spawn, own)
            );
        }
        assert_eq!(with_score(Path::new("/proc/no/such/file"), || 7), 7);
    }
}
