use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;

fn event(timestamp: i64, message: &str) -> InputLogEvent {
    InputLogEvent::builder().timestamp(timestamp).message(message).build().unwrap()
}

#[tokio::test]
async fn a_job_ships_its_log_and_an_operator_reads_it() {
    let fixture = super::cloud().await;
    let client = Client::new(&fixture.config);
    let (group, stream) = ("/ops/rsql-logs", "run-1/load/1");
    let create_stream = || client.create_log_stream().log_group_name(group).log_stream_name(stream);
    let missing = create_stream().send().await.unwrap_err();
    assert_eq!(missing.code(), Some("ResourceNotFoundException"));
    client.create_log_group().log_group_name(group).send().await.unwrap();
    create_stream().send().await.unwrap();
    let again = create_stream().send().await.unwrap_err();
    assert_eq!(again.code(), Some("ResourceAlreadyExistsException"));

    let now = chrono::Utc::now().timestamp_millis();
    let flushes = fixture.cloud.store().flushes();
    let put = client
        .put_log_events()
        .log_group_name(group)
        .log_stream_name(stream)
        .log_events(event(now - 15 * 86_400_000, "too old"))
        .send()
        .await
        .unwrap();
    assert_eq!(put.rejected_log_events_info().unwrap().too_old_log_event_end_index(), Some(1));
    client
        .put_log_events()
        .log_group_name(group)
        .log_stream_name(stream)
        .log_events(event(now, "loading"))
        .log_events(event(now, "ERROR: relation does not exist"))
        .send()
        .await
        .unwrap();
    assert_eq!(fixture.cloud.store().flushes(), flushes);

    let read = client.get_log_events().log_group_name(group).log_stream_name(stream).send().await.unwrap();
    let lines: Vec<_> = read.events().iter().map(|event| event.message().unwrap()).collect();
    assert_eq!(lines, ["loading", "ERROR: relation does not exist"]);
    let found = client
        .filter_log_events()
        .log_group_name(group)
        .log_stream_name_prefix("run-1/")
        .filter_pattern("ERROR")
        .send()
        .await
        .unwrap();
    assert_eq!(found.events()[0].log_stream_name(), Some(stream));
    assert_eq!((found.events().len(), found.next_token()), (1, None));
    let listed = client.describe_log_streams().log_group_name(group).send().await.unwrap();
    assert_eq!(listed.log_streams()[0].last_event_timestamp(), Some(now));

    client.delete_log_group().log_group_name(group).send().await.unwrap();
    let gone =
        client.get_log_events().log_group_name(group).log_stream_name(stream).send().await.unwrap_err();
    assert_eq!(gone.code(), Some("ResourceNotFoundException"));
}
