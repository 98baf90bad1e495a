//! Firing: which scheduled time has come, and seeing to it that its target is called.
//!
//! One task owns the schedules. It sleeps until the next time that matters and never longer than [`LOOK_AGAIN`], because
//! its sleep is measured by a clock that stands still while the machine does and takes no notice of the wall clock being
//! set. Every pass is the same, and start-up is the first of them: what has come due is written down, then what is
//! written down is delivered.
//!
//! * Missed: of the times that passed while nobody looked, the last one is fired if it is not older than the schedule's
//!   `MaximumEventAgeInSeconds` (a day unless told); earlier ones are passed over, and the log says so.
//! * A clock set back fires nothing again. One that had been far ahead ([`FAR_AHEAD`]) does not silence a schedule until
//!   that time comes round: then it starts from now.
//! * Events are delivered side by side, so one that has to be tried again holds up no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rsqlflow_config::schedule::Schedule;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};

use super::Scheduler;
use super::definition::Definition;
use super::delivery::{Context, deliver};
use crate::clock::{Millis, rfc3339};
use crate::registry::Services;
use crate::store::StoreError;

/// The longest sleep while there is a schedule: how late a change of the wall clock is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How far ahead of the clock the last firing may be before that counts as the clock having been wrong: the longest
/// that an event is worth delivering.
const FAR_AHEAD: Millis = 86_400_000;

/// How long to wait after the store failed.
const STORE_PATIENCE: Duration = Duration::from_secs(1);

/// The longest that a delivery which failed waits for the next try: what waits longer does so because the clock was set back.
const LONGEST_PAUSE: Millis = 600_000;

/// How long an event waits whose delivery panicked, in milliseconds.
const AFTER_A_PANIC: Millis = 60_000;

/// A running engine; dropping it stops it soon, and what it was delivering is delivered again by the next.
#[derive(Debug)]
pub struct Firing {
    /// The engine stops when nobody holds it any more.
    hold: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Firing {
    /// Stops it and waits until nothing is being delivered: no target is called from then on.
    pub async fn stop(self) {
        drop(self.hold);
        // One that panicked calls nothing either.
        let _ = self.task.await;
    }
}

/// A schedule that may fire.
struct Live {
    group: String,
    name: String,
    definition: Arc<Definition>,
    schedule: Schedule,
    modified_at: Millis,
    fired_through: Millis,
    /// The next time, where there is one.
    next: Option<Millis>,
}

/// A scheduled time whose target has to be called.
#[derive(Debug, Clone)]
struct Event {
    group: String,
    name: String,
    definition: Arc<Definition>,
    scheduled_at: Millis,
    first_at: Millis,
    due_at: Millis,
    attempts: u32,
}

type Key = (String, String, Millis);

/// What became of a delivery.
#[derive(Debug, Clone, Copy)]
enum Settled {
    /// Delivered, or given up.
    Done,
    /// To be tried again.
    Again { due_at: Millis, attempts: u32 },
}

/// The owner of the schedules.
pub(super) struct Engine {
    scheduler: Arc<Scheduler>,
    services: Services,
    live: Vec<Live>,
    events: Vec<Event>,
    under_way: HashMap<Id, Key>,
    deliveries: JoinSet<Settled>,
    /// Where in its flexible window an event falls: any number.
    pub(super) chance: fn() -> u128,
}

impl Scheduler {
    /// Fires schedules for as long as the result is kept.
    pub fn fire(self: &Arc<Self>, services: Services) -> Firing {
        let mut engine = Engine::new(self.clone(), services);
        let (hold, let_go) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = engine.run() => {}
                _ = let_go => {}
            }
            engine.deliveries.shutdown().await;
        });
        Firing { hold, task }
    }
}

impl Engine {
    pub(super) fn new(scheduler: Arc<Scheduler>, services: Services) -> Self {
        Self {
            scheduler,
            services,
            live: vec![],
            events: vec![],
            under_way: HashMap::new(),
            deliveries: JoinSet::new(),
            chance: || uuid::Uuid::new_v4().as_u128(),
        }
    }

