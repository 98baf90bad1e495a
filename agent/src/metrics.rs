//! What the agent counts, as Prometheus reads it.
//!
//! Whoever does something says so in one call; nothing here decides anything or can fail. What can be looked up (the
//! jobs, the journal's commits) is not kept here as well but set when somebody reads. Labels are words of this program
//! only: never a job's name, a token or any text that comes from outside, so the number of series is fixed.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>, the format is OpenMetrics 1.0 text, which Prometheus
//! reads since its version 2.5.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rsqlflow_config::audit::Status;

/// Media type of [`Metrics::encode`]'s text.
/// <https://prometheus.io/docs/specs/om/open_metrics_spec/#overall-structure>
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One label with a word of ours.
type Label = [(&'static str, &'static str); 1];
type Counters = Family<Label, Counter>;
type Gauges = Family<Label, Gauge<i64, AtomicI64>>;

/// The services that the agent calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Callbacks and heartbeats.
    StepFunctions,
    /// Audit records.
    DynamoDb,
    /// What scripts print.
    Logs,
    /// Warehouse credentials.
    SecretsManager,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 4] = [Self::StepFunctions, Self::DynamoDb, Self::Logs, Self::SecretsManager];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StepFunctions => "stepfunctions",
            Self::DynamoDb => "dynamodb",
            Self::Logs => "logs",
            Self::SecretsManager => "secretsmanager",
        }
    }
}

/// What is looked up when somebody reads.
#[derive(Debug, Clone, Default)]
pub struct Snapshot<'a> {
    /// The state of every job that is not settled.
    pub states: Vec<&'a str>,
    /// Flushed transactions of the journal.
    pub flushes: u64,
    /// All transactions of the journal.
    pub commits: u64,
}

/// The states that jobs are in; what a newer dispatcher calls otherwise counts as `other`.
const STATES: [&str; 5] = ["queued", "running", "waiting", "reporting", "other"];

/// Why a job request is not taken. A series that begins with its first refusal would hide that one from `increase()`.
const REFUSALS: [&str; 5] = ["invalid", "drained", "disk_full", "stopping", "journal"];

/// How Step Functions may answer a callback.
const ANSWERS: [&str; 3] = ["accepted", "gone", "refused"];

/// What is told about an outcome.
const ENTRIES: [&str; 3] = ["callback", "audit", "logs"];

/// The counters of one agent.
pub struct Metrics {
    since: String,
    registry: Registry,
    accepted: Counter,
    refused: Counters,
    ended: Counters,
    jobs: Gauges,
    attempts: Counter,
    processes: Counters,
    callbacks: Counters,
    log_events: Counter,
    log_bytes: Counter,
    log_rejected: Counter,
    failed: Counters,
    outbox: Gauges,
    commits: Counter,
    flushes: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rsqlflow_agent");
        registry.register(
            "build",
            "The agent that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let started = Gauge::<i64, AtomicI64>::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        started.set(i64::try_from(now.as_secs()).unwrap_or_default());
        registry.register_with_unit("start_time", "When the agent started", Unit::Seconds, started);
        let mut counter = |name, help| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let accepted = counter("jobs_accepted", "Jobs taken");
        let attempts = counter("attempts_started", "Scripts started");
        let log_events = counter("log_events", "Log events that CloudWatch Logs took");
        let log_bytes = counter("log_bytes", "Bytes of output that CloudWatch Logs took");
        let log_rejected = counter("log_events_rejected", "Log events that CloudWatch Logs refused");
        let commits = counter("journal_commits", "Transactions of the journal");
        let flushes = counter("journal_flushes", "Transactions of the journal that were flushed to disk");
        let mut family = |name, help, label, values: &[&'static str]| {
            let family = Counters::default();
            for value in values {
                drop(family.get_or_create(&[(label, *value)]));
            }
            registry.register(name, help, family.clone());
            family
        };
        let statuses =
            [Status::Completed, Status::Failed, Status::TimedOut, Status::Cancelled].map(Status::as_str);
        let services = Service::ALL.map(Service::as_str);
        let refused = family("jobs_refused", "Job requests not taken, by why", "reason", &REFUSALS);
        let ended = family("jobs_ended", "Jobs with an outcome, by status", "status", &statuses);
        let processes = family("processes_ended", "Scripts ended, by what ended them", "reason", &[]);
        let callbacks =
            family("callbacks", "Outcomes told to Step Functions, by its answer", "answer", &ANSWERS);
        let failed = family("calls_failed", "Calls that failed and were made again", "service", &services);
        let mut gauges = |name, help, label, values: &[&'static str]| {
            let family = Gauges::default();
            for value in values {
                drop(family.get_or_create(&[(label, *value)]));
            }
            registry.register(name, help, family.clone());
            family
        };
        let jobs = gauges("jobs", "Jobs that are not settled, by state", "state", &STATES);
        let outbox = gauges("outbox_waiting", "What is still to be told, by to whom", "entry", &ENTRIES);
        Self {
            since: rsqlflow_config::time::now(),
            registry,
            accepted,
            refused,
            ended,
            jobs,
            attempts,
            processes,
            callbacks,
            log_events,
            log_bytes,
            log_rejected,
            failed,
            outbox,
            commits,
            flushes,
        }
    }
}

