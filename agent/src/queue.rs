//! Which of the accepted jobs may run now.
//!
//! A plain data structure without clocks or tasks: jobs are pushed when they are accepted, [`Queue::next`] names the one
//! that may start and counts it as running, [`Queue::finished`] gives its place back. It promises that
//!
//! * neither the host's limit nor a pool's is passed, but by jobs that were running already ([`Queue::adopt`]);
//! * a job starts as soon as there is a place for it: one whose pool is full holds up nobody behind it;
//! * higher priority starts first. Among equal ones the run with the fewest running jobs does, then the one that was
//!   served longest ago: a run of a thousand jobs does not keep a run of three waiting;
//! * the jobs of one run with the same priority and pool start in the order in which they came;
//! * no job is overtaken for ever by others of its priority: see [`PATIENCE`]. Higher priorities may overtake for ever;
//!   that is what they are for.
//!
//! It forgets everything with the process: after a restart the journal's jobs are adopted or pushed again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// After so many starts of other jobs, a waiting job no longer stands back for having running jobs of its own run:
/// else one long job would hold up the rest of its run for as long as new runs keep coming.
const PATIENCE: u64 = 100;

/// A job that wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub job_id: String,
    /// The run, `workflow_execution_id`: what fairness is between.
    pub run: String,
    /// The resource pool it needs a place in besides the host's.
    pub pool: Option<String>,
    /// Higher starts first.
    pub priority: i32,
}

/// The host has no such pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this host has no resource pool `{pool}`: {}", known_pools(.known))]
pub(crate) struct UnknownPool {
    pub pool: String,
    pub known: Vec<String>,
}

fn known_pools(known: &[String]) -> String {
    if known.is_empty() {
        "its settings have none under [agent.pools]".into()
    } else {
        format!("[agent.pools] of its settings has {}", known.join(", "))
    }
}

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// As many jobs run on the host as may.
    Host,
    /// As many jobs run in its pool as may.
    Pool(String),
}

/// Accepted jobs: those that wait and those that run.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Most jobs at once; `usize::MAX` for no limit.
    max_running: usize,
    pools: BTreeMap<String, Pool>,
    /// Runs with a job that waits or runs.
    runs: HashMap<String, Run>,
    running: HashMap<String, Waiting>,
    waiting: HashMap<String, Place>,
    lanes: BTreeMap<LaneKey, Lane>,
    /// Counts pushes and starts: what happened before what.
    now: u64,
    /// Counts starts.
    starts: u64,
}

#[derive(Debug)]
struct Pool {
    limit: usize,
    running: usize,
}

#[derive(Debug)]
struct Run {
    running: usize,
    waiting: usize,
    /// When its last job started, or it came. Coming counts, so that new runs do not pass those who wait.
    served: u64,
}

/// Jobs of one priority and pool start under the same conditions; highest priority first.
type LaneKey = (Reverse<i32>, Option<String>);

/// Run to its waiting jobs in the order in which they came.
type Lane = BTreeMap<String, BTreeMap<u64, Entry>>;

#[derive(Debug)]
struct Entry {
    job_id: String,
    /// How many jobs had been started when it came.
    starts_before: u64,
}

/// Where a waiting job stands.
#[derive(Debug)]
struct Place {
    lane: LaneKey,
    run: String,
    number: u64,
}

impl Queue {
    /// A queue for a host that runs `max_running` jobs at once (0: no limit), and in each pool as many as it says.
    pub(crate) fn new(max_running: usize, pools: &BTreeMap<String, usize>) -> Self {
        let pool = |(name, limit): (&String, &usize)| (name.clone(), Pool { limit: *limit, running: 0 });
        Self {
            max_running: if max_running == 0 { usize::MAX } else { max_running },
            pools: pools.iter().map(pool).collect(),
            runs: HashMap::new(),
            running: HashMap::new(),
            waiting: HashMap::new(),
            lanes: BTreeMap::new(),
            now: 0,
            starts: 0,
        }
    }

    /// A job joins those that wait. One that waits or runs already stays what it is.
    ///
    /// # Errors
    /// [`UnknownPool`]: a job whose pool is not there would wait for ever.
    pub(crate) fn push(&mut self, job: Waiting) -> Result<(), UnknownPool> {
        if let Some(pool) = job.pool.as_ref().filter(|pool| !self.pools.contains_key(*pool)) {
            return Err(UnknownPool { pool: pool.clone(), known: self.pools.keys().cloned().collect() });
        }
        if self.waiting.contains_key(&job.job_id) || self.running.contains_key(&job.job_id) {
            return Ok(());
        }
        let number = self.tick();
        self.run(&job.run).waiting += 1;
        let lane: LaneKey = (Reverse(job.priority), job.pool);
        let entry = Entry { job_id: job.job_id.clone(), starts_before: self.starts };
        let runs = self.lanes.entry(lane.clone()).or_default();
        runs.entry(job.run.clone()).or_default().insert(number, entry);
        self.waiting.insert(job.job_id, Place { lane, run: job.run, number });
        Ok(())
    }

