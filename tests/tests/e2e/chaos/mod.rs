//! Whatever happens to the daemon and to its way to AWS: every job it accepted ends with one recorded outcome, one
//! accepted callback, complete logs, and no process left.
//!
//! A night of jobs ([`night`]) runs while its daemon is killed at random instants ([`storm`]), behind a proxy that
//! keeps a book of what the service accepted and, in the second story, throttles, fails, delays and cuts calls. What
//! must hold is asserted of every job ([`proof`]).
//!
//! `make chaos N=500` goes on for as many kills (the second story for a tenth of them), with delays of ten seconds and
//! an outage of two minutes. In the gate they are thirty kills, two seconds and ten seconds: what is looked for shows
//! within those too, only less often. A job survives an outage for as long as its task waits: `heartbeat_seconds`.
//! A failed storm names its seed, which draws the same night and the same instants again; what falls into them is up
//! to the machine.

mod night;
mod proof;
mod storm;

use std::time::Duration;

use rsqlflow_tests::proxy::faults::Faults;
use storm::Storm;

/// How often the daemon is killed: `make chaos N=...` sets it.
const KILLS: &str = "RSQLFLOW_CHAOS_KILLS";

fn kills() -> Option<usize> {
    std::env::var(KILLS).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{KILLS} must be a number")))
}

#[test]
fn fifty_jobs_while_the_daemon_is_killed() {
    let kills = kills().unwrap_or(30);
    let life = Duration::from_millis(600);
    storm::weather(&Storm { jobs: 50, kills, life, faults: Faults::none(), outage: None });
}

#[test]
fn twenty_jobs_behind_a_failing_network() {
    let long = kills();
    let (delay, outage) = if long.is_some() { (10, 120) } else { (2, 10) };
    storm::weather(&Storm {
        jobs: 20,
        kills: long.map_or(6, |kills| kills.div_ceil(10)),
        life: Duration::from_secs(4),
        faults: Faults::thirty(Duration::from_secs(delay)),
        outage: Some(Duration::from_secs(outage)),
    });
}
