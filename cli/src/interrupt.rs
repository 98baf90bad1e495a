//! The wish that this process ends.
//!
//! Ctrl-C of a person, SIGTERM of a supervisor and SIGHUP of a terminal that goes away mean the same to a command that
//! waits. A SIGHUP that whoever started the process has it ignore, as `nohup` does, stays ignored.

use std::future::{Future, poll_fn};
use std::sync::LazyLock;
use std::task::Poll;

use tokio::signal::unix::{SignalKind, signal};

/// Whether SIGHUP ends this process; looked at before there is a handler for it.
static HANGS_UP: LazyLock<bool> = LazyLock::new(|| {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    !ignores_hangup(&status)
});

/// The next Ctrl-C, SIGTERM or SIGHUP. From the call on they are noticed, even before anybody waits for them.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let hangup = HANGS_UP.then(SignalKind::hangup);
    let kinds = [Some(SignalKind::interrupt()), Some(SignalKind::terminate()), hangup];
    // Where there can be no handler the signal ends the process, as it does without this.
    let mut signals: Vec<_> = kinds.into_iter().flatten().filter_map(|kind| signal(kind).ok()).collect();
    poll_fn(move |context| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
}

/// Whether a process with this `/proc/PID/status` ignores SIGHUP, which is the lowest bit of the mask.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_seen() {
        let status = |mask: &str| format!("Name:\trsqlflow\nSigBlk:\t0000000000000000\nSigIgn:\t{mask}\n");
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(!ignores_hangup(&status("0000000000001000")));
        assert!(!ignores_hangup(""));
    }

    #[tokio::test]
    async fn signals_that_come_before_anybody_waits_are_noticed() {
        use rustix::process::{Signal, getpid, kill_process};
        for sent in [Signal::INT, Signal::TERM] {
            let interrupted = interrupted();
            kill_process(getpid(), sent).unwrap();
            interrupted.await;
        }
    }
}
