//! Tokens: who may close a task, when, and what everybody else is told.

use super::*;

async fn code(world: &World, action: &str, body: Value) -> String {
    match world.call(action, body).await {
        Ok(_) => "ok".into(),
        Err(error) => error.code,
    }
}

/// A world whose one execution waits for a callback, and the token it waits with.
async fn waiting(time: &Arc<TestTime>, extra: Value) -> (World, String, String) {
    let ssm = Scripted::new("ssm", vec![Act::Answer(json!({}))]);
    let world = World::new(time.clone(), std::slice::from_ref(&ssm)).await;
    let mut task = callback_task();
    for (name, value) in extra.as_object().unwrap() {
        task[name] = value.clone();
    }
    let machine = world.create("m", &machine("A", json!({ "A": task }))).await;
    let execution = world.start(&machine, "x", json!({})).await;
    world.reach(&execution, "TaskSubmitted", 1).await;
    let token = token_in(&ssm.calls()[0].1);
    (world, execution, token)
}

#[tokio::test]
async fn a_task_is_closed_once() {
    let (world, execution, token) = waiting(&TestTime::standing(), json!({})).await;
    assert_eq!(code(&world, "SendTaskHeartbeat", json!({ "taskToken": token })).await, "ok");
    for output in ["not json", ""] {
        let body = json!({ "taskToken": token, "output": output });
        assert_eq!(code(&world, "SendTaskSuccess", body).await, "InvalidOutput");
    }
    let success = json!({ "taskToken": token, "output": "{}" });
    assert_eq!(code(&world, "SendTaskSuccess", success.clone()).await, "ok");
    assert_eq!(code(&world, "SendTaskSuccess", success).await, "TaskTimedOut");
    assert_eq!(code(&world, "SendTaskFailure", json!({ "taskToken": token })).await, "TaskTimedOut");
    assert_eq!(code(&world, "SendTaskHeartbeat", json!({ "taskToken": token })).await, "TaskTimedOut");
    assert_eq!(world.end(&execution).await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn what_is_no_token_is_told_apart() {
    let (world, _, token) = waiting(&TestTime::standing(), json!({})).await;
    assert_eq!(code(&world, "SendTaskHeartbeat", json!({ "taskToken": "nonsense" })).await, "InvalidToken");
    let forged = format!("{}{}", &token[..token.len() - 6], "AAAAAA");
    assert_eq!(code(&world, "SendTaskHeartbeat", json!({ "taskToken": forged })).await, "TaskDoesNotExist");
    let long = json!({ "taskToken": token, "error": "e".repeat(257) });
    assert_eq!(code(&world, "SendTaskFailure", long).await, "ValidationException");
}

#[tokio::test]
async fn a_stopped_execution_closes_its_tokens() {
    let (world, execution, token) = waiting(&TestTime::standing(), json!({})).await;
    let stop = json!({ "executionArn": execution, "error": "Rsql.Cancelled", "cause": "by hand" });
    let stopped = world.call("StopExecution", stop.clone()).await.unwrap();
    assert_eq!(code(&world, "SendTaskHeartbeat", json!({ "taskToken": token })).await, "TaskTimedOut");
    let end = world.end(&execution).await;
    assert_eq!((&end["status"], &end["error"]), (&json!("ABORTED"), &json!("Rsql.Cancelled")));
    assert_eq!(end["stopDate"], stopped["stopDate"]);
    assert_eq!(world.call("StopExecution", stop).await.unwrap(), stopped, "stopping again changes nothing");
    let history = world.history(&execution).await;
    let kinds: Vec<_> = history.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["TaskStateAborted", "ExecutionAborted"]);
}

#[tokio::test]
async fn heartbeats_keep_a_task_alive_until_its_timeout() {
    let time = TestTime::standing();
    let (world, execution, token) =
        waiting(&time, json!({ "HeartbeatSeconds": 30, "TimeoutSeconds": 100 })).await;
    for _ in 0..4 {
        time.advance(24);
        assert_eq!(code(&world, "SendTaskHeartbeat", json!({ "taskToken": token })).await, "ok");
    }
    time.advance(5);
    let end = world.end(&execution).await;
    assert_eq!(end["error"], "States.Timeout");
    assert_eq!(code(&world, "SendTaskHeartbeat", json!({ "taskToken": token })).await, "TaskTimedOut");
}

#[tokio::test]
async fn a_missed_heartbeat_has_its_own_error() {
    let time = TestTime::standing();
    let (world, execution, _) =
        waiting(&time, json!({ "HeartbeatSeconds": 30, "TimeoutSeconds": 100 })).await;
    time.advance(30);
    assert_eq!(world.end(&execution).await["error"], "States.HeartbeatTimeout");
}

/// A clock that is set, a laptop that slept, a process that was stopped: no heartbeat could be heard meanwhile.
#[tokio::test]
async fn unseen_time_counts_towards_no_limit_of_a_task() {
    let time = TestTime::standing();
    let (world, execution, token) =
        waiting(&time, json!({ "HeartbeatSeconds": 30, "TimeoutSeconds": 100 })).await;
    // Seconds of the steady clock, and by how much the wall clock jumps before them.
    for (jump, seconds) in [(0, 25), (3600, 25), (-7200, 25), (90, 24)] {
        time.step(jump);
        time.advance(seconds);
        let beat = json!({ "taskToken": token });
        assert_eq!(code(&world, "SendTaskHeartbeat", beat).await, "ok", "after {jump} and {seconds}");
    }
    time.advance(1);
    assert_eq!(world.end(&execution).await["error"], "States.Timeout");
}

#[tokio::test]
async fn a_worker_that_is_silent_after_unseen_time_is_missed_an_interval_later() {
    let time = TestTime::standing();
    let (world, execution, token) = waiting(&time, json!({ "HeartbeatSeconds": 30 })).await;
    time.step(-3600);
    // Answered once the step is known.
    assert_eq!(code(&world, "SendTaskHeartbeat", json!({ "taskToken": token })).await, "ok");
    time.advance(30);
    assert_eq!(world.end(&execution).await["error"], "States.HeartbeatTimeout");
}

/// The outcome waited for the engine, and is heard before any deadline is looked at.
#[tokio::test]
async fn an_outcome_that_waited_through_unseen_time_is_taken() {
    let time = TestTime::standing();
    let (world, execution, token) =
        waiting(&time, json!({ "HeartbeatSeconds": 30, "TimeoutSeconds": 100 })).await;
    time.step(150);
    let success = json!({ "taskToken": token, "output": "{}" });
    assert_eq!(code(&world, "SendTaskSuccess", success).await, "ok");
    assert_eq!(world.end(&execution).await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn deadlines_that_unseen_time_moved_are_on_disk() {
    let time = TestTime::standing();
    let (world, execution, token) =
        waiting(&time, json!({ "HeartbeatSeconds": 30, "TimeoutSeconds": 100 })).await;
    time.step(3600);
    let beat = json!({ "taskToken": token });
    assert_eq!(code(&world, "SendTaskHeartbeat", beat.clone()).await, "ok");
    world.sfn.shut_down();
    let database = world.dir.path().join("local.db");
    let again = World::open(world.dir.clone(), &database, time.clone(), &[]).await;
    again.sfn.resume().await.unwrap();
    assert_eq!(code(&again, "SendTaskHeartbeat", beat).await, "ok");
    time.advance(100);
    let error = again.end(&execution).await["error"].clone();
    assert!(error == "States.Timeout" || error == "States.HeartbeatTimeout", "{error}");
}

#[tokio::test]
async fn unseen_time_moves_lengths_of_time_and_no_times_of_day() {
    let time = TestTime::standing();
    let world = World::new(time.clone(), &[]).await;
    let mut definition = machine(
        "P",
        json!({ "P": { "Type": "Parallel", "End": true, "Branches": [
            { "StartAt": "S", "States": { "S": { "Type": "Wait", "Seconds": 60, "End": true } } },
            { "StartAt": "T", "States": { "T": { "Type": "Wait", "Timestamp": "2025-01-31T02:10:00Z", "End": true } } },
        ] } }),
    );
    definition["TimeoutSeconds"] = json!(90);
    let machine = world.create("m", &definition).await;
    let execution = world.start(&machine, "x", json!({})).await;
    world.reach(&execution, "WaitStateEntered", 2).await;
    time.step(3600);
    world.reach(&execution, "WaitStateExited", 1).await;
    let exited = world.history(&execution).await;
    let exited: Vec<&Value> = exited.iter().filter(|event| event["type"] == "WaitStateExited").collect();
    assert_eq!(exited[0]["stateExitedEventDetails"]["name"], "T");
    time.advance(60);
    assert_eq!(world.end(&execution).await["status"], "SUCCEEDED");
}

/// A worker may report before the call that told it is answered.
#[tokio::test]
async fn a_callback_may_overtake_the_call() {
    let ssm = Scripted::new("ssm", vec![Act::Hang]);
    let world = World::new(TestTime::standing(), std::slice::from_ref(&ssm)).await;
    let machine = world.create("m", &machine("A", json!({ "A": callback_task() }))).await;
    let execution = world.start(&machine, "x", json!({})).await;
    while ssm.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    let token = token_in(&ssm.calls()[0].1);
    assert_eq!(code(&world, "SendTaskSuccess", json!({ "taskToken": token, "output": "1" })).await, "ok");
    let end = world.end(&execution).await;
    insta::assert_snapshot!(tell(&end, &world.history(&execution).await));
}

/// Wherever an expression puts the token, and whatever it makes of it, the history does not have it.
#[tokio::test]
async fn no_token_is_ever_recorded() {
    let ssm = Scripted::new("ssm", vec![Act::Answer(json!({}))]);
    let world = World::new(TestTime::standing(), std::slice::from_ref(&ssm)).await;
    let token = "$states.context.Task.Token";
    let mut task = callback_task();
    task["Arguments"] = json!({
        "Token": format!("{{% {token} %}}"),
        "Encoded": format!("{{% $base64encode($string({{'t': {token}}})) %}}"),
        "Halves": [format!("{{% $substring({token}, 0, 40) %}}"), format!("{{% $substring({token}, 40) %}}")],
        "Url": format!("{{% $encodeUrlComponent('?t=' & {token}) %}}"),
        "Hash": format!("{{% $hash({token}, 'SHA-256') %}}"),
    });
    let fails = json!({
        "Type": "Task", "Resource": "arn:aws:states:::aws-sdk:ssm:sendCommand.waitForTaskToken", "End": true,
        "Arguments": { "Bad": format!("{{% $number({token}) %}}") }
    });
    let definition = machine(
        "P",
        json!({ "P": { "Type": "Parallel", "End": true, "Branches": [
            { "StartAt": "A", "States": { "A": task } },
            { "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 9, "Next": "F" }, "F": fails } },
        ] } }),
    );
    let machine = world.create("m", &definition).await;
    let execution = world.start(&machine, "x", json!({})).await;
    world.reach(&execution, "TaskSubmitted", 1).await;
    let arguments = ssm.calls()[0].1.clone();
    let secrets: Vec<String> = ["Token", "Encoded", "Url", "Hash"]
        .iter()
        .map(|name| arguments[name].as_str().unwrap().to_owned())
        .chain(arguments["Halves"].as_array().unwrap().iter().map(|half| half.as_str().unwrap().to_owned()))
        .collect();
    let stop = json!({ "executionArn": execution });
    world.call("StopExecution", stop).await.unwrap();
    let told = format!("{}{}", json!(world.history(&execution).await), world.describe(&execution).await);
    for secret in secrets {
        assert!(!told.contains(&secret), "{secret} in {told}");
    }
}
