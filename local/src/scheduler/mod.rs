//! EventBridge Scheduler on this machine: the API of schedules and their groups, and the engine that fires them.
//!
//! * `definition.rs`: what a schedule says, checked as AWS checks it.
//! * `schedules.rs`, `groups.rs`: the actions.
//! * `engine.rs`: which schedule is due; `delivery.rs`: calling its target.
//!
//! Schedules are kept whoever opens the data directory; they fire only while somebody runs the engine
//! ([`Scheduler::fire`]), which `rsqlflow up` does. A scheduled time is delivered at least once, through `kill -9` as
//! well: it is written down before its target is called and struck out after. Its identity is the scheduled time, which
//! the target's input may contain (`<aws.scheduler.scheduled-time>`), so a target can make it exactly once.
//!
//! What it does not do: tags, KMS keys, dead-letter queues (what would go to one is logged as an error), targets other
//! than Lambda, Step Functions, SNS and the universal target of a service that is here.

mod definition;
mod delivery;
mod engine;
mod groups;
mod schedules;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Notify;

use crate::clock::{Clock, Millis};
use crate::place::Place;
use crate::service::{AwsError, Reply, Service};
use crate::store::{Store, StoreError};

pub use engine::Firing;

/// The group of schedules that name none; it cannot be deleted.
const DEFAULT_GROUP: &str = "default";

const TABLES: &str = "
    create table if not exists scheduler_groups (
        name text primary key,
        created_at integer not null
    ) without rowid;
    insert or ignore into scheduler_groups values ('default', 0);
    create table if not exists scheduler_schedules (
        group_name text not null references scheduler_groups (name) on delete cascade,
        name text not null,
        definition text not null,
        client_token text,
        created_at integer not null,
        modified_at integer not null,
        -- Scheduled times up to here have been fired or passed over, in milliseconds.
        fired_through integer not null,
        primary key (group_name, name)
    ) without rowid;
    create table if not exists scheduler_events (
        group_name text not null,
        name text not null,
        scheduled_at integer not null,
        -- When its target was to be called first, and is to be called next.
        first_at integer not null,
        due_at integer not null,
        attempts integer not null default 0,
        primary key (group_name, name, scheduled_at),
        foreign key (group_name, name) references scheduler_schedules (group_name, name) on delete cascade
    ) without rowid;
";

/// EventBridge Scheduler on this machine.
pub struct Scheduler {
    store: Store,
    clock: Clock,
    place: Place,
    /// Told whenever a schedule has changed.
    changed: Arc<Notify>,
}

impl Scheduler {
    /// Creates the tables and the default group.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(store: Store, clock: Clock, place: Place) -> Result<Self, StoreError> {
        store.migrate(TABLES).await?;
        Ok(Self { store, clock, place, changed: Arc::new(Notify::new()) })
    }

    fn schedule_arn(&self, group: &str, name: &str) -> String {
        schedule_arn(&self.place, group, name)
    }
}

fn schedule_arn(place: &Place, group: &str, name: &str) -> String {
    place.arn("scheduler", &format!("schedule/{group}/{name}"))
}

fn not_found(what: &str, name: &str) -> AwsError {
    let said = format!("{what} {name} does not exist.");
    AwsError { status: 404, ..AwsError::client("ResourceNotFoundException", said) }
}

fn conflict(what: &str, name: &str) -> AwsError {
    AwsError {
        status: 409,
        ..AwsError::client("ConflictException", format!("{what} {name} already exists."))
    }
}

fn is_group(tx: &rusqlite::Transaction<'_>, name: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached("select 1 from scheduler_groups where name = ?1")?.exists([name])
}

/// Seconds as the wire has them, in milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "times of this era fit")]
fn millis(seconds: f64) -> Millis {
    (seconds * 1000.0).round() as Millis
}

impl Service for Scheduler {
    fn target_prefix(&self) -> &'static str {
        "AWSChronosService"
    }

    fn sdk_name(&self) -> &'static str {
        "scheduler"
    }

    fn error_prefix(&self) -> &'static str {
        "Scheduler"
    }

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        Box::pin(async move {
            match action {
                "CreateSchedule" => self.create_schedule(body).await,
                "CreateScheduleGroup" => self.create_group(body).await,
                "DeleteSchedule" => self.delete_schedule(body).await,
                "DeleteScheduleGroup" => self.delete_group(body).await,
                "GetSchedule" => self.get_schedule(body).await,
                "GetScheduleGroup" => self.get_group(body).await,
                "ListScheduleGroups" => self.list_groups(body).await,
                "ListSchedules" => self.list_schedules(body).await,
                "UpdateSchedule" => self.update_schedule(body).await,
                _ => Err(AwsError::unknown_action("EventBridge Scheduler", action)),
            }
        })
    }
}

#[cfg(test)]
mod tests;
