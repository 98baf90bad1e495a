//! The outbox: what happens when AWS does not answer as it should.

use serde_json::json;

use crate::fake_aws::Answer;
use crate::world::{Told, World};

#[tokio::test]
async fn a_throttled_callback_is_made_until_it_is_accepted() {
    let world = World::new().await;
    for _ in 0..3 {
        world.aws.next("SendTaskSuccess", Answer::Error("ThrottlingException", 400));
    }
    world.aws.next("SendTaskSuccess", Answer::Error("InternalServerError", 500));
    world.run("exit 0").await;
    world.settled().await;
    assert_eq!(world.aws.calls("SendTaskSuccess").len(), 5);
}

#[tokio::test]
async fn neither_audit_nor_logs_hold_up_the_callback() {
    let world = World::new().await;
    world.aws.always("UpdateItem", Answer::Silence);
    world.aws.always("CreateLogStream", Answer::Error("ServiceUnavailableException", 503));
    let told = world.run("echo x").await;
    assert!(matches!(told, Told::Success(_)));
    assert_eq!(world.agent().jobs().await[0].state, "reporting");
}

#[tokio::test]
async fn a_final_record_of_someone_else_stays() {
    let world = World::new().await;
    world.aws.always("UpdateItem", Answer::Error("ConditionalCheckFailedException", 400));
    world.run("exit 0").await;
    world.settled().await;
    let calls = world.aws.calls("UpdateItem");
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0]["ConditionExpression"],
        "attribute_not_exists(#status) OR (NOT (#status IN (:f0, :f1, :f2, :f3, :f4)) AND \
         (attribute_not_exists(#attempt) OR #attempt <= :attempt))"
    );
}

#[tokio::test]
async fn a_missing_group_is_created_and_a_present_stream_is_fine() {
    let world = World::new().await;
    world.aws.next("CreateLogStream", Answer::Error("ResourceNotFoundException", 400));
    world.aws.next("CreateLogStream", Answer::Error("ResourceAlreadyExistsException", 400));
    world.aws.next("PutLogEvents", Answer::Error("ThrottlingException", 400));
    world.aws.next("PutLogEvents", Answer::Ok(json!({})));
    world.run("echo x").await;
    world.settled().await;
    assert_eq!(world.aws.calls("CreateLogGroup").len(), 1);
    assert_eq!(world.aws.calls("PutLogEvents").len(), 2);
}

#[tokio::test]
async fn the_heart_beats_three_times_as_often_as_asked_until_the_callback_is_through() {
    let world = World::new().await;
    let go = world.dir.path().join("go");
    world.script("job.sh", &format!("while ! [ -e {} ]; do sleep 0.05; done", go.display()));
    let mut request = world.request("job.sh");
    request.heartbeat_seconds = 1;
    world.aws.always("SendTaskSuccess", Answer::Error("ThrottlingException", 400));
    let began = std::time::Instant::now();
    world.submit(&request).await;
    world.aws.call("SendTaskHeartbeat", 3).await;
    assert!(began.elapsed().as_millis() >= 900, "{:?}", began.elapsed());
    std::fs::write(go, "").unwrap();
    world.aws.call("SendTaskSuccess", 1).await;
    let beats = world.aws.calls("SendTaskHeartbeat").len();
    world.aws.call("SendTaskHeartbeat", beats + 2).await;
    world.aws.always("SendTaskSuccess", Answer::Ok(json!({})));
    world.settled().await;
}

#[tokio::test]
async fn jobs_that_end_together_share_flushes() {
    let world = World::new().await;
    world.script("job.sh", "exit 0");
    for index in 0..40 {
        let mut request = world.request("job.sh");
        request.task_token.push_str(&index.to_string());
        request.job_name.push_str(&index.to_string());
        world.submit(&request).await;
    }
    world.settled().await;
    assert_eq!(crate::world::told(&world.aws).len(), 40);
    assert!(world.agent().stats().durable_commits <= 80, "{:?}", world.agent().stats());
}
