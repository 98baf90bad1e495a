//! EventBridge Scheduler, whose protocol is the only one here with paths and queries.

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::primitives::DateTime;
use aws_sdk_scheduler::types::{FlexibleTimeWindow, FlexibleTimeWindowMode, ScheduleState, Target};

use super::cloud;

const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

#[tokio::test]
async fn a_schedule_is_made_read_listed_and_deleted() {
    let fixture = cloud().await;
    let client = Client::new(&fixture.config);
    client.create_schedule_group().name("rsqlflow").send().await.unwrap();
    let start = DateTime::from_secs(4_000_000_000);
    let create = || {
        client
            .create_schedule()
            .group_name("rsqlflow")
            .name("nightly_load-1.0")
            .schedule_expression("cron(0 3 * * ? *)")
            .schedule_expression_timezone("Europe/Berlin")
            .start_date(start)
            .flexible_time_window(
                FlexibleTimeWindow::builder()
                    .mode(FlexibleTimeWindowMode::Flexible)
                    .maximum_window_in_minutes(15)
                    .build()
                    .unwrap(),
            )
            .target(
                Target::builder().arn(FUNCTION).role_arn("arn:aws:iam::000000000000:role/r").build().unwrap(),
            )
            .send()
    };
    create().await.unwrap();
    let again = create().await.unwrap_err();
    assert!(again.as_service_error().unwrap().is_conflict_exception(), "{again:?}");
    let got = client.get_schedule().group_name("rsqlflow").name("nightly_load-1.0").send().await.unwrap();
    assert_eq!(got.schedule_expression_timezone(), Some("Europe/Berlin"));
    assert_eq!(got.state(), Some(&ScheduleState::Enabled));
    assert_eq!(got.start_date(), Some(&start));
    assert_eq!(got.target().unwrap().arn(), FUNCTION);
    assert_eq!(got.flexible_time_window().unwrap().maximum_window_in_minutes(), Some(15));
    let pages = client.list_schedules().group_name("rsqlflow").into_paginator().items().send();
    let names: Vec<_> =
        pages.collect::<Result<Vec<_>, _>>().await.unwrap().into_iter().filter_map(|one| one.name).collect();
    assert_eq!(names, ["nightly_load-1.0"]);
    client.delete_schedule().group_name("rsqlflow").name("nightly_load-1.0").send().await.unwrap();
    let gone =
        client.get_schedule().group_name("rsqlflow").name("nightly_load-1.0").send().await.unwrap_err();
    assert!(gone.as_service_error().unwrap().is_resource_not_found_exception(), "{gone:?}");
    client.delete_schedule_group().name("rsqlflow").send().await.unwrap();
    assert_eq!(client.list_schedule_groups().send().await.unwrap().schedule_groups().len(), 1);
}
