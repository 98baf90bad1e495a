//! The promises one by one, then all of them against a slow and obvious model.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

fn job(job_id: &str, run: &str) -> Waiting {
    Waiting { job_id: job_id.into(), run: run.into(), pool: None, priority: 0 }
}

fn in_pool(job_id: &str, run: &str, pool: &str) -> Waiting {
    Waiting { pool: Some(pool.into()), ..job(job_id, run) }
}

fn queue(max_running: usize, pools: &[(&str, usize)]) -> Queue {
    Queue::new(max_running, &pools.iter().map(|(name, limit)| ((*name).to_owned(), *limit)).collect())
}

/// Starts what may start.
fn start(queue: &mut Queue) -> Vec<String> {
    std::iter::from_fn(|| queue.next()).collect()
}

/// The order in which jobs start that run one at a time.
fn one_by_one(queue: &mut Queue) -> Vec<String> {
    let mut order = Vec::new();
    while let Some(job_id) = queue.next() {
        assert!(queue.finished(&job_id));
        order.push(job_id);
    }
    order
}

#[test]
fn the_host_runs_as_many_as_it_may() {
    let mut queue = queue(2, &[]);
    for id in ["a", "b", "c"] {
        queue.push(job(id, "run")).unwrap();
    }
    assert_eq!(start(&mut queue), ["a", "b"]);
    assert_eq!((queue.running(), queue.waiting(), queue.why("c")), (2, 1, Some(Why::Host)));
    assert!(queue.finished("a") && !queue.finished("a"));
    assert_eq!((queue.why("c"), start(&mut queue)), (None, vec!["c".to_owned()]));
}

#[test]
fn without_a_limit_everything_starts() {
    let mut queue = queue(0, &[]);
    (0..1000).for_each(|id| queue.push(job(&id.to_string(), "run")).unwrap());
    assert_eq!(start(&mut queue).len(), 1000);
}

#[test]
fn a_full_pool_holds_up_only_its_own() {
    let mut queue = queue(3, &[("etl", 1), ("bi", 1)]);
    for id in ["a", "b"] {
        queue.push(in_pool(id, "run", "etl")).unwrap();
    }
    queue.push(in_pool("c", "run", "bi")).unwrap();
    queue.push(job("d", "run")).unwrap();
    queue.push(job("e", "run")).unwrap();
    assert_eq!(start(&mut queue), ["a", "c", "d"]);
    assert_eq!(queue.why("b"), Some(Why::Pool("etl".into())));
    assert_eq!((queue.why("e"), queue.why("a"), queue.why("nobody")), (Some(Why::Host), None, None));
    queue.finished("a");
    assert_eq!(start(&mut queue), ["b"]);
}

#[test]
fn a_pool_that_is_none_is_told_with_those_that_are() {
    let refused = |pools: &[(&str, usize)]| queue(1, pools).push(in_pool("a", "run", "elt")).unwrap_err();
    insta::assert_snapshot!(
        format!("{}\n{}", refused(&[("etl", 1), ("bi", 1)]), refused(&[])),
        @r"
    this host has no resource pool `elt`: [agent.pools] of its settings has bi, etl
    this host has no resource pool `elt`: its settings have none under [agent.pools]
    "
    );
}

#[test]
fn higher_priority_starts_first() {
    let mut queue = queue(1, &[]);
    for (id, priority) in [("low", -5), ("first", 0), ("second", 0), ("high", 7)] {
        queue.push(Waiting { priority, ..job(id, "run") }).unwrap();
    }
    assert_eq!(one_by_one(&mut queue), ["high", "first", "second", "low"]);
}

#[test]
fn a_large_run_does_not_keep_a_small_one_waiting() {
    let mut queue = queue(1, &[]);
    (0..100).for_each(|id| queue.push(job(&format!("large-{id}"), "large")).unwrap());
    (0..3).for_each(|id| queue.push(job(&format!("small-{id}"), "small")).unwrap());
    let order = one_by_one(&mut queue);
    assert_eq!(order[..7], ["large-0", "small-0", "large-1", "small-1", "large-2", "small-2", "large-3"]);
}

