//! One thread of an execution: the top level, a branch of a Parallel state, or an iteration of a Map state.
//!
//! A frame is in one state at a time and waits there for one thing. What must survive a restart is in [`Body`],
//! which is a row of its own; inputs, variables, items and results are rows beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::payload::Payload;

/// The frame every execution begins with.
pub(crate) const ROOT: u32 = 1;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) parent: Option<u32>,
    /// Which branch or iteration of its parent.
    pub(crate) position: u32,
    /// The input of the state it is in.
    pub(crate) input: Payload,
    pub(crate) variables: BTreeMap<String, Payload>,
    pub(crate) body: Body,
    /// What its branches or iterations have given so far, by position; `None` for a tolerated failure.
    pub(crate) results: BTreeMap<u32, Option<Payload>>,
    /// What its Map state runs over.
    pub(crate) items: Option<Payload>,
    /// Branches or iterations now running.
    pub(crate) children: Vec<u32>,
    /// Whether there are rows of it.
    pub(crate) on_disk: bool,
    /// Variables assigned since it was last written.
    pub(crate) assigned: Vec<String>,
}

/// The row of a frame.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) state: String,
    pub(crate) entered_ms: i64,
    /// The id of its `...StateEntered` event.
    pub(crate) entered_event: u64,
    /// The event that the next one of this frame follows.
    pub(crate) previous_event: u64,
    /// Retries made so far in this state, by each of its retriers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) retries: Vec<u32>,
    #[serde(default)]
    pub(crate) phase: Phase,
    /// Of the first frame: how much time has passed unseen while the execution ran. Its own limit does not count it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) unseen_ms: i64,
}

/// What a frame waits for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Nothing: it is being moved on.
    #[default]
    Moving,
    Task(TaskPhase),
    /// A Wait state's time.
    Wait {
        until_ms: i64,
        /// A time of day, not a length of time.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fixed: bool,
    },
    /// A retrier's delay.
    Retry {
        until_ms: i64,
    },
    Parallel {
        started_event: u64,
    },
    Map(MapPhase),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A scheduled task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskPhase {
    /// The id of its `TaskScheduled` event.
    pub(crate) event: u64,
    pub(crate) scheduled_ms: i64,
    /// Together with `scheduled_ms`, makes its arguments come out the same when it has to be called again.
    pub(crate) seed: u64,
    /// The call was answered: a callback, or the end of a job, is awaited now.
    #[serde(default)]
    pub(crate) submitted: bool,
    /// The answer to a job's call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) submission: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeat_seconds: Option<u64>,
    /// Moved by every heartbeat, in memory only; a restart grants a whole new interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeat_at_ms: Option<i64>,
}

/// A Map state under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MapPhase {
    pub(crate) started_event: u64,
    pub(crate) total: u32,
    pub(crate) max_concurrency: u32,
    pub(crate) tolerance: Option<Tolerance>,
}

/// How many iterations may fail.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Tolerance {
    pub(crate) count: Option<u32>,
    pub(crate) percentage: Option<f64>,
}

impl Tolerance {
    /// Whether `failed` of `total` iterations are too many. Either threshold is enough to fail the Map.
    pub(crate) fn exceeded(self, failed: u32, total: u32) -> bool {
        // Without either threshold none may fail; with one of them, the other does not count.
        let count = self.count.unwrap_or(if self.percentage.is_none() { 0 } else { u32::MAX });
        let percentage = f64::from(failed) * 100.0 / f64::from(total.max(1));
        failed > count || self.percentage.is_some_and(|most| percentage > most)
    }
}

impl Frame {
    pub(crate) fn new(parent: Option<u32>, position: u32, input: Payload, previous_event: u64) -> Self {
        Self {
            parent,
            position,
            input,
            variables: BTreeMap::new(),
            body: Body { previous_event, ..Body::default() },
            results: BTreeMap::new(),
            items: None,
            children: Vec::new(),
            on_disk: false,
            assigned: Vec::new(),
        }
    }

    /// When it must be looked at again, if time alone can move it.
    pub(crate) fn deadline_ms(&self) -> Option<i64> {
        match &self.body.phase {
            Phase::Wait { until_ms, .. } | Phase::Retry { until_ms } => Some(*until_ms),
            Phase::Task(task) => task.timeout_at_ms.into_iter().chain(task.heartbeat_at_ms).min(),
            Phase::Moving | Phase::Parallel { .. } | Phase::Map(_) => None,
        }
    }

    /// Moves its deadlines by time that passed unseen; false where it has none that moves. Whoever reports to a task gets
    /// a whole heartbeat interval: what was sent meanwhile may not have been heard.
    pub(crate) fn pass_unseen(&mut self, by_ms: i64, now_ms: i64) -> bool {
        match &mut self.body.phase {
            Phase::Wait { until_ms, fixed: false } | Phase::Retry { until_ms } => *until_ms += by_ms,
            Phase::Task(task) => {
                task.timeout_at_ms = task.timeout_at_ms.map(|at| at + by_ms);
                let interval = task.heartbeat_seconds.and_then(|seconds| i64::try_from(seconds).ok());
                task.heartbeat_at_ms = interval.map(|seconds| now_ms + seconds * 1000);
            }
            Phase::Wait { fixed: true, .. } | Phase::Moving | Phase::Parallel { .. } | Phase::Map(_) => {
                return false;
            }
        }
        true
    }

    /// The task it waits for, if that was scheduled by `event`.
    pub(crate) fn task(&mut self, event: u64) -> Option<&mut TaskPhase> {
        match &mut self.body.phase {
            Phase::Task(task) if task.event == event => Some(task),
            _ => None,
        }
    }

    pub(crate) fn retry_count(&self) -> u32 {
        self.body.retries.iter().sum()
    }

    /// The next iteration to start: they start in order.
    pub(crate) fn started(&self) -> u32 {
        u32::try_from(self.children.len() + self.results.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerance_counts_and_percentages() {
        let tolerance = |count, percentage| Tolerance { count, percentage };
        assert!(tolerance(None, None).exceeded(1, 10));
        assert!(!tolerance(Some(1), None).exceeded(1, 10));
        assert!(tolerance(Some(1), None).exceeded(2, 10));
        assert!(!tolerance(None, Some(20.0)).exceeded(2, 10));
        assert!(tolerance(None, Some(20.0)).exceeded(3, 10));
        assert!(tolerance(Some(5), Some(20.0)).exceeded(3, 10));
        assert!(!tolerance(None, Some(100.0)).exceeded(10, 10));
    }
}
