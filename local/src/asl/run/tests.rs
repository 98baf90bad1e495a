//! Random state machines: they end, their history has no gaps, nothing is left on disk, and dying at any step
//! changes nothing about how they end.

use std::collections::VecDeque;

use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::*;
use crate::asl::integrations::Pattern;
use crate::asl::journal;

/// A sequence of choices fixed by a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.roll(from.len() as u64)).unwrap()]
    }
}

const VALUES: [&str; 9] = [
    "{% $states.input %}",
    "{% $states.context.State.Name %}",
    "{% $exists($x) ? $x : 0 %}",
    "{% $exists($x) ? [$x, 1] : [] %}",
    "{% $count($states.input) %}",
    "{% $states.input.missing %}",
    "{% 1 + 'a' %}",
    "{% [1..3] %}",
    "plain",
];

const CONDITIONS: [&str; 4] = ["{% true %}", "{% false %}", "{% $exists($x) %}", "{% $states.input %}"];

/// A map of states, nested at most `depth` levels.
fn group(dice: &mut Dice, prefix: &str, depth: u32) -> Value {
    let count = 1 + dice.roll(4);
    let name = |at: u64| format!("{prefix}{at}");
    let mut states = Map::new();
    for at in 0..count {
        let mut state = Map::new();
        let mut put = |field: &str, value: Value| state.insert(field.to_owned(), value);
        let last = at + 1 == count;
        let kind = match dice.roll(if depth == 0 { 6 } else { 9 }) {
            0 | 1 => "Pass",
            2 | 3 => "Task",
            4 if !last => "Choice",
            4 => "Fail",
            5 => "Wait",
            6 => "Parallel",
            _ => "Map",
        };
        put("Type", json!(kind));
        match kind {
            "Choice" => {
                let target = name(dice.roll(count));
                put("Choices", json!([ { "Condition": dice.pick(&CONDITIONS), "Next": target } ]));
                put("Default", json!(name(at + 1)));
            }
            "Fail" => drop(put("Error", json!(dice.pick(&["E0", "E1", "{% 'E' & '2' %}"])))),
            _ if last => drop(put("End", json!(true))),
            _ => drop(put("Next", json!(name(at + 1)))),
        }
        if kind != "Fail" && dice.roll(3) == 0 {
            put("Output", json!({ "v": dice.pick(&VALUES) }));
        }
        if kind != "Fail" && dice.roll(3) == 0 {
            put("Assign", json!({ "x": dice.pick(&VALUES) }));
        }
        match kind {
            "Task" => {
                let callback = dice.roll(2) == 0;
                let resource = "arn:aws:states:::aws-sdk:ssm:sendCommand";
                put(
                    "Resource",
                    json!(format!("{resource}{}", if callback { ".waitForTaskToken" } else { "" })),
                );
                put(
                    "Arguments",
                    json!({ "name": "{% $states.context.State.Name %}", "retry": "{% $states.context.State.RetryCount %}" }),
                );
                if dice.roll(2) == 0 {
                    put("TimeoutSeconds", json!(1 + dice.roll(50)));
                }
            }
            "Wait" => drop(put("Seconds", json!(dice.roll(3)))),
            "Parallel" => {
                let branches: Vec<Value> = (0..=dice.roll(3))
                    .map(|branch| group(dice, &format!("{prefix}{at}p{branch}."), depth - 1))
                    .collect();
                put("Branches", json!(branches));
            }
            "Map" => {
                put(
                    "Items",
                    json!(dice.pick(&[
                        "{% [1..5] %}",
                        "{% [] %}",
                        "{% [$states.input] %}",
                        "{% {'k': 1} %}",
                        "{% 1 %}"
                    ])),
                );
                put("MaxConcurrency", json!(dice.roll(4)));
                if dice.roll(2) == 0 {
                    put("ToleratedFailurePercentage", json!(dice.roll(101)));
                }
                put("ItemProcessor", group(dice, &format!("{prefix}{at}m."), depth - 1));
            }
            _ => {}
        }
        if matches!(kind, "Task" | "Parallel" | "Map") {
            if dice.roll(3) == 0 {
                put(
                    "Retry",
                    json!([ { "ErrorEquals": [dice.pick(&["E0", "States.ALL"])], "MaxAttempts": dice.roll(3) } ]),
                );
            }
            if dice.roll(3) == 0 {
                put(
                    "Catch",
                    json!([ { "ErrorEquals": [dice.pick(&["E1", "States.ALL"])], "Next": name(dice.roll(count)) } ]),
                );
            }
        }
        states.insert(name(at), Value::Object(state));
    }
    json!({ "StartAt": name(0), "States": states })
}