#[test]
fn the_run_with_the_fewest_running_jobs_is_served_first() {
    let mut queue = queue(4, &[]);
    for id in ["a", "b", "c"] {
        queue.adopt(job(id, "busy"));
    }
    for id in ["d", "e", "f"] {
        queue.push(job(id, "busy")).unwrap();
    }
    for id in ["x", "y"] {
        queue.push(job(id, "new")).unwrap();
    }
    assert_eq!(start(&mut queue), ["x"]);
    queue.finished("a");
    assert_eq!(start(&mut queue), ["y"]);
}

#[test]
fn new_runs_do_not_hold_up_the_rest_of_a_run_for_ever() {
    let mut queue = queue(2, &[]);
    queue.push(job("long", "night")).unwrap();
    queue.push(job("rest", "night")).unwrap();
    queue.push(job("other-0", "other-0")).unwrap();
    assert_eq!(start(&mut queue), ["long", "other-0"]);
    // One job of `night` runs on and on; others come and go, always one of them waits.
    let mut others = 0;
    loop {
        let (id, next) = (format!("other-{others}"), format!("other-{}", others + 1));
        queue.push(job(&next, &next)).unwrap();
        queue.finished(&id);
        others += 1;
        match start(&mut queue).as_slice() {
            [started] if started == "rest" => break,
            [started] if *started == next => assert!(others <= PATIENCE, "`rest` starves"),
            other => panic!("{other:?}"),
        }
    }
    assert!(others > 90, "until then the run with nothing running goes first");
}

#[test]
fn what_runs_already_counts_even_beyond_the_limits() {
    let mut queue = queue(2, &[("etl", 1)]);
    queue.push(in_pool("waits", "run", "etl")).unwrap();
    queue.push(job("recovered", "run")).unwrap();
    for id in ["a", "b"] {
        queue.adopt(in_pool(id, "run", "etl"));
    }
    queue.adopt(in_pool("c", "run", "a pool that is no more"));
    queue.adopt(job("recovered", "run"));
    queue.adopt(job("recovered", "run"));
    assert_eq!((queue.running(), queue.waiting(), queue.next()), (4, 1, None));
    for id in ["recovered", "c", "a"] {
        assert!(queue.finished(id));
        assert_eq!(queue.next(), None, "{id}");
    }
    queue.finished("b");
    assert_eq!(start(&mut queue), ["waits"]);
}

#[test]
fn a_job_is_in_the_queue_once_and_can_leave_it() {
    let mut queue = queue(1, &[]);
    queue.push(job("a", "run")).unwrap();
    queue.push(job("a", "run")).unwrap();
    queue.push(job("b", "run")).unwrap();
    assert_eq!((queue.waiting(), start(&mut queue)), (2, vec!["a".to_owned()]));
    queue.push(job("a", "run")).unwrap();
    assert!(queue.remove("b") && !queue.remove("b") && !queue.remove("a"));
    assert_eq!((queue.waiting(), queue.running()), (0, 1));
    queue.finished("a");
    assert!(queue.runs.is_empty() && queue.lanes.is_empty(), "{queue:?}");
}

/// What is done to a queue.
#[derive(Debug, Clone)]
enum Step {
    Push { run: u8, pool: Option<u8>, priority: i32 },
    Adopt { run: u8, pool: Option<u8> },
    Next,
    Finish(Index),
    Remove(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let pool = prop::option::of(0u8..3);
    prop_oneof![
        5 => (0u8..4, pool.clone(), -1i32..2).prop_map(|(run, pool, priority)| Step::Push { run, pool, priority }),
        1 => (0u8..4, pool).prop_map(|(run, pool)| Step::Adopt { run, pool }),
        6 => Just(Step::Next),
        3 => any::<Index>().prop_map(Step::Finish),
        1 => any::<Index>().prop_map(Step::Remove),
    ]
}

/// The same, slowly: every question is answered by looking at everything.
struct Model {
    max_running: usize,
    limits: BTreeMap<String, usize>,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    running: Vec<Waiting>,
}

impl Model {
    fn may_start(&self, job: &Waiting) -> bool {
        let in_pool = self.running.iter().filter(|other| other.pool == job.pool).count();
        (self.max_running == 0 || self.running.len() < self.max_running)
            && job.pool.as_ref().is_none_or(|pool| in_pool < self.limits[pool])
    }

