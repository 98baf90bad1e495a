//! A state machine that uses every service here, created, started and looked at by hand.

use std::sync::Arc;

use rsqlflow_local::clock::Clock;
use rsqlflow_local::stepfunctions::StepFunctions;
use serde_json::{Value, json};

use super::endpoint::{HOST, Host};
use super::served;

fn task(resource: &str, arguments: Value, next: Option<&str>) -> Value {
    let mut state = json!({
        "Type": "Task", "Resource": format!("arn:aws:states:::{resource}"), "Arguments": arguments,
    });
    match next {
        Some(next) => state["Next"] = json!(next),
        None => state["End"] = json!(true),
    }
    state
}

#[tokio::test]
async fn a_state_machine_reaches_every_service() {
    let Some(served) = served().await else { return };
    let cloud = &served.cloud;
    let machine = StepFunctions::open(
        cloud.store().clone(),
        cloud.place().clone(),
        cloud.services().clone(),
        Clock::system(),
    )
    .await
    .unwrap();
    cloud.register(machine.clone());
    machine.resume().await.unwrap();
    cloud.ssm().attach(Arc::new(Host)).await.unwrap();
    let topic = served.json(&["sns", "create-topic", "--name=alerts"]).await["TopicArn"].clone();
    served.json(&["logs", "create-log-group", "--log-group-name=g"]).await;
    served.json(&["secretsmanager", "create-secret", "--name=s", "--secret-string=x"]).await;

    let command = json!({
        "DocumentName": "AWS-RunShellScript", "InstanceIds": [HOST], "Parameters": { "commands": ["true"] }
    });
    let table = json!({
        "TableName": "items", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }]
    });
    let put = json!({
        "TableName": "items", "Item": { "id": { "S": "a" } }, "ConditionExpression": "attribute_not_exists(id)"
    });
    let stream = json!({ "LogGroupName": "g", "LogStreamName": "{% $states.context.Execution.Name %}" });
    let mut again = task("dynamodb:putItem", put.clone(), None);
    again["Catch"] =
        json!([{ "ErrorEquals": ["DynamoDB.ConditionalCheckFailedException"], "Next": "Publish" }]);
    let mut unknown = task("aws-sdk:cloudwatchlogs:createLogStream", stream.clone(), Some("Fail"));
    unknown["Catch"] =
        json!([{ "ErrorEquals": ["CloudWatchLogs.ResourceAlreadyExistsException"], "Next": "Secret" }]);
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "Table",
        "States": {
            "Table": task("aws-sdk:dynamodb:createTable", table, Some("Put")),
            "Put": task("dynamodb:putItem", put, Some("Again")),
            "Again": again,
            "Publish": task("sns:publish", json!({ "TopicArn": topic, "Message": { "a": 1 } }), Some("Send")),
            "Send": task("aws-sdk:ssm:sendCommand", command, Some("Stream")),
            "Stream": task("aws-sdk:cloudwatchlogs:createLogStream", stream, Some("StreamAgain")),
            "StreamAgain": unknown,
            "Secret": task("aws-sdk:secretsmanager:getSecretValue", json!({ "SecretId": "s" }), None),
            "Fail": { "Type": "Fail" }
        }
    });
    let created = served
        .json(&[
            "stepfunctions",
            "create-state-machine",
            "--name=every-service",
            "--role-arn=arn:aws:iam::000000000000:role/any",
            "--definition",
            &definition.to_string(),
        ])
        .await;
    let arn = created["stateMachineArn"].as_str().unwrap();
    let started =
        served.json(&["stepfunctions", "start-execution", "--state-machine-arn", arn, "--name=run"]).await;
    let execution = started["executionArn"].as_str().unwrap();
    let ended = crate::eventually(|| async {
        let got = served.json(&["stepfunctions", "describe-execution", "--execution-arn", execution]).await;
        (got["status"] != "RUNNING").then_some(got)
    })
    .await;
    assert_eq!(ended["status"], "SUCCEEDED", "{ended}");
    let output: Value = serde_json::from_str(ended["output"].as_str().unwrap()).unwrap();
    assert_eq!(output["SecretString"], "x");
    let kept = cloud.sns().messages(None, 1).await.unwrap();
    assert_eq!(kept[0].message, r#"{"a":1}"#);
}
