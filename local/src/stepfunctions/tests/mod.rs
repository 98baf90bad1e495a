//! What the tests of Step Functions share: a world with services that follow a script and a time that can be moved.

mod api;
mod callbacks;
mod machines;
mod nested;
mod recovery;
mod semantics;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Sleep, StepFunctions, Time};
use crate::asl::journal;
use crate::place::Place;
use crate::registry::Services;
use crate::service::{AwsError, Reply, Service};
use crate::store::Store;

/// 2025-01-31T02:00:00Z.
const START: i64 = 1_738_288_800_000;

/// Time that stands still until it is moved, or jumps to whatever an idle execution waits for.
struct TestTime {
    /// Now, and how much of it has passed unseen.
    now: watch::Sender<(i64, i64)>,
    jumps: bool,
}

impl TestTime {
    fn standing() -> Arc<Self> {
        Arc::new(Self { now: watch::channel((START, 0)).0, jumps: false })
    }

    fn jumping() -> Arc<Self> {
        Arc::new(Self { now: watch::channel((START, 0)).0, jumps: true })
    }

    fn advance(&self, seconds: i64) {
        self.now.send_modify(|(now, _)| *now += seconds * 1000);
    }

    /// The clock is set, the machine slept, or the process stood still.
    fn step(&self, seconds: i64) {
        self.now.send_modify(|(now, unseen)| {
            *now += seconds * 1000;
            *unseen += seconds * 1000;
        });
    }
}

impl Time for TestTime {
    fn now(&self) -> i64 {
        self.now.borrow().0
    }

    fn unseen(&self) -> i64 {
        self.now.borrow().1
    }

    fn sleep_until(&self, deadline: i64, idle: bool, unseen: i64) -> Sleep {
        if idle && self.jumps {
            self.now.send_modify(|(now, _)| *now = deadline.max(*now));
        }
        let mut now = self.now.subscribe();
        Box::pin(async move { drop(now.wait_for(|now| now.0 >= deadline || now.1 != unseen).await) })
    }
}

/// What a scripted service does with a call.
#[derive(Clone)]
enum Act {
    /// Answers with this.
    Answer(Value),
    /// Refuses.
    Refuse(AwsError),
    /// Answers, and reports success by callback.
    Succeed(Value),
    /// Answers, and reports failure by callback.
    Fail(&'static str, &'static str),
    /// Never answers.
    Hang,
}

/// A service that follows a script, then repeats its last act.
struct Scripted {
    name: &'static str,
    script: Mutex<VecDeque<Act>>,
    calls: Mutex<Vec<(String, Value)>>,
    world: Mutex<std::sync::Weak<StepFunctions>>,
}

impl Scripted {
    fn new(name: &'static str, script: Vec<Act>) -> Arc<Self> {
        Arc::new(Self {
            name,
            script: Mutex::new(script.into()),
            calls: Mutex::default(),
            world: Mutex::default(),
        })
    }

    fn calls(&self) -> Vec<(String, Value)> {
        self.calls.lock().unwrap().clone()
    }
}

impl Service for Scripted {
    fn target_prefix(&self) -> &'static str {
        self.name
    }

    fn sdk_name(&self) -> &'static str {
        self.name
    }

    fn error_prefix(&self) -> &'static str {
        match self.name {
            "ssm" => "Ssm",
            "dynamodb" => "DynamoDb",
            _ => "Other",
        }
    }

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        self.calls.lock().unwrap().push((action.to_owned(), body.clone()));
        let act = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        let world = self.world.lock().unwrap().upgrade();
        Box::pin(async move {
            let (action, report) = match act.unwrap_or(Act::Answer(json!({}))) {
                Act::Answer(answer) => return Ok(answer),
                Act::Refuse(error) => return Err(error),
                Act::Hang => std::future::pending().await,
                Act::Succeed(output) => ("SendTaskSuccess", json!({ "output": output.to_string() })),
                Act::Fail(error, cause) => ("SendTaskFailure", json!({ "error": error, "cause": cause })),
            };
            let mut report = report;
            report["taskToken"] = json!(token_in(&body));
            let world = world.unwrap();
            tokio::spawn(async move {
                submitted(&world, report["taskToken"].as_str().unwrap()).await;
                world.call(action, report).await.unwrap();
            });
            Ok(json!({ "Command": { "CommandId": "c" } }))
        })
    }
}

/// Waits until the answer to a task's call is recorded, as a worker elsewhere could hardly be quicker.
async fn submitted(world: &StepFunctions, token: &str) {
    let task = world.engine.key.read(token).unwrap();
    let frame = journal::key(task.execution, task.frame.into());
    let recorded = move |tx: &rusqlite::Transaction<'_>| {
        tx.query_row("select body like '%\"submitted\":true%' from sfn_frame where id = ?1", [frame], |row| {
            row.get::<_, bool>(0)
        })
    };
    while !world.store().read(recorded).await.unwrap() {
        tokio::task::yield_now().await;
    }
}

/// The token a call carries.
fn token_in(body: &Value) -> String {
    body["Token"].as_str().expect("the test's tasks pass their token as Token").to_owned()
}

struct World {
    sfn: Arc<StepFunctions>,
    store: Store,
    /// Kept, because the database lies in it.
    dir: Arc<tempfile::TempDir>,
}

impl World {
    async fn new(time: Arc<TestTime>, services: &[Arc<Scripted>]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let world = Self::open(dir.clone(), &dir.path().join("local.db"), time, services).await;
        world.sfn.resume().await.unwrap();
        world
    }

