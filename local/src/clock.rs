//! What time it is, in one place, so that tests of expiry need not wait.
//!
//! The wall clock is what AWS stamps and what must outlive this process. It is no measure of how long something takes:
//! it is set by hand and by NTP, and it goes on while the machine sleeps. The process itself can stand still, too, while
//! the wall clock and the scripts go on (`SIGSTOP`, a paused virtual machine). Both are *unseen* time: nothing could be
//! heard in it, so no deadline may count it. A [`Clock`] compares the wall clock with a steady one whenever it is read,
//! and with a tick of its own ([`Clock::keep_watch`]), and adds up what was unseen; whoever keeps deadlines moves them by
//! that ([`Clock::unseen`]). After a restart only the wall clock is left to go by.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// Milliseconds since 1970, UTC: what AWS calls an epoch timestamp, times a thousand.
pub type Millis = i64;

/// How often a watched clock is looked at.
const TICK: Duration = Duration::from_secs(1);

/// A tick that comes later than this says that the process stood still: more than a busy machine takes.
const STANDSTILL: Millis = 2_000;

/// The two clocks may part by this much between two looks: that is a clock which is being slewed.
const STEP: Millis = 1_000;

/// Unseen time from which on it is told.
const WORTH_TELLING: Millis = 5_000;

/// The two clocks are read as one moment if that took no longer.
const ONE_MOMENT: Millis = 100;

/// A clock; clones tell the same time.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

type Read = Box<dyn Fn() -> Millis + Send + Sync>;

struct Inner {
    wall: Read,
    /// Milliseconds since some moment, by a clock that is never set; without one, no time passes unseen.
    steady: Option<Read>,
    last: Mutex<Last>,
}

/// The last look.
struct Last {
    wall: Millis,
    steady: Millis,
    /// The steady time of the last tick, while there are any.
    ticked: Option<Millis>,
    unseen: Millis,
}

impl Clock {
    /// The machine's. With debug assertions, tests can move it for a whole process (`rsqlflow_config::time`).
    pub fn system() -> Self {
        let began = Instant::now();
        let steady = move || i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        Self::of(|| rsqlflow_config::time::wall().timestamp_millis(), steady)
    }

    /// One that a test moves, and of which no time passes unseen.
    pub fn from_fn(now: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self::with(Box::new(now), None)
    }

    /// One of two clocks: the wall's, and one that is never set.
    pub fn of(
        wall: impl Fn() -> Millis + Send + Sync + 'static,
        steady: impl Fn() -> Millis + Send + Sync + 'static,
    ) -> Self {
        Self::with(Box::new(wall), Some(Box::new(steady)))
    }

    fn with(wall: Read, steady: Option<Read>) -> Self {
        let last = Last {
            wall: wall(),
            steady: steady.as_ref().map_or(0, |steady| steady()),
            ticked: None,
            unseen: 0,
        };
        Self(Arc::new(Inner { wall, steady, last: Mutex::new(last) }))
    }

    /// Now.
    pub fn now(&self) -> Millis {
        self.0.look(Tick::None)
    }

    /// How much time has passed unseen so far: less than before where the clock was set back. A deadline of relative
    /// length that was set when this was less is late by the difference. To be asked after [`Clock::now`]: what is unseen
    /// by then is in it.
    pub fn unseen(&self) -> Millis {
        self.0.last().unseen
    }

    /// The latest moment that the clock is believed to have reached: what was unseen is not in it. What is deleted for
    /// its age is judged by this, so that a clock that runs ahead for an hour deletes nothing.
    pub fn surely(&self) -> Millis {
        let now = self.now();
        now - self.unseen().max(0)
    }

    /// Looks at the clock every second, so that a standstill of the process is noticed. Ends with its guard.
    #[must_use = "the watch ends with its guard"]
    pub fn keep_watch(&self) -> Watch {
        self.0.look(Tick::First);
        let clock = self.clone();
        let ticking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                clock.0.look(Tick::Next);
            }
        });
        Watch { clock: self.clone(), ticking }
    }
}

/// Whether a look is one of those that come every second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tick {
    None,
    First,
    Next,
}

/// A clock that is watched, for as long as this is held.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    ticking: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ticking.abort();
        self.clock.0.last().ticked = None;
    }
}

