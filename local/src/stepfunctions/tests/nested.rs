//! Executions within executions.

use super::*;

fn parent(child: &str, extra: Value) -> Value {
    let mut task = json!({
        "Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Arguments": { "StateMachineArn": child, "Input": "{% $states.input %}" },
        "End": true
    });
    for (name, value) in extra.as_object().unwrap() {
        task[name] = value.clone();
    }
    machine("Run", json!({ "Run": task }))
}

struct Family {
    world: World,
    ssm: Arc<Scripted>,
    parent: String,
    child: String,
}

async fn family(time: Arc<TestTime>, act: Act, extra: Value) -> Family {
    let ssm = Scripted::new("ssm", vec![act]);
    let world = World::new(time, std::slice::from_ref(&ssm)).await;
    let child = world.create("child", &machine("A", json!({ "A": callback_task() }))).await;
    let parent = world.create("parent", &parent(&child, extra)).await;
    Family { world, ssm, parent, child }
}

impl Family {
    async fn children(&self) -> Vec<Value> {
        let answer =
            self.world.call("ListExecutions", json!({ "stateMachineArn": self.child })).await.unwrap();
        answer["executions"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_childs_output_is_the_tasks_result() {
    let family = family(
        TestTime::standing(),
        Act::Succeed(json!({ "n": 1 })),
        json!({ "Output": "{% [$states.result.Status, $states.result.Output.n, $states.result.Input.a, $states.result.StartDate] %}" }),
    )
    .await;
    let execution = family.world.start(&family.parent, "x", json!({ "a": "b" })).await;
    let end = family.world.end(&execution).await;
    assert_eq!(end["output"], json!(["SUCCEEDED", 1, "b", START]).to_string());
    let history = family.world.history(&execution).await;
    let kinds: Vec<_> = history.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskStarted",
            "TaskSubmitted",
            "TaskSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded"
        ]
    );
}

#[tokio::test]
async fn a_childs_failure_is_described_in_the_cause() {
    let family = family(TestTime::standing(), Act::Fail("Rsql.ExitCode", "why"), json!({})).await;
    let mut definition = parent(&family.child, json!({}));
    definition["States"]["Run"]["Catch"] = json!([ { "ErrorEquals": ["States.TaskFailed"], "Next": "F",
        "Output": "{% $parse($states.errorOutput.Cause) %}" } ]);
    definition["States"]["F"] = json!({ "Type": "Pass", "Output": "{% [$states.input.Status, $states.input.Error, $states.input.Cause] %}", "End": true });
    let machine = family.world.create("parent2", &definition).await;
    let execution = family.world.start(&machine, "x", json!({})).await;
    assert_eq!(family.world.end(&execution).await["output"], r#"["FAILED","Rsql.ExitCode","why"]"#);
}

#[tokio::test]
async fn stopping_the_parent_stops_the_child() {
    let family = family(TestTime::standing(), Act::Answer(json!({})), json!({})).await;
    let execution = family.world.start(&family.parent, "x", json!({})).await;
    family.world.reach(&execution, "TaskSubmitted", 1).await;
    let child = family.children().await[0]["executionArn"].as_str().unwrap().to_owned();
    family.world.call("StopExecution", json!({ "executionArn": execution })).await.unwrap();
    assert_eq!(family.world.end(&child).await["status"], "ABORTED");
}

#[tokio::test]
async fn a_timed_out_task_stops_its_child() {
    let time = TestTime::standing();
    let family = family(time.clone(), Act::Answer(json!({})), json!({ "TimeoutSeconds": 60 })).await;
    let execution = family.world.start(&family.parent, "x", json!({})).await;
    family.world.reach(&execution, "TaskSubmitted", 1).await;
    let child = family.children().await[0]["executionArn"].as_str().unwrap().to_owned();
    time.advance(60);
    assert_eq!(family.world.end(&execution).await["error"], "States.Timeout");
    assert_eq!(family.world.end(&child).await["status"], "ABORTED");
}

/// After a restart, parents and children find each other again, and nothing is started twice.
#[tokio::test]
async fn a_child_is_found_again() {
    let time = TestTime::standing();
    let family = family(time.clone(), Act::Answer(json!({})), json!({})).await;
    let execution = family.world.start(&family.parent, "x", json!({})).await;
    family.world.reach(&execution, "TaskSubmitted", 1).await;
    let child = family.children().await[0]["executionArn"].as_str().unwrap().to_owned();
    family.world.reach(&child, "TaskSubmitted", 1).await;

    let copy = family.world.dir.path().join("copy.db");
    family.world.copy(&copy).await;
    let ssm = Scripted::new("ssm", vec![Act::Answer(json!({}))]);
    let again = World::open(family.world.dir.clone(), &copy, time, std::slice::from_ref(&ssm)).await;
    assert_eq!(again.sfn.resume().await.unwrap(), 2);
    let token = token_in(&family.ssm.calls()[0].1);
    again.call("SendTaskSuccess", json!({ "taskToken": token, "output": "7" })).await.unwrap();
    assert_eq!(again.end(&execution).await["status"], "SUCCEEDED");
    assert!(ssm.calls().is_empty(), "a task that waits for its callback is not called again");
    let all = again.call("ListExecutions", json!({ "stateMachineArn": family.child })).await.unwrap();
    assert_eq!(all["executions"].as_array().unwrap().len(), 1);
}

/// The process died between a parent's end and its child's: the child is stopped before it calls anything again.
#[tokio::test]
async fn an_orphan_calls_nothing() {
    let time = TestTime::standing();
    let family = family(time.clone(), Act::Hang, json!({ "TimeoutSeconds": 60 })).await;
    let execution = family.world.start(&family.parent, "x", json!({})).await;
    family.world.reach(&execution, "TaskSubmitted", 1).await;
    let child = family.children().await[0]["executionArn"].as_str().unwrap().to_owned();
    family.world.sfn.shut_down();
    time.advance(60);
    let ssm = Scripted::new("ssm", vec![Act::Hang]);
    let database = family.world.dir.path().join("local.db");
    let again = World::open(family.world.dir.clone(), &database, time, std::slice::from_ref(&ssm)).await;
    again.sfn.resume().await.unwrap();
    assert_eq!(again.end(&execution).await["error"], "States.Timeout");
    assert_eq!(again.end(&child).await["status"], "ABORTED");
    assert!(ssm.calls().is_empty());
}
