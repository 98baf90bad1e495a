//! Whatever happens to the daemon and to its way to AWS: every job it accepted ends with one recorded outcome, one
//! accepted callback, complete logs, and no process left.
//!
//! A night of jobs ([`night`]) runs while its daemon is killed at random instants ([`storm`]), behind a proxy that
//! keeps a book of what the service accepted and, in the second story, throttles, fails, delays and cuts calls. In the
//! third its journal is torn between two lives in every form ([`torn`]), or taken away while it lives, supervisors are
//! stopped, clocks are set, and its file system is read-only for a while ([`readonly`]). In the first some scripts
//! ask the daemon for credentials meanwhile. What must hold is asserted of every job ([`proof`]).
//!
//! In the gate the first two stories have thirty kills at least; `make chaos N=500` goes on for as many, run after run, and
//! has the third as well, which draws several faults at once. A job survives an outage for as long as its task waits:
//! `heartbeat_seconds`.
//! A failed storm names its seed, which draws the same night and the same instants again; what falls into them is up
//! to the machine.

mod night;
mod proof;
mod readonly;
mod storm;
mod torn;

use std::time::Duration;

use rsqlflow_tests::proxy::faults::Faults;
use storm::Storm;

/// How often the daemon is killed: `make chaos N=...` sets it.
const KILLS: &str = "RSQLFLOW_CHAOS_KILLS";

fn kills() -> usize {
    std::env::var(KILLS)
        .map_or(30, |text| text.parse().unwrap_or_else(|_| panic!("{KILLS} must be a number")))
}

#[test]
fn fifty_jobs_while_the_daemon_is_killed() {
    let life = Duration::from_millis(600);
    storm::weather(&Storm {
        jobs: 50,
        kills: kills(),
        life,
        faults: Faults::none(),
        outage: None,
        misdeeds: false,
    });
}

#[test]
fn fifty_jobs_behind_a_failing_network() {
    storm::weather(&Storm {
        jobs: 50,
        kills: kills(),
        life: Duration::from_secs(3),
        faults: Faults::thirty(Duration::from_secs(10)),
        outage: Some(Duration::from_secs(120)),
        misdeeds: false,
    });
}

#[test]
fn fifty_jobs_while_journals_are_torn_supervisors_stopped_clocks_set_and_the_disk_is_read_only() {
    if std::env::var_os(KILLS).is_none() {
        eprintln!("LEFT OUT: only `make chaos` lets several faults fall together");
        return;
    }
    storm::weather(&Storm {
        jobs: 50,
        kills: kills(),
        life: Duration::from_millis(1500),
        faults: Faults::none(),
        outage: None,
        misdeeds: true,
    });
}
