//! The process dies at every instant at which the disk differs, and the execution ends the same.
//!
//! One run is watched: after each transaction the database is copied, as `kill -9` at that moment would leave it.
//! Then every copy is opened by a new process, which must bring the execution to the same end, call no task again
//! whose result was on disk, and start no nested execution twice.

use std::collections::BTreeSet;

use super::*;

/// A host that, like the agent, knows what it was told by token: a job runs once, however often it is sent.
struct Host {
    world: Mutex<std::sync::Weak<StepFunctions>>,
    calls: Mutex<Vec<(String, String)>>,
    /// It reports only once the answer to its call is recorded, which makes for more instants.
    patient: bool,
}

/// How a job ends depends on nothing but its name and its retry.
fn outcome(job: &str, retry: u64) -> (&'static str, Value) {
    if job.starts_with("flaky") && retry == 0 || job.starts_with("bad") {
        ("SendTaskFailure", json!({ "error": "Rsql.ExitCode", "cause": job }))
    } else {
        ("SendTaskSuccess", json!({ "output": json!(job).to_string() }))
    }
}

impl Service for Host {
    fn target_prefix(&self) -> &'static str {
        "AmazonSSM"
    }

    fn sdk_name(&self) -> &'static str {
        "ssm"
    }

    fn error_prefix(&self) -> &'static str {
        "Ssm"
    }

    fn call<'a>(&'a self, _action: &'a str, body: Value) -> Reply<'a> {
        let (token, job) = (token_in(&body), body["Job"].as_str().unwrap().to_owned());
        self.calls.lock().unwrap().push((token.clone(), job.clone()));
        let (world, patient) = (self.world.lock().unwrap().upgrade().unwrap(), self.patient);
        let (action, mut report) = outcome(&job, body["Retry"].as_u64().unwrap());
        report["taskToken"] = json!(token);
        Box::pin(async move {
            // Closed already is fine: a duplicate.
            tokio::spawn(async move {
                if patient {
                    submitted(&world, &token).await;
                }
                world.call(action, report).await
            });
            Ok(json!({}))
        })
    }
}

fn job(extra: Value) -> Value {
    let mut task = callback_task();
    task["Arguments"] = json!({
        "Token": "{% $states.context.Task.Token %}", "Job": "{% $states.input %}",
        "Retry": "{% $states.context.State.RetryCount %}"
    });
    task["Retry"] = json!([ { "ErrorEquals": ["Rsql.ExitCode"], "MaxAttempts": 1 } ]);
    for (name, value) in extra.as_object().unwrap() {
        task[name] = value.clone();
    }
    task
}

fn definition(child: &str) -> Value {
    machine(
        "P",
        json!({
            "P": { "Type": "Pass", "Assign": { "jobs": ["a", "flaky1", "b", "flaky2", "c"], "seen": 0 }, "Next": "M" },
            "M": { "Type": "Map", "Items": "{% $jobs %}", "MaxConcurrency": 2,
                   "ItemProcessor": { "StartAt": "J", "States": { "J": job(json!({ "Next": "D", "End": false })),
                       "D": { "Type": "Pass", "Assign": { "own": "{% $states.input & '!' %}" }, "Next": "O" },
                       "O": { "Type": "Pass", "Output": "{% $own %}", "End": true } } },
                   "Assign": { "seen": "{% $count($states.result) %}" }, "Next": "W" },
            "W": { "Type": "Wait", "Seconds": 60, "Next": "B" },
            "B": { "Type": "Parallel", "Branches": [
                { "StartAt": "N", "States": { "N": { "Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
                    "Arguments": { "StateMachineArn": child, "Input": "\"nested\"" }, "Output": "{% $states.result.Output %}", "End": true } } },
                { "StartAt": "X", "States": { "X": { "Type": "Map", "Items": ["bad", "d", "e"], "MaxConcurrency": 1, "ToleratedFailureCount": 1,
                    "ItemProcessor": { "StartAt": "K", "States": { "K": job(json!({})) } }, "End": true } } } ],
                "Output": { "seen": "{% $seen %}", "mapped": "{% $states.input %}", "branches": "{% $states.result %}" },
                "End": true }
        }),
    )
}

struct Watched {
    world: World,
    host: Arc<Host>,
}

