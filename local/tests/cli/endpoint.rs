use std::sync::Arc;

use rsqlflow_local::endpoint::discover;
use rsqlflow_local::ssm::{CommandHost, CommandOutcome, HostCommand, Running};
use serde_json::json;

use super::served;

pub(crate) const HOST: &str = "mi-0123456789abcdef0";

pub(crate) struct Host;

impl CommandHost for Host {
    fn instance_id(&self) -> &str {
        HOST
    }

    fn run(&self, _: HostCommand) -> Running<'_> {
        Box::pin(async { CommandOutcome::default() })
    }
}

#[tokio::test]
async fn dynamodb_by_hand() {
    let Some(served) = served().await else { return };
    served
        .json(&[
            "dynamodb",
            "create-table",
            "--table-name=items",
            "--billing-mode=PAY_PER_REQUEST",
            "--attribute-definitions=AttributeName=id,AttributeType=S",
            "--key-schema=AttributeName=id,KeyType=HASH",
        ])
        .await;
    let item = r#"{"id":{"S":"ü"},"n":{"N":"1.5"}}"#;
    served.json(&["dynamodb", "put-item", "--table-name=items", "--item", item]).await;
    let got = served.json(&["dynamodb", "scan", "--table-name=items"]).await;
    assert_eq!(got["Items"], json!([{"id": {"S": "ü"}, "n": {"N": "1.5"}}]));
    let error = served.error(&["dynamodb", "describe-table", "--table-name=other"]).await;
    assert!(error.contains("(ResourceNotFoundException)"), "{error}");
}

#[tokio::test]
async fn run_command_by_hand() {
    let Some(served) = served().await else { return };
    served.cloud.ssm().attach(Arc::new(Host)).await.unwrap();
    let sent = served
        .json(&[
            "ssm",
            "send-command",
            "--document-name=AWS-RunShellScript",
            "--instance-ids",
            HOST,
            "--parameters",
            r#"{"commands":["echo hello"]}"#,
        ])
        .await;
    let id = sent["Command"]["CommandId"].as_str().unwrap();
    let wait =
        served.aws(&["ssm", "wait", "command-executed", "--command-id", id, "--instance-id", HOST]).await;
    assert!(wait.status.success(), "{}", String::from_utf8_lossy(&wait.stderr));
    let got =
        served.json(&["ssm", "get-command-invocation", "--command-id", id, "--instance-id", HOST]).await;
    assert_eq!(got["StandardOutputContent"], "hello\n");
    let known = served.json(&["ssm", "describe-instance-information"]).await;
    assert_eq!(known["InstanceInformationList"][0]["PingStatus"], "Online");
}

#[tokio::test]
async fn strangers_are_refused() {
    let Some(served) = served().await else { return };
    let output = served.aws_as("not-the-secret", &["dynamodb", "list-tables"]).await;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("(InvalidSignatureException)"), "{error}");
}

#[tokio::test]
async fn an_endpoint_is_found_while_it_is_served() {
    let Some(served) = served().await else { return };
    let data_dir = served.cloud.data_dir().to_owned();
    assert_eq!(discover(&data_dir).as_ref(), Some(served.endpoint()));
    let written = std::fs::read(data_dir.join("endpoint.json")).unwrap();
    served.serving.stop().await;
    assert_eq!(discover(&data_dir), None);
    assert!(!data_dir.join("endpoint.json").exists());
    // A killed process leaves the file behind, but not the lock.
    std::fs::write(data_dir.join("endpoint.json"), written).unwrap();
    drop(served.cloud);
    assert_eq!(discover(&data_dir), None);
}

#[tokio::test]
async fn the_query_services_by_hand() {
    let Some(served) = served().await else { return };
    let identity = served.json(&["sts", "get-caller-identity"]).await;
    assert_eq!(identity["Account"], "000000000000");

    let topic = served.json(&["sns", "create-topic", "--name=alerts"]).await;
    let arn = topic["TopicArn"].as_str().unwrap();
    let text = "run 1 failed: <a & b>";
    let sent =
        served.json(&["sns", "publish", "--topic-arn", arn, "--subject=Failed", "--message", text]).await;
    assert!(sent["MessageId"].is_string());
    let kept = served.cloud.sns().messages(Some(arn), 10).await.unwrap();
    assert_eq!((kept[0].message.as_str(), kept[0].subject.as_deref()), (text, Some("Failed")));

    let email = ["--protocol=email", "--notification-endpoint=ops@example.com"];
    served.json(&[&["sns", "subscribe", "--topic-arn", arn], &email[..]].concat()).await;
    let listed = served.json(&["sns", "list-subscriptions-by-topic", "--topic-arn", arn]).await;
    assert_eq!(listed["Subscriptions"][0]["Endpoint"], "ops@example.com");
    let attributes = served.json(&["sns", "get-topic-attributes", "--topic-arn", arn]).await;
    assert_eq!(attributes["Attributes"]["SubscriptionsConfirmed"], "1");
    assert_eq!(served.json(&["sns", "list-topics"]).await["Topics"], json!([{ "TopicArn": arn }]));

    let other = arn.replace("alerts", "other");
    let error = served.error(&["sns", "publish", "--topic-arn", &other, "--message=x"]).await;
    assert!(error.contains("(NotFound)"), "{error}");
    let output = served.aws_as("not-the-secret", &["sns", "list-topics"]).await;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("(SignatureDoesNotMatch)"), "{error}");
}

#[tokio::test]
async fn logs_and_secrets_by_hand() {
    let Some(served) = served().await else { return };
    let group = "--log-group-name=/ops/rsql-logs";
    let stream = "--log-stream-name=run/job/1";
    served.json(&["logs", "create-log-group", group]).await;
    served.json(&["logs", "create-log-stream", group, stream]).await;
    let now = chrono::Utc::now().timestamp_millis();
    let event = format!("timestamp={now},message=hello");
    served.json(&["logs", "put-log-events", group, stream, "--log-events", &event]).await;
    let read = served.json(&["logs", "get-log-events", group, stream]).await;
    assert_eq!(read["events"][0]["message"], "hello");
    // This command pages on its own, as `aws logs tail` does.
    let found = served.json(&["logs", "filter-log-events", group, "--filter-pattern=hello"]).await;
    assert_eq!(found["events"][0]["logStreamName"], "run/job/1");

    served.json(&["secretsmanager", "create-secret", "--name=s", "--secret-string=x"]).await;
    let got = served.json(&["secretsmanager", "get-secret-value", "--secret-id=s"]).await;
    assert_eq!(got["SecretString"], "x");
}
