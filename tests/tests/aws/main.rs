//! The same scenarios against the embedded default and against AWS-compatible servers that others wrote.
//!
//! Each is written once. Where a server cannot play it, [`SKIPPED`] says why.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "test code")]

mod conformance;
mod denials;
mod denied;
mod deployment;
mod ends;
mod overhead;
mod permissions;
mod stages;
mod trouble;

use rsqlflow_tests::peers::Kind;
use rsqlflow_tests::world::World;

/// What is skipped where: only for a defect of the server.
const SKIPPED: &[(&str, Kind, &str)] = &[(
    "a_lost_host_is_noticed",
    Kind::MiniStack,
    "it ignores HeartbeatSeconds, so that a silent host is only noticed when the task's time is up",
)];

/// Makes a test of every scenario for every endpoint. The number says how often every command is delivered.
macro_rules! scenarios {
    ($($place:ident :: $name:ident * $deliveries:literal),* $(,)?) => {
        mod embedded {
            $(#[test] fn $name() {
                crate::play(stringify!($name), super::Kind::Embedded, $deliveries, crate::$place::$name);
            })*
        }
        mod ministack {
            $(#[test] fn $name() {
                crate::play(stringify!($name), super::Kind::MiniStack, $deliveries, crate::$place::$name);
            })*
        }
        mod moto {
            $(#[test] fn $name() {
                crate::play(stringify!($name), super::Kind::Moto, $deliveries, crate::$place::$name);
            })*
        }
    };
}

scenarios! {
    stages::a_workflow_completes * 1,
    stages::values_arrive_as_they_are * 1,
    stages::logs_are_complete * 1,
    stages::credentials_reach_the_script * 1,
    stages::a_host_is_found_by_its_tag * 1,
    stages::a_schedule_follows_its_item * 1,
    ends::exit_21_is_told_everywhere * 1,
    ends::a_failed_attempt_is_retried * 1,
    ends::a_job_has_its_time * 1,
    ends::a_run_has_its_time * 1,
    ends::a_run_is_cancelled * 1,
    trouble::commands_delivered_twice_run_once * 2,
    trouble::a_killed_delivery_is_made_up_for * 1,
    trouble::an_agent_killed_in_a_job_tells_its_end * 1,
    trouble::a_lost_host_is_noticed * 1,
}

fn play(name: &str, kind: Kind, deliveries: usize, story: fn(&mut World<'_>)) {
    rsqlflow_tests::scenario::play(name, kind, deliveries, SKIPPED, story);
}