impl Inner {
    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock's time; takes note of what was unseen before it.
    fn look(&self, tick: Tick) -> Millis {
        let Some(steady_clock) = &self.steady else { return (self.wall)() };
        let mut last = self.last();
        // A process that is stopped between the two readings would see a step where there is none.
        let (wall, steady) = loop {
            let before = steady_clock();
            let wall = (self.wall)();
            let steady = steady_clock();
            if steady - before <= ONE_MOMENT {
                break (wall, steady);
            }
        };
        let step = (wall - last.wall) - (steady - last.steady);
        if step.abs() > STEP {
            last.unseen += step;
            tell_step(step);
        }
        let tick_ms = i64::try_from(TICK.as_millis()).unwrap_or_default();
        if let Some(ticked) = last.ticked
            && steady - ticked > STANDSTILL
        {
            let stood = steady - ticked - tick_ms;
            last.unseen += stood;
            last.ticked = Some(steady);
            tell_standstill(stood);
        }
        if tick == Tick::First || (tick == Tick::Next && last.ticked.is_some()) {
            last.ticked = Some(steady);
        }
        (last.wall, last.steady) = (wall, steady);
        wall
    }
}

fn tell_step(step: Millis) {
    let seconds = step.abs() / 1000;
    if step > 0 {
        tracing::warn!(
            seconds,
            "the clock jumped forward (the machine slept, or the clock was set); jobs that run get that time on top of \
             their limits"
        );
    } else {
        tracing::warn!(seconds, "the clock was set back; the limits of jobs that run are moved with it");
    }
}

fn tell_standstill(stood: Millis) {
    let seconds = stood / 1000;
    if stood >= WORTH_TELLING {
        tracing::warn!(
            seconds,
            "this process stood still (it was stopped, or the machine was too busy for it); jobs that run get that time \
             on top of their limits"
        );
    } else {
        tracing::debug!(seconds, "this process stood still");
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// A timestamp as the JSON protocols write it: seconds, with the milliseconds as a fraction.
pub(crate) fn epoch_seconds(at: Millis) -> serde_json::Value {
    // Milliseconds of this era fit a double exactly.
    serde_json::json!(at as f64 / 1000.0)
}

/// A timestamp as RFC 3339 text with milliseconds.
pub(crate) fn rfc3339(at: Millis) -> String {
    chrono::DateTime::from_timestamp_millis(at)
        .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A wall clock and a steady one that go together unless a test says otherwise.
    #[derive(Clone, Default)]
    struct Clocks(Arc<(AtomicI64, AtomicI64)>);

    impl Clocks {
        fn clock(&self) -> Clock {
            let (wall, steady) = (self.clone(), self.clone());
            Clock::of(move || wall.0.0.load(Ordering::SeqCst), move || steady.0.1.load(Ordering::SeqCst))
        }

        fn pass(&self, wall: Millis, steady: Millis) {
            self.0.0.fetch_add(wall, Ordering::SeqCst);
            self.0.1.fetch_add(steady, Ordering::SeqCst);
        }
    }

    #[test]
    fn time_that_passes_on_both_clocks_is_seen() {
        let clocks = Clocks::default();
        let clock = clocks.clock();
        clocks.pass(3_600_000, 3_600_000);
        assert_eq!((clock.now(), clock.unseen()), (3_600_000, 0));
        // Slewed: half a second in a look.
        clocks.pass(10_500, 10_000);
        assert_eq!((clock.now(), clock.unseen()), (3_610_500, 0));
    }

    #[test]
    fn a_step_of_the_wall_clock_is_unseen_time_both_ways() {
        let clocks = Clocks::default();
        let clock = clocks.clock();
        clocks.pass(60_000, 1_000);
        assert_eq!((clock.now(), clock.unseen()), (60_000, 59_000));
        assert_eq!(clock.surely(), 1_000);
        clocks.pass(-119_000, 1_000);
        assert_eq!((clock.now(), clock.unseen()), (-59_000, -61_000));
        assert_eq!(clock.surely(), -59_000);
    }

    #[tokio::test]
    async fn a_standstill_is_unseen_time_only_where_the_clock_is_watched() {
        let clocks = Clocks::default();
        let clock = clocks.clock();
        clocks.pass(150_000, 150_000);
        assert_eq!((clock.now(), clock.unseen()), (150_000, 0));
        clock.0.look(Tick::First);
        clocks.pass(150_000, 150_000);
        // Whoever looks first after it finds it, and it counts once.
        assert_eq!((clock.now(), clock.unseen()), (300_000, 149_000));
        clock.0.look(Tick::Next);
        assert_eq!((clock.now(), clock.unseen()), (300_000, 149_000));
        clocks.pass(1_900, 1_900);
        clock.0.look(Tick::Next);
        assert_eq!(clock.unseen(), 149_000);
        drop(clock.keep_watch());
        clocks.pass(150_000, 150_000);
        assert_eq!((clock.now(), clock.unseen()), (451_900, 149_000));
    }
}