impl Metrics {
    /// When counting began.
    pub fn since(&self) -> &str {
        &self.since
    }

    /// A job was taken; not called for one that was known.
    pub fn job_accepted(&self) {
        self.accepted.inc();
    }

    /// A job request was not taken; `reason` is one word, such as `invalid`, `stopping`, `drained`, `disk_full`.
    pub fn job_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// A job has its outcome.
    pub fn job_ended(&self, status: Status) {
        self.ended.get_or_create(&[("status", status.as_str())]).inc();
    }

    /// A script's process was started.
    pub fn attempt_started(&self) {
        self.attempts.inc();
    }

    /// A script's process tree ended; `reason` is one word, such as `exited`, `timed_out`, `stalled`, `cancelled`.
    pub fn process_ended(&self, reason: &'static str) {
        self.processes.get_or_create(&[("reason", reason)]).inc();
    }

    /// Step Functions answered a callback for good: `accepted`, `gone` or `refused`.
    pub fn callback(&self, answer: &'static str) {
        self.callbacks.get_or_create(&[("answer", answer)]).inc();
    }

    /// CloudWatch Logs took so many events of so many bytes.
    pub fn log_events(&self, events: usize, bytes: usize) {
        self.log_events.inc_by(events as u64);
        self.log_bytes.inc_by(bytes as u64);
    }

    /// CloudWatch Logs will never take so many events.
    pub fn log_events_rejected(&self, events: usize) {
        self.log_rejected.inc_by(events as u64);
    }

    /// A call failed and is made again.
    pub fn call_failed(&self, service: Service) {
        self.failed.get_or_create(&[("service", service.as_str())]).inc();
    }

    /// Something is to be told (`callback`, `audit` or `logs`) until the guard is dropped.
    #[must_use = "it waits for as long as the guard lives"]
    pub fn waits(&self, entry: &'static str) -> Waiting {
        let gauge = self.outbox.get_or_create_owned(&[("entry", entry)]);
        gauge.inc();
        Waiting(gauge)
    }

    /// Everything as text.
    pub fn encode(&self, snapshot: &Snapshot<'_>) -> String {
        for known in STATES {
            let count = snapshot.states.iter().filter(|state| known_state(state) == known).count();
            self.jobs.get_or_create(&[("state", known)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.commits.inner().store(snapshot.commits, Ordering::Relaxed);
        self.flushes.inner().store(snapshot.flushes, Ordering::Relaxed);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn known_state(state: &str) -> &'static str {
    STATES.into_iter().find(|known| *known == state).unwrap_or("other")
}

/// Something that is still to be told.
#[derive(Debug)]
pub struct Waiting(Gauge<i64, AtomicI64>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_openmetrics_with_fixed_series() {
        let metrics = Metrics::default();
        metrics.job_accepted();
        metrics.job_refused("invalid");
        metrics.job_ended(Status::TimedOut);
        metrics.attempt_started();
        metrics.process_ended("exited");
        metrics.callback("gone");
        metrics.log_events(3, 70);
        metrics.log_events_rejected(2);
        metrics.call_failed(Service::Logs);
        let waiting = metrics.waits("audit");
        drop(metrics.waits("logs"));
        let states = vec!["running", "running", "hibernating"];
        let text = metrics.encode(&Snapshot { states, flushes: 2, commits: 5 });
        drop(waiting);
        // The order of series within a family and the start are not the same twice.
        let mut lines: Vec<&str> =
            text.lines().filter(|line| !line.contains("start_time_seconds ")).collect();
        assert_eq!(lines.pop(), Some("# EOF"));
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION"));
        let later = metrics.encode(&Snapshot::default());
        assert!(
            later.contains("jobs{state=\"running\"} 0\n") && later.contains("{entry=\"audit\"} 0\n"),
            "{later}"
        );
    }
}