/// How a task ends, from nothing but what it was called with.
fn outcome(arguments: &Value) -> Result<Value, Failure> {
    let mut dice = Dice(0);
    for byte in arguments.to_string().bytes() {
        dice.0 ^= u64::from(byte);
        dice.roll(2);
    }
    match dice.roll(4) {
        0 => Err(Failure::new(dice.pick(&["E0", "E1"]), "")),
        _ => Ok(json!(dice.roll(100))),
    }
}

struct Driver {
    connection: Connection,
    run: Run,
    now: i64,
    pending: VecDeque<Effect>,
    /// What workers have to report; they keep it whatever becomes of the engine.
    reports: VecDeque<(TaskRef, Result<Value, Failure>)>,
}

impl Driver {
    fn new(definition: &Arc<Definition>) -> Self {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(journal::SCHEMA).unwrap();
        let mut run = Self::fresh(definition);
        run.begin(0, 0);
        Self { connection, run, now: 0, pending: VecDeque::new(), reports: VecDeque::new() }
    }

    fn fresh(definition: &Arc<Definition>) -> Run {
        let facts = ExecutionFacts {
            arn: "arn".into(),
            name: "name".into(),
            role_arn: "role".into(),
            started_ms: 0,
            input: Payload::new(json!({ "a": "x".repeat(600) })),
            machine_arn: "machine".into(),
            machine_name: "machine".into(),
        };
        Run::new(1, facts, Arc::clone(definition), TokenKey::new(vec![1; 32]), "r".into())
    }

    fn write(&mut self) {
        let step = self.run.take_step();
        let tx = self.connection.transaction().unwrap();
        journal::apply(&tx, 1, &step.writes).unwrap();
        tx.commit().unwrap();
        self.pending.extend(step.effects);
    }

    fn die(&mut self) {
        let mut run = Self::fresh(&self.run.definition);
        run.load(&self.connection).unwrap();
        run.resume(self.now, 0);
        self.run = run;
        self.pending.clear();
    }

    /// One thing happens; `false` when nothing can any more.
    fn happen(&mut self) -> bool {
        if let Some(effect) = self.pending.pop_front() {
            if let Effect::Call { task, resource, arguments } = effect {
                let outcome = outcome(&arguments);
                if resource.pattern == Pattern::Callback {
                    self.reports.push_back((task, outcome));
                    self.run.called(task, Ok(json!({})), self.now);
                } else {
                    self.run.called(task, outcome, self.now);
                }
            }
            return true;
        }
        if let Some((task, outcome)) = self.reports.pop_front() {
            let callback = match outcome {
                Ok(value) => Callback::Success(Payload::new(value)),
                Err(failure) => Callback::Failure(failure),
            };
            let _ = self.run.callback(task, callback, self.now);
            return true;
        }
        let Some(deadline) = self.run.next_deadline_ms() else { return false };
        self.now = self.now.max(deadline);
        self.run.tick(self.now);
        true
    }