    fn running_of(&self, run: &str) -> usize {
        self.running.iter().filter(|job| job.run == run).count()
    }

    /// Takes over what the queue chose, and says where that broke a promise.
    fn started(&mut self, job_id: Option<&str>) -> Result<(), TestCaseError> {
        let may: Vec<&Waiting> = self.waiting.iter().filter(|job| self.may_start(job)).collect();
        let Some(job_id) = job_id else {
            prop_assert!(may.is_empty(), "{may:?} might have started");
            return Ok(());
        };
        let chosen = may.iter().find(|job| job.job_id == job_id);
        prop_assert!(chosen.is_some(), "{job_id} must not start");
        let Some(chosen) = chosen else { return Ok(()) };
        for other in &may {
            prop_assert!(other.priority <= chosen.priority, "{other:?} before {chosen:?}");
            if other.priority == chosen.priority {
                let (theirs, ours) = (self.running_of(&other.run), self.running_of(&chosen.run));
                prop_assert!(theirs >= ours, "{other:?} has fewer running than {chosen:?}");
            }
        }
        // All of these might have started, so within a run the oldest of a priority comes first, whatever its pool.
        let first = may.iter().find(|job| job.run == chosen.run && job.priority == chosen.priority);
        prop_assert_eq!(first, Some(chosen));
        let at = self.waiting.iter().position(|job| job.job_id == job_id).unwrap();
        self.running.push(self.waiting.remove(at));
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_promises_hold_whatever_is_done(
        max_running in 0usize..5,
        limits in prop::array::uniform3(1usize..4),
        // Fewer starts than PATIENCE: whoever is overdue is another test's.
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let limits: BTreeMap<String, usize> =
            limits.iter().enumerate().map(|(at, limit)| (format!("pool-{at}"), *limit)).collect();
        let mut queue = Queue::new(max_running, &limits);
        let mut model = Model { max_running, limits, waiting: vec![], running: vec![] };
        for (at, step) in steps.into_iter().enumerate() {
            let job = |run: u8, pool: Option<u8>, priority| Waiting {
                job_id: format!("job-{at}"),
                run: format!("run-{run}"),
                pool: pool.map(|pool| format!("pool-{pool}")),
                priority,
            };
            match step {
                Step::Push { run, pool, priority } => {
                    queue.push(job(run, pool, priority)).unwrap();
                    model.waiting.push(job(run, pool, priority));
                }
                Step::Adopt { run, pool } => {
                    queue.adopt(job(run, pool, 0));
                    model.running.push(job(run, pool, 0));
                }
                Step::Next => model.started(queue.next().as_deref())?,
                Step::Finish(which) if !model.running.is_empty() => {
                    let ended = model.running.remove(which.index(model.running.len()));
                    prop_assert!(queue.finished(&ended.job_id));
                }
                Step::Remove(which) if !model.waiting.is_empty() => {
                    let gone = model.waiting.remove(which.index(model.waiting.len()));
                    prop_assert!(queue.remove(&gone.job_id));
                }
                Step::Finish(_) | Step::Remove(_) => {}
            }
            prop_assert_eq!((queue.running(), queue.waiting()), (model.running.len(), model.waiting.len()));
            for job in &model.waiting {
                prop_assert_eq!(queue.why(&job.job_id).is_none(), model.may_start(job), "{:?}", job);
            }
        }
        // As long as what runs ends, everything starts.
        while !model.waiting.is_empty() {
            match queue.next() {
                Some(job_id) => model.started(Some(&job_id))?,
                None => {
                    model.started(None)?;
                    let ended = model.running.remove(0);
                    prop_assert!(queue.finished(&ended.job_id));
                }
            }
        }
        for job in model.running {
            prop_assert!(queue.finished(&job.job_id));
        }
        prop_assert!(queue.runs.is_empty() && queue.lanes.is_empty() && queue.next().is_none());
        prop_assert!(queue.pools.values().all(|pool| pool.running == 0));
    }
}
