//! The actions around running: machines, names, listings, pages, tags.

use super::*;

async fn world() -> World {
    World::new(TestTime::jumping(), &[]).await
}

fn trivial() -> Value {
    machine("A", json!({ "A": { "Type": "Succeed" } }))
}

async fn refusal(world: &World, action: &str, body: Value) -> String {
    let error = world.call(action, body).await.unwrap_err();
    format!("{}: {}", error.code, error.message)
}

#[tokio::test]
async fn creating_the_same_machine_again_is_the_same_machine() {
    let world = world().await;
    let arn = world.create("m", &trivial()).await;
    assert_eq!(arn, "arn:aws:states:us-east-1:000000000000:stateMachine:m");
    assert_eq!(world.create("m", &trivial()).await, arn);
    let other = json!({ "name": "m", "definition": machine("B", json!({ "B": { "Type": "Fail" } })).to_string(), "roleArn": "r" });
    assert_eq!(
        refusal(&world, "CreateStateMachine", other).await,
        format!("StateMachineAlreadyExists: State Machine Already Exists: '{arn}'")
    );
}

#[tokio::test]
async fn refusals_have_the_services_names() {
    let world = world().await;
    let arn = world.create("m", &trivial()).await;
    let mut told = String::new();
    for (action, body) in [
        ("CreateStateMachine", json!({ "name": "a b", "definition": "{}", "roleArn": "r" })),
        ("CreateStateMachine", json!({ "name": "x", "definition": "{}", "roleArn": "r" })),
        ("CreateStateMachine", json!({ "name": "x", "definition": "{", "roleArn": "r" })),
        (
            "CreateStateMachine",
            json!({ "name": "x", "definition": trivial().to_string(), "roleArn": "r", "type": "EXPRESS" }),
        ),
        ("CreateStateMachine", json!({ "definition": "{}" })),
        (
            "CreateStateMachine",
            json!({ "name": "x", "roleArn": "r", "definition": machine("A", json!({ "A": callback_task() })).to_string() }),
        ),
        ("UpdateStateMachine", json!({ "stateMachineArn": arn })),
        ("UpdateStateMachine", json!({ "stateMachineArn": format!("{arn}x"), "roleArn": "r" })),
        ("DescribeStateMachine", json!({ "stateMachineArn": format!("{arn}x") })),
        ("DescribeStateMachine", json!({ "stateMachineArn": "m" })),
        ("StartExecution", json!({ "stateMachineArn": format!("{arn}x") })),
        ("StartExecution", json!({ "stateMachineArn": arn, "name": "a/b" })),
        ("StartExecution", json!({ "stateMachineArn": arn, "input": "{" })),
        (
            "StartExecution",
            json!({ "stateMachineArn": arn, "input": format!("\"{}\"", "x".repeat(262_144)) }),
        ),
        (
            "DescribeExecution",
            json!({ "executionArn": "arn:aws:states:us-east-1:000000000000:execution:m:x" }),
        ),
        ("DescribeExecution", json!({ "executionArn": arn })),
        ("StopExecution", json!({ "executionArn": "arn:aws:states:us-east-1:000000000000:execution:m:x" })),
        (
            "GetExecutionHistory",
            json!({ "executionArn": "arn:aws:states:us-east-1:000000000000:execution:m:x" }),
        ),
        ("ListExecutions", json!({ "stateMachineArn": arn, "maxResults": 1001 })),
        ("ListExecutions", json!({ "stateMachineArn": arn, "nextToken": "x" })),
        ("ListTagsForResource", json!({ "resourceArn": "x" })),
        ("StartSyncExecution", json!({})),
    ] {
        told += &format!("{action} {}\n", refusal(&world, action, body).await);
    }
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn a_name_is_one_execution() {
    let ssm = Scripted::new("ssm", vec![Act::Answer(json!({}))]);
    let time = TestTime::standing();
    let world = World::new(time.clone(), std::slice::from_ref(&ssm)).await;
    let arn = world.create("m", &machine("A", json!({ "A": callback_task() }))).await;
    let start = |input: &str| json!({ "stateMachineArn": arn, "name": "nightly", "input": input });
    let first = world.call("StartExecution", start("1")).await.unwrap();
    assert_eq!(world.call("StartExecution", start("1")).await.unwrap(), first);
    assert!(refusal(&world, "StartExecution", start("2")).await.starts_with("ExecutionAlreadyExists: "));
    let execution = first["executionArn"].as_str().unwrap();
    world.call("StopExecution", json!({ "executionArn": execution })).await.unwrap();
    assert!(refusal(&world, "StartExecution", start("1")).await.starts_with("ExecutionAlreadyExists: "));
    time.advance(91 * 86_400);
    let again = world.call("StartExecution", start("1")).await.unwrap();
    assert_eq!(again["executionArn"], first["executionArn"]);
    assert_ne!(again["startDate"], first["startDate"]);
}

#[tokio::test]
async fn a_running_execution_keeps_its_definition() {
    let ssm = Scripted::new("ssm", vec![Act::Answer(json!({}))]);
    let world = World::new(TestTime::standing(), std::slice::from_ref(&ssm)).await;
    let arn = world.create("m", &machine("A", json!({ "A": callback_task() }))).await;
    let execution = world.start(&arn, "x", json!({})).await;
    world.reach(&execution, "TaskSubmitted", 1).await;
    let update = json!({ "stateMachineArn": arn, "definition": trivial().to_string() });
    world.call("UpdateStateMachine", update).await.unwrap();
    let described = world.call("DescribeStateMachine", json!({ "stateMachineArn": arn })).await.unwrap();
    assert_eq!(described["definition"], trivial().to_string());
    world.call("DeleteStateMachine", json!({ "stateMachineArn": arn })).await.unwrap();
    let token = token_in(&ssm.calls()[0].1);
    world.call("SendTaskSuccess", json!({ "taskToken": token, "output": "2" })).await.unwrap();
    assert_eq!(world.end(&execution).await["output"], "2");
    let started_with =
        world.call("DescribeStateMachineForExecution", json!({ "executionArn": execution })).await.unwrap();
    assert!(started_with["definition"].as_str().unwrap().contains("waitForTaskToken"));
}

#[tokio::test]
async fn listings_and_histories_have_pages() {
    let world = world().await;
    let arn = world.create("m", &trivial()).await;
    for name in ["a", "b", "c"] {
        world.end(&world.start(&arn, name, json!({})).await).await;
    }
    let list = json!({ "stateMachineArn": arn, "maxResults": 2 });
    let first = world.call("ListExecutions", list.clone()).await.unwrap();
    let mut second = list;
    second["nextToken"] = first["nextToken"].clone();
    let second = world.call("ListExecutions", second).await.unwrap();
    let names = |page: &Value| -> Vec<String> {
        let all = page["executions"].as_array().unwrap();
        all.iter().map(|execution| execution["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!([names(&first), names(&second)].concat(), ["c", "b", "a"]);
    assert_eq!(second["nextToken"], Value::Null);
    let failed = json!({ "stateMachineArn": arn, "statusFilter": "FAILED" });
    assert!(names(&world.call("ListExecutions", failed).await.unwrap()).is_empty());

    let execution = first["executions"][0]["executionArn"].as_str().unwrap();
    let mut ids = Vec::new();
    let mut page = json!({ "executionArn": execution, "maxResults": 3 });
    loop {
        let answer = world.call("GetExecutionHistory", page.clone()).await.unwrap();
        ids.extend(answer["events"].as_array().unwrap().iter().map(|event| event["id"].as_u64().unwrap()));
        match answer["nextToken"].as_str() {
            Some(token) => page["nextToken"] = json!(token),
            None => break,
        }
    }
    assert_eq!(ids, [1, 2, 3, 4]);
    let bare = json!({ "executionArn": execution, "includeExecutionData": false, "reverseOrder": true });
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&world.call("GetExecutionHistory", bare).await.unwrap()).unwrap()
    );
}

#[tokio::test]
async fn a_history_looks_as_the_api_says() {
    let world = world().await;
    let arn = world.create("m", &trivial()).await;
    let execution = world.start(&arn, "x", json!({ "a": 1 })).await;
    let end = world.end(&execution).await;
    let history = world.history(&execution).await;
    insta::assert_snapshot!(serde_json::to_string_pretty(&json!([end, history])).unwrap());
}

#[tokio::test]
async fn definitions_are_validated_without_being_kept() {
    let world = world().await;
    let good = json!({ "definition": trivial().to_string() });
    let answer = world.call("ValidateStateMachineDefinition", good).await.unwrap();
    assert_eq!(answer, json!({ "result": "OK", "diagnostics": [], "truncated": false }));
    let bad =
        json!({ "definition": machine("A", json!({ "A": { "Type": "Pass", "Next": "B" } })).to_string() });
    let answer = world.call("ValidateStateMachineDefinition", bad).await.unwrap();
    assert_eq!(
        answer["diagnostics"],
        json!([{ "severity": "ERROR", "code": "MISSING_TRANSITION_TARGET", "message": "Missing 'Next' target: B",
                 "location": "/States/A/Next" }])
    );
    let all = world.call("ListStateMachines", json!({})).await.unwrap();
    assert_eq!(all["stateMachines"], json!([]));
}

#[tokio::test]
async fn tags_are_kept() {
    let world = world().await;
    let arn = world.create("m", &trivial()).await;
    let tag =
        json!({ "resourceArn": arn, "tags": [{ "key": "a", "value": "1" }, { "key": "b", "value": "2" }] });
    world.call("TagResource", tag).await.unwrap();
    world.call("UntagResource", json!({ "resourceArn": arn, "tagKeys": ["a"] })).await.unwrap();
    let tags = world.call("ListTagsForResource", json!({ "resourceArn": arn })).await.unwrap();
    assert_eq!(tags, json!({ "tags": [{ "key": "b", "value": "2" }] }));
}