    /// Opens what lies at `database`, without taking anything up.
    async fn open(
        dir: Arc<tempfile::TempDir>,
        database: &Path,
        time: Arc<TestTime>,
        services: &[Arc<Scripted>],
    ) -> Self {
        let store = Store::open(database).unwrap();
        let registry = Services::default();
        let sfn =
            StepFunctions::open_with(store.clone(), Place::default(), registry.clone(), time).await.unwrap();
        for service in services {
            *service.world.lock().unwrap() = Arc::downgrade(&sfn);
            registry.register(service.clone());
        }
        registry.register(sfn.clone());
        Self { sfn, store, dir }
    }

    /// Copies the database as a crash would leave it: what is committed, nothing else.
    async fn copy(&self, to: &Path) {
        let to = to.to_str().unwrap().to_owned();
        // A backup within the store's own thread sees exactly the transactions it has committed.
        self.store
            .read(move |tx| {
                let mut target = rusqlite::Connection::open(&to)?;
                rusqlite::backup::Backup::new(tx, &mut target)?.run_to_completion(1_000, Duration::ZERO, None)
            })
            .await
            .unwrap();
    }

    async fn call(&self, action: &str, body: Value) -> Result<Value, AwsError> {
        self.sfn.call(action, body).await
    }

    async fn create(&self, name: &str, definition: &Value) -> String {
        let request =
            json!({ "name": name, "definition": definition.to_string(), "roleArn": "arn:aws:iam::0:role/r" });
        let answer = self.call("CreateStateMachine", request).await.unwrap();
        answer["stateMachineArn"].as_str().unwrap().to_owned()
    }

    async fn start(&self, machine: &str, name: &str, input: Value) -> String {
        let request = json!({ "stateMachineArn": machine, "name": name, "input": input.to_string() });
        let answer = self.call("StartExecution", request).await.unwrap();
        answer["executionArn"].as_str().unwrap().to_owned()
    }

    async fn describe(&self, execution: &str) -> Value {
        self.call("DescribeExecution", json!({ "executionArn": execution })).await.unwrap()
    }

    /// Waits for the end, and describes it.
    async fn end(&self, execution: &str) -> Value {
        let mut changes = self.sfn.subscribe();
        let end = async {
            loop {
                let description = self.describe(execution).await;
                if description["status"] != "RUNNING" {
                    return description;
                }
                changes.recv().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(90), end).await {
            Ok(description) => description,
            Err(_) => panic!("did not end: {}", self.all().await),
        }
    }

    /// Every execution, for when something went wrong.
    async fn all(&self) -> String {
        let read = |tx: &rusqlite::Transaction<'_>| {
            let mut rows = tx.prepare(
                "select e.name, e.status, v.id & 16777215, v.type, v.details from sfn_execution e
                 join sfn_event v on v.id >> 24 = e.id order by v.id",
            )?;
            let mut text = String::new();
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let (name, status, id): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let (kind, details): (String, String) = (row.get(3)?, row.get(4)?);
                text += &format!("\n{name} {status} {id} {kind} {details}");
            }
            Ok(text)
        };
        self.store.read(read).await.unwrap()
    }

    async fn history(&self, execution: &str) -> Vec<Value> {
        let request = json!({ "executionArn": execution, "maxResults": 1000 });
        let answer = self.call("GetExecutionHistory", request).await.unwrap();
        answer["events"].as_array().unwrap().clone()
    }

    /// Waits until the history has `count` events of `kind`.
    async fn reach(&self, execution: &str, kind: &str, count: usize) {
        let reached = async {
            loop {
                let history = self.history(execution).await;
                if history.iter().filter(|event| event["type"] == kind).count() >= count {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(90), reached).await.is_err() {
            panic!("no {count} {kind}: {:#?}", self.history(execution).await);
        }
    }

    /// Runs a definition to its end, and tells of it in text.
    async fn tell(&self, definition: &Value, input: Value) -> String {
        let machine = self.create(&format!("m{}", uuid::Uuid::new_v4()), definition).await;
        let execution = self.start(&machine, "x", input).await;
        let end = self.end(&execution).await;
        tell(&end, &self.history(&execution).await)
    }
}

/// Request ids are random: they become a star.
fn without_uuids(text: &str) -> String {
    let is_uuid = |text: &str| text.len() == 36 && uuid::Uuid::try_parse(text).is_ok();
    let mut out = String::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        if text.get(at..at + 36).is_some_and(is_uuid) {
            out.push('*');
            at += 36;
        } else {
            out.push(next);
            at += next.len_utf8();
        }
    }
    out
}

/// An execution's end and events as people would note them down.
fn tell(end: &Value, history: &[Value]) -> String {
    let mut text = end["status"].as_str().unwrap().to_owned();
    for member in ["output", "error", "cause"] {
        if let Some(value) = end[member].as_str() {
            text += &format!(" {member}={value}");
        }
    }
    for event in history {
        text += &format!(
            "\n{:>3} < {:<2} {}",
            event["id"],
            event["previousEventId"],
            event["type"].as_str().unwrap()
        );
        let details = event.as_object().unwrap().iter().find(|(name, _)| name.ends_with("EventDetails"));
        for (name, value) in details.and_then(|(_, details)| details.as_object()).into_iter().flatten() {
            if name.ends_with("Details") || matches!(name.as_str(), "roleArn" | "region" | "resourceType") {
                continue;
            }
            match value {
                Value::String(value) => text += &format!(" {name}={value}"),
                value => text += &format!(" {name}={value}"),
            }
        }
    }
    text
}

/// A definition in JSONata.
fn machine(start_at: &str, states: Value) -> Value {
    json!({ "QueryLanguage": "JSONata", "StartAt": start_at, "States": states })
}

/// A callback task that ends the machine.
fn callback_task() -> Value {
    json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:ssm:sendCommand.waitForTaskToken",
        "Arguments": { "Token": "{% $states.context.Task.Token %}", "Job": "{% $states.input %}" },
        "End": true
    })
}