    /// The job that may start now, if one may; from here on it counts as running. Called until there is none.
    pub(crate) fn next(&mut self) -> Option<String> {
        let job_id = self.choose()?;
        let job = self.leave(&job_id)?;
        self.starts += 1;
        let now = self.tick();
        self.run(&job.run).served = now;
        self.occupy(job);
        Some(job_id)
    }

    /// A job runs already, since before this queue knew of it: it takes its places even where there are none left, or
    /// where its pool is no longer one.
    pub(crate) fn adopt(&mut self, job: Waiting) {
        if self.running.contains_key(&job.job_id) {
            return;
        }
        self.leave(&job.job_id);
        self.occupy(job);
    }

    /// A running job has ended, its places are free. Whether it was running.
    pub(crate) fn finished(&mut self, job_id: &str) -> bool {
        let Some(job) = self.running.remove(job_id) else { return false };
        if let Some(pool) = job.pool.and_then(|pool| self.pools.get_mut(&pool)) {
            pool.running -= 1;
        }
        self.run(&job.run).running -= 1;
        self.forget_idle(&job.run);
        true
    }

    /// A waiting job is no longer wanted. Whether it was waiting.
    pub(crate) fn remove(&mut self, job_id: &str) -> bool {
        let left = self.leave(job_id);
        if let Some(job) = &left {
            self.forget_idle(&job.run);
        }
        left.is_some()
    }

    /// How many jobs run.
    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// How many jobs wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What a waiting job waits for: its pool where that is full, since more room on the host would not help it. `None`
    /// for a job that does not wait, or that the next calls of [`Queue::next`] will start.
    pub(crate) fn why(&self, job_id: &str) -> Option<Why> {
        let place = self.waiting.get(job_id)?;
        match &place.lane.1 {
            Some(pool) if !self.has_room(Some(pool)) => Some(Why::Pool(pool.clone())),
            _ => (self.running.len() >= self.max_running).then_some(Why::Host),
        }
    }

    /// The first job in the order that the module promises. Costs a look at each run that waits with the highest
    /// priority that may start, and nothing while the host is full.
    fn choose(&self) -> Option<String> {
        if self.running.len() >= self.max_running {
            return None;
        }
        let free = || self.lanes.iter().filter(|((_, pool), _)| self.has_room(pool.as_deref()));
        let ((highest, _), _) = free().next()?;
        free()
            .take_while(|((priority, _), _)| priority == highest)
            .flat_map(|(_, lane)| lane)
            .filter_map(|(run, entries)| {
                let (number, first) = entries.first_key_value()?;
                let run = self.runs.get(run)?;
                let overdue = self.starts - first.starts_before >= PATIENCE;
                let running = if overdue { 0 } else { run.running };
                Some(((running, run.served, *number), first))
            })
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, first)| first.job_id.clone())
    }

    /// Whether a pool has a place; a job without one needs none.
    fn has_room(&self, pool: Option<&str>) -> bool {
        pool.and_then(|pool| self.pools.get(pool)).is_none_or(|pool| pool.running < pool.limit)
    }

    /// Takes a job out of those that wait. Its run stays known, for the caller to go on with.
    fn leave(&mut self, job_id: &str) -> Option<Waiting> {
        let Place { lane, run, number } = self.waiting.remove(job_id)?;
        if let Some(runs) = self.lanes.get_mut(&lane) {
            if let Some(entries) = runs.get_mut(&run) {
                entries.remove(&number);
                if entries.is_empty() {
                    runs.remove(&run);
                }
            }
            if runs.is_empty() {
                self.lanes.remove(&lane);
            }
        }
        self.run(&run).waiting -= 1;
        let (Reverse(priority), pool) = lane;
        Some(Waiting { job_id: job_id.to_owned(), run, pool, priority })
    }

    fn occupy(&mut self, job: Waiting) {
        if let Some(pool) = job.pool.as_ref().and_then(|pool| self.pools.get_mut(pool)) {
            pool.running += 1;
        }
        self.run(&job.run).running += 1;
        self.running.insert(job.job_id.clone(), job);
    }

    fn run(&mut self, run: &str) -> &mut Run {
        let now = self.now;
        self.runs.entry(run.to_owned()).or_insert(Run { running: 0, waiting: 0, served: now })
    }

    fn forget_idle(&mut self, run: &str) {
        if self.runs.get(run).is_some_and(|run| run.running + run.waiting == 0) {
            self.runs.remove(run);
        }
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

#[cfg(test)]
mod tests;