    /// Runs to the end, dying whenever `dies` says so; gives the end.
    fn end(mut self, mut dies: impl FnMut() -> bool) -> (Value, Value, u64) {
        let mut end = None;
        for _ in 0..200_000 {
            // As the actor does before each step.
            self.run.tick(self.now);
            for write in &self.run.step.writes {
                if let Write::Ended { status, error, output, .. } = write {
                    let output = match output {
                        Some(Cell::Text(payload)) => payload.value().clone(),
                        Some(Cell::Row(_)) => json!("large"),
                        None => Value::Null,
                    };
                    end = Some((json!([status, error]), output));
                }
            }
            self.write();
            if self.run.ended().is_some() {
                break;
            }
            if dies() {
                self.die();
                continue;
            }
            assert!(self.happen(), "it waits for nothing and has not ended");
        }
        let (status, output) = end.expect("it ends");
        for table in ["sfn_frame", "sfn_variable", "sfn_items", "sfn_result"] {
            let rows: i64 = self
                .connection
                .query_row(&format!("select count(*) from {table}"), [], |row| row.get(0))
                .unwrap();
            assert_eq!(rows, 0, "{table}");
        }
        let mut events =
            self.connection.prepare("select id, previous, type from sfn_event order by id").unwrap();
        let mut events = events.query([]).unwrap();
        let mut count = 0;
        while let Some(event) = events.next().unwrap() {
            count += 1;
            assert_eq!(journal::number(event.get(0).unwrap()), count, "the history has a gap");
            assert!(event.get::<_, u64>(1).unwrap() < count, "an event follows a later one");
        }
        assert!(count <= limits::HISTORY_EVENTS);
        (status, output, count)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_machines_end_the_same_whenever_the_engine_dies(seed: u64, deaths in 2..9_u64) {
        let mut definition = group(&mut Dice(seed), "s", 2);
        definition["QueryLanguage"] = json!("JSONata");
        // States that a random Catch or Choice leaves unreachable, or loops without an end, are refused: fine.
        let Ok(definition) = Definition::read(&definition.to_string()) else { return Ok(()) };
        let definition = Arc::new(definition);
        let (status, output, count) = Driver::new(&definition).end(|| false);
        // A loop runs until its history is full; dying in it would only take long.
        if count < 2_000 {
            let mut dice = Dice(seed ^ deaths);
            let again = Driver::new(&definition).end(|| dice.roll(deaths) == 0);
            prop_assert_eq!((status, output), (again.0, again.1));
        }
    }
}

fn begun(states: Value) -> Run {
    let definition = json!({ "QueryLanguage": "JSONata", "StartAt": "A", "States": states });
    let mut run = Driver::fresh(&Arc::new(Definition::read(&definition.to_string()).unwrap()));
    run.begin(0, 0);
    run
}

fn calls(step: &Step) -> Vec<TaskRef> {
    let call = |effect: &Effect| match effect {
        Effect::Call { task, .. } => Some(*task),
        _ => None,
    };
    step.effects.iter().filter_map(call).collect()
}

#[test]
fn a_task_that_is_over_within_its_step_is_not_called() {
    let resource = "arn:aws:states:::aws-sdk:ssm:sendCommand.waitForTaskToken";
    let mut run = begun(json!({
        "A": { "Type": "Task", "Resource": resource, "Next": "B" },
        "B": { "Type": "Task", "Resource": resource, "End": true }
    }));
    let first = calls(&run.take_step());
    assert_eq!(first.len(), 1);
    run.callback(first[0], Callback::Success(Payload::new(json!(1))), 1).unwrap();
    run.stop(Failure::default(), 1);
    assert!(calls(&run.take_step()).is_empty());
}

#[test]
fn a_catcher_that_leaves_with_too_much_is_not_its_own_catcher() {
    let large = "{% $pad('', 300000, 'x') %}";
    let mut run = begun(json!({
        "A": { "Type": "Task", "Resource": "arn:aws:states:::aws-sdk:ssm:getParameter", "Output": large, "End": true,
               "Catch": [ { "ErrorEquals": ["States.DataLimitExceeded"], "Output": large, "Next": "B" } ] },
        "B": { "Type": "Succeed" }
    }));
    let task = calls(&run.take_step())[0];
    run.called(task, Ok(json!(1)), 1);
    assert_eq!(run.ended().unwrap().status, "FAILED");
}

#[test]
fn a_branch_that_never_began_leaves_no_events() {
    let mut run = begun(json!({
        "A": { "Type": "Parallel", "End": true, "Catch": [ { "ErrorEquals": ["States.ALL"], "Next": "W" } ],
               "Branches": [ { "StartAt": "F", "States": { "F": { "Type": "Fail" } } },
                             { "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } } } ] },
        "W": { "Type": "Wait", "Seconds": 5, "End": true }
    }));
    let step = run.take_step();
    let entered =
        |write: &Write| matches!(write, Write::Event { event, .. } if event.kind == "PassStateEntered");
    assert!(!step.writes.iter().any(entered));
}