async fn open(
    dir: &Arc<tempfile::TempDir>,
    database: &Path,
    patient: bool,
    pictures: Option<std::sync::mpsc::Sender<std::path::PathBuf>>,
) -> Watched {
    let mut number = 0;
    let folder = dir.path().to_owned();
    let store = Store::open_observed(database, move |connection| {
        if let Some(pictures) = &pictures {
            number += 1;
            let path = folder.join(format!("{number}.db"));
            let mut target = rusqlite::Connection::open(&path).unwrap();
            let backup = rusqlite::backup::Backup::new(connection, &mut target).unwrap();
            backup.run_to_completion(10_000, Duration::ZERO, None).unwrap();
            let _ = pictures.send(path);
        }
    })
    .unwrap();
    let services = Services::default();
    let sfn =
        StepFunctions::open_with(store.clone(), Place::default(), services.clone(), TestTime::jumping())
            .await
            .unwrap();
    let host = Arc::new(Host { world: Mutex::new(Arc::downgrade(&sfn)), calls: Mutex::default(), patient });
    services.register(host.clone());
    services.register(sfn.clone());
    Watched { world: World { sfn, store, dir: dir.clone() }, host }
}

/// Jobs whose result an event of any execution holds.
async fn finished(world: &World) -> BTreeSet<String> {
    world
        .store
        .read(|tx| {
            let mut rows = tx.prepare(
                "select payload from sfn_event where type = 'TaskSucceeded' and details like '%sendCommand%'",
            )?;
            rows.query_map([], |row| row.get::<_, String>(0))?.collect()
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn an_execution_survives_a_death_after_any_commit() {
    assert!(survive(false).await > 8, "too few instants were seen");
}

#[tokio::test]
async fn an_execution_with_a_slow_host_survives_a_death_after_any_commit() {
    assert!(survive(true).await > 15, "too few instants were seen");
}

/// Dies at every instant; gives how many there were.
async fn survive(patient: bool) -> usize {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let (pictures, taken) = std::sync::mpsc::channel();
    let watched = open(&dir, &dir.path().join("local.db"), patient, Some(pictures)).await;
    let world = &watched.world;
    let child = world.create("child", &machine("J", json!({ "J": job(json!({})) }))).await;
    let parent = world.create("parent", &definition(&child)).await;
    let execution = world.start(&parent, "x", json!({})).await;
    let expected = world.end(&execution).await;
    assert_eq!(expected["status"], "SUCCEEDED", "{expected:#}");
    let mapped = json!(["a!", "flaky1!", "b!", "flaky2!", "c!"]);
    assert_eq!(
        expected["output"],
        json!({ "seen": 5, "mapped": mapped, "branches": ["nested", ["d", "e"]] }).to_string()
    );
    let reported = watched.host.calls.lock().unwrap().clone();
    world.sfn.shut_down();

    let mut tried = 0;
    for picture in taken.try_iter() {
        let again = open(&dir, &picture, false, None).await;
        let described = again.world.call("DescribeExecution", json!({ "executionArn": execution })).await;
        // Not started yet at that instant: whoever started it was not told otherwise.
        if described.is_err() {
            continue;
        }
        tried += 1;
        let done = finished(&again.world).await;
        again.world.sfn.resume().await.unwrap();
        // The host's outbox: what it had to report when the engine died, it reports again.
        for (token, job) in &reported {
            let sfn = again.world.sfn.clone();
            let retried =
                reported.iter().filter(|(_, other)| other == job).position(|(other, _)| other == token);
            let (action, mut report) = outcome(job, retried.unwrap() as u64);
            report["taskToken"] = json!(token);
            tokio::spawn(async move { sfn.call(action, report).await });
        }
        let end = again.world.end(&execution).await;
        for member in ["status", "output", "error", "cause"] {
            assert_eq!(end[member], expected[member], "{}", picture.display());
        }
        let called: BTreeSet<String> =
            again.host.calls.lock().unwrap().iter().map(|(_, job)| job.clone()).collect();
        assert!(called.is_disjoint(&done), "{}: {called:?} were done: {done:?}", picture.display());
        let children = again.world.call("ListExecutions", json!({ "stateMachineArn": child })).await.unwrap();
        assert_eq!(children["executions"].as_array().unwrap().len(), 1, "{}", picture.display());
        let history = again.world.history(&execution).await;
        for (at, event) in history.iter().enumerate() {
            assert_eq!(event["id"], at + 1, "the history has no gaps: {}", picture.display());
        }
        again.world.sfn.shut_down();
    }
    tried
}

/// Until executions are taken up, their workers are asked to come again rather than told that all is over.
#[tokio::test]
async fn callbacks_before_resume_are_put_off() {
    let ssm = Scripted::new("ssm", vec![Act::Answer(json!({}))]);
    let time = TestTime::standing();
    let world = World::new(time.clone(), std::slice::from_ref(&ssm)).await;
    let machine = world.create("m", &machine("A", json!({ "A": callback_task() }))).await;
    let execution = world.start(&machine, "x", json!({})).await;
    world.reach(&execution, "TaskSubmitted", 1).await;
    world.sfn.shut_down();
    let again =
        World::open(world.dir.clone(), &world.dir.path().join("local.db"), time, std::slice::from_ref(&ssm))
            .await;
    let success = json!({ "taskToken": token_in(&ssm.calls()[0].1), "output": "1" });
    let error = again.call("SendTaskSuccess", success.clone()).await.unwrap_err();
    assert_eq!((error.status, error.code.as_str()), (500, "InternalServerError"));
    again.sfn.resume().await.unwrap();
    again.call("SendTaskSuccess", success).await.unwrap();
    assert_eq!(again.end(&execution).await["status"], "SUCCEEDED");
}

/// Deadlines are instants, not durations: they pass while nobody runs.
#[tokio::test]
async fn timeouts_pass_while_the_process_is_down() {
    let ssm = Scripted::new("ssm", vec![Act::Answer(json!({}))]);
    let time = TestTime::standing();
    let world = World::new(time.clone(), std::slice::from_ref(&ssm)).await;
    let mut task = callback_task();
    task["TimeoutSeconds"] = json!(100);
    task["HeartbeatSeconds"] = json!(10);
    let machine = world.create("m", &machine("A", json!({ "A": task }))).await;
    let execution = world.start(&machine, "x", json!({})).await;
    world.reach(&execution, "TaskSubmitted", 1).await;
    world.sfn.shut_down();
    time.advance(50);
    let database = world.dir.path().join("local.db");
    let again = World::open(world.dir.clone(), &database, time.clone(), std::slice::from_ref(&ssm)).await;
    again.sfn.resume().await.unwrap();
    let beat = json!({ "taskToken": token_in(&ssm.calls()[0].1) });
    again.call("SendTaskHeartbeat", beat.clone()).await.expect("a restart grants a whole heartbeat interval");
    again.sfn.shut_down();
    time.advance(60);
    let last = World::open(world.dir.clone(), &database, time, &[ssm]).await;
    last.sfn.resume().await.unwrap();
    assert_eq!(last.end(&execution).await["error"], "States.Timeout");
}

/// A client may hang up at any moment; what was written by then runs.
#[tokio::test]
async fn an_execution_whose_starter_went_away_runs() {
    let world = World::new(TestTime::jumping(), &[]).await;
    let machine =
        world.create("m", &machine("A", json!({ "A": { "Type": "Wait", "Seconds": 5, "End": true } }))).await;
    let mut start =
        Box::pin(world.call("StartExecution", json!({ "stateMachineArn": machine, "name": "x" })));
    let written = |tx: &rusqlite::Transaction<'_>| {
        tx.query_row("select arn from sfn_execution", [], |row| row.get::<_, String>(0))
    };
    let execution = loop {
        tokio::select! {
            biased;
            _ = &mut start => {}
            () = std::future::ready(()) => {}
        }
        if let Ok(execution) = world.store.read(written).await {
            break execution;
        }
    };
    drop(start);
    assert_eq!(world.end(&execution).await["status"], "SUCCEEDED");
}

/// What is over by the time the process is back is not called again.
#[tokio::test]
async fn a_call_whose_time_is_over_is_not_repeated() {
    let time = TestTime::standing();
    let ssm = Scripted::new("ssm", vec![Act::Hang]);
    let world = World::new(time.clone(), std::slice::from_ref(&ssm)).await;
    let mut task = callback_task();
    task["TimeoutSeconds"] = json!(100);
    let machine = world.create("m", &machine("A", json!({ "A": task }))).await;
    let execution = world.start(&machine, "x", json!({})).await;
    world.sfn.shut_down();
    time.advance(200);
    let database = world.dir.path().join("local.db");
    let late = Scripted::new("ssm", vec![Act::Answer(json!({}))]);
    let again = World::open(world.dir.clone(), &database, time, std::slice::from_ref(&late)).await;
    again.sfn.resume().await.unwrap();
    assert_eq!(again.end(&execution).await["error"], "States.Timeout");
    assert!(late.calls().is_empty());
}

/// One execution that cannot be read keeps no other from being taken up.
#[tokio::test]
async fn an_unreadable_execution_is_left_alone() {
    let time = TestTime::standing();
    let world = World::new(time.clone(), &[]).await;
    let machine =
        world.create("m", &machine("A", json!({ "A": { "Type": "Wait", "Seconds": 5, "End": true } }))).await;
    let broken = world.start(&machine, "broken", json!({})).await;
    let whole = world.start(&machine, "whole", json!({})).await;
    world.sfn.shut_down();
    world
        .store
        .durable(move |tx| tx.execute("update sfn_execution set input = '{' where arn = ?1", [broken]))
        .await
        .unwrap();
    let again = World::open(world.dir.clone(), &world.dir.path().join("local.db"), time.clone(), &[]).await;
    assert_eq!(again.sfn.resume().await.unwrap(), 1);
    time.advance(5);
    assert_eq!(again.end(&whole).await["status"], "SUCCEEDED");
}