    async fn run(&mut self) {
        let changed = self.scheduler.changed.clone();
        let mut reload = true;
        loop {
            let sleep = match self.pass(reload).await {
                Ok(sleep) => {
                    reload = false;
                    sleep
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "schedules cannot be read or kept"
                    );
                    reload = true;
                    Some(STORE_PATIENCE)
                }
            };
            tokio::select! {
                () = changed.notified() => reload = true,
                Some(ended) = self.deliveries.join_next_with_id(), if !self.deliveries.is_empty() => {
                    self.settle(ended);
                }
                () = sleep_for(sleep) => {}
            }
        }
    }

    /// Writes down what has come due and starts delivering it; how long to sleep then, for ever where nothing is to come.
    pub(super) async fn pass(&mut self, reload: bool) -> Result<Option<Duration>, StoreError> {
        if reload {
            self.load().await?;
        }
        let now = self.scheduler.clock.now();
        for at in 0..self.live.len() {
            self.come_due(at, now).await?;
        }
        let due: Vec<Event> = self
            .events
            .iter()
            .filter(|event| event.is_due(now) && !self.is_under_way(event))
            .cloned()
            .collect();
        for event in due {
            let (scheduler, services, key) = (self.scheduler.clone(), self.services.clone(), event.key());
            let task = self.deliveries.spawn(async move { scheduler.attempt(&services, event).await });
            self.under_way.insert(task.id(), key);
        }
        self.end_completed().await?;
        let waiting = self.events.iter().filter(|event| !self.is_under_way(event));
        let next =
            self.live.iter().filter_map(|live| live.next).chain(waiting.map(|event| event.due_at)).min();
        Ok(next.map(|next| {
            let until = u64::try_from(next - now).unwrap_or(0);
            Duration::from_millis(until).min(LOOK_AGAIN)
        }))
    }

    /// Everything that is kept, anew.
    async fn load(&mut self) -> Result<(), StoreError> {
        type Row = (String, String, String, Millis, Millis, Millis);
        type EventRow = (String, String, Millis, Millis, Millis, u32);
        let (schedules, events): (Vec<Row>, Vec<EventRow>) = self
            .scheduler
            .store
            .read(|tx| {
                let schedules = tx
                    .prepare_cached(
                        "select group_name, name, definition, created_at, modified_at, fired_through
                         from scheduler_schedules",
                    )?
                    .query_map([], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
                    })?
                    .collect::<rusqlite::Result<_>>()?;
                let events = tx
                    .prepare_cached(
                        "select group_name, name, scheduled_at, first_at, due_at, attempts from scheduler_events",
                    )?
                    .query_map([], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
                    })?
                    .collect::<rusqlite::Result<_>>()?;
                Ok((schedules, events))
            })
            .await?;
        self.live.clear();
        self.events.clear();
        for (group, name, text, created_at, modified_at, fired_through) in schedules {
            let definition = serde_json::from_str::<Definition>(&text).ok().map(Arc::new);
            let Some((definition, schedule)) = definition.and_then(|definition| {
                let schedule = definition.schedule(created_at)?;
                Some((definition, schedule))
            }) else {
                tracing::error!(schedule = %format!("{group}/{name}"), "a schedule cannot be read and never fires");
                continue;
            };
            for (.., scheduled_at, first_at, due_at, attempts) in
                events.iter().filter(|event| event.0 == group && event.1 == name)
            {
                self.events.push(Event {
                    group: group.clone(),
                    name: name.clone(),
                    definition: definition.clone(),
                    scheduled_at: *scheduled_at,
                    first_at: *first_at,
                    due_at: *due_at,
                    attempts: *attempts,
                });
            }
            let mut live = Live { group, name, definition, schedule, modified_at, fired_through, next: None };
            live.look_ahead();
            self.live.push(live);
        }
        Ok(())
    }

    /// Writes down the scheduled time of one schedule, if one has come.
    async fn come_due(&mut self, at: usize, now: Millis) -> Result<(), StoreError> {
        if self.live[at].fired_through > now + FAR_AHEAD {
            self.start_from(at, now).await?;
        }
        let live = &mut self.live[at];
        let Some(first) = live.next.filter(|next| *next <= now) else { return Ok(()) };
        let worth = live.fired_through.max(now - live.definition.event_age() - 1);
        let last = live.schedule.last_between(time(worth), time(now)).map(|last| last.timestamp_millis());
        if last != Some(first) {
            let schedule = format!("{}/{}", live.group, live.name);
            let fired = last.map_or_else(|| "none of them".into(), rfc3339);
            tracing::warn!(schedule, first_missed = rfc3339(first), fired, "scheduled times were missed");
        }
        let from = live.fired_through;
        live.fired_through = last.unwrap_or(now);
        live.look_ahead();
        let event = last.map(|scheduled_at| {
            let due_at = scheduled_at + spread(live.definition.window(), (self.chance)());
            Event {
                group: live.group.clone(),
                name: live.name.clone(),
                definition: live.definition.clone(),
                scheduled_at,
                first_at: due_at,
                due_at,
                attempts: 0,
            }
        });
        let (group, name, modified) = (live.group.clone(), live.name.clone(), live.modified_at);
        let (through, row) = (live.fired_through, event.clone());
        let kept = self
            .scheduler
            .store
            .durable(move |tx| {
                // Changed or deleted meanwhile: then the change decides, with the next look.
                let kept = tx.execute(
                    "update scheduler_schedules set fired_through = ?4
                     where group_name = ?1 and name = ?2 and modified_at = ?3",
                    (&group, &name, modified, through),
                )? == 1;
                if let Some(event) = row.filter(|_| kept) {
                    tx.execute(
                        "insert or ignore into scheduler_events values (?1, ?2, ?3, ?4, ?5, 0)",
                        (&group, &name, event.scheduled_at, event.first_at, event.due_at),
                    )?;
                }
                Ok(kept)
            })
            .await
            .inspect_err(|_| self.live[at].fired_through = from)?;
        self.events.extend(event.filter(|_| kept));
        Ok(())
    }

    /// Forgets that a schedule fired in what is the future again.
    async fn start_from(&mut self, at: usize, now: Millis) -> Result<(), StoreError> {
        let live = &mut self.live[at];
        tracing::warn!(schedule = live.name, "the clock was ahead when this fired last; it starts from now");
        live.fired_through = now;
        live.look_ahead();
        let (group, name) = (live.group.clone(), live.name.clone());
        let update = "update scheduler_schedules set fired_through = ?3 where group_name = ?1 and name = ?2";
        self.scheduler.store.durable(move |tx| tx.execute(update, (group, name, now))).await.map(|_| ())
    }

    fn is_under_way(&self, event: &Event) -> bool {
        self.under_way.values().any(|key| *key == event.key())
    }

    /// Takes note of a delivery's end.
    fn settle(&mut self, ended: Result<(Id, Settled), JoinError>) {
        let now = self.scheduler.clock.now();
        let (id, settled) = match ended {
            Ok((id, settled)) => (id, Some(settled)),
            Err(error) => (error.id(), None),
        };
        let Some(key) = self.under_way.remove(&id) else { return };
        match settled {
            Some(Settled::Done) => self.events.retain(|known| known.key() != key),
            Some(Settled::Again { due_at, attempts }) => {
                for known in self.events.iter_mut().filter(|known| known.key() == key) {
                    (known.due_at, known.attempts) = (due_at, attempts);
                }
            }
            None => {
                for known in self.events.iter_mut().filter(|known| known.key() == key) {
                    known.due_at = now + AFTER_A_PANIC;
                }
            }
        }
    }

    /// Deletes the schedules that wanted it and will not fire any more.
    async fn end_completed(&mut self) -> Result<(), StoreError> {
        let ended = |live: &Live| {
            let open = self.events.iter().any(|event| event.group == live.group && event.name == live.name);
            live.definition.ends_with_its_last()
                && live.definition.is_enabled()
                && live.next.is_none()
                && !open
        };
        let done: Vec<(String, String, Millis)> = self
            .live
            .iter()
            .filter(|live| ended(live))
            .map(|live| (live.group.clone(), live.name.clone(), live.modified_at))
            .collect();
        for (group, name, modified) in done {
            self.live.retain(|live| live.group != group || live.name != name);
            self.scheduler
                .store
                .durable(move |tx| {
                    tx.execute(
                        "delete from scheduler_schedules where group_name = ?1 and name = ?2 and modified_at = ?3",
                        (group, name, modified),
                    )
                })
                .await?;
        }
        Ok(())
    }

    /// Waits until nothing is being delivered.
    #[cfg(test)]
    pub(super) async fn settled(&mut self) {
        while let Some(ended) = self.deliveries.join_next_with_id().await {
            self.settle(ended);
        }
    }
}

impl Live {
    fn look_ahead(&mut self) {
        let next = self.schedule.next_after(time(self.fired_through)).map(|next| next.timestamp_millis());
        self.next = next.filter(|_| self.definition.is_enabled());
    }
}

impl Event {
    fn is_due(&self, now: Millis) -> bool {
        self.due_at <= now || (self.attempts > 0 && self.due_at - now > LONGEST_PAUSE)
    }

    fn key(&self) -> Key {
        (self.group.clone(), self.name.clone(), self.scheduled_at)
    }
}

impl Scheduler {
    /// Calls the target once and writes down what became of it.
    async fn attempt(&self, services: &Services, event: Event) -> Settled {
        let attempt = event.attempts + 1;
        let schedule = format!("{}/{}", event.group, event.name);
        let scheduled = rfc3339(event.scheduled_at);
        let (now, age) = (self.clock.now(), event.definition.event_age());
        let failure = if now - event.first_at > age {
            None
        } else {
            let schedule_arn = self.schedule_arn(&event.group, &event.name);
            let context = Context { schedule_arn, scheduled_at: event.scheduled_at, attempt };
            match deliver(services, &event.definition, context).await {
                Ok(()) => {
                    tracing::info!(schedule, scheduled, attempt, "fired");
                    return self.strike_out(event).await;
                }
                Err(failure) => Some(failure),
            }
        };
        let again = failure.as_ref().and_then(|failure| failure.again_after(attempt, &event.definition));
        let why = failure.map_or_else(|| "it is too old".to_owned(), |failure| failure.to_string());
        let Some(wait) = again else {
            tracing::error!(
                schedule,
                scheduled,
                attempt,
                why,
                "a scheduled event was given up: a dead letter"
            );
            return self.strike_out(event).await;
        };
        tracing::warn!(schedule, scheduled, attempt, why, again_in = ?wait, "a scheduled event was not delivered");
        let due_at = now + Millis::try_from(wait.as_millis()).unwrap_or(age);
        let (group, name, at) = event.key();
        let kept = self
            .store
            .durable(move |tx| {
                tx.execute(
                    "update scheduler_events set attempts = ?4, due_at = ?5
                     where group_name = ?1 and name = ?2 and scheduled_at = ?3",
                    (group, name, at, attempt, due_at),
                )
            })
            .await;
        if let Err(error) = kept {
            // Known here for as long as this process lasts; after it, it is tried at once.
            tracing::warn!(error = &error as &dyn std::error::Error, "an attempt was not written down");
        }
        Settled::Again { due_at, attempts: attempt }
    }

    async fn strike_out(&self, event: Event) -> Settled {
        let key = event.key();
        let gone = self
            .store
            .relaxed(move |tx| {
                tx.execute(
                    "delete from scheduler_events where group_name = ?1 and name = ?2 and scheduled_at = ?3",
                    key,
                )
            })
            .await;
        if let Err(error) = gone {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an event was not struck out; it may come again"
            );
        }
        Settled::Done
    }
}

async fn sleep_for(sleep: Option<Duration>) {
    match sleep {
        Some(sleep) => tokio::time::sleep(sleep).await,
        None => std::future::pending().await,
    }
}

/// The time of the next `window` that a number stands for.
fn spread(window: Millis, chance: u128) -> Millis {
    let within = chance.checked_rem(u128::from(window.unsigned_abs()));
    within.and_then(|within| Millis::try_from(within).ok()).unwrap_or(0)
}

fn time(at: Millis) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
