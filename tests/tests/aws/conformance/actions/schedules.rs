//! Probes of EventBridge Scheduler's actions.

use aws_sdk_scheduler::types::{FlexibleTimeWindow, FlexibleTimeWindowMode, Target};

use super::{Answer, Ask, code, done, expect, refused};

/// The group that a deployment makes.
const SCHEDULES: &str = "rsqlflow";

fn target() -> Target {
    let target = Target::builder().arn("arn:aws:lambda:us-east-1:123456789012:function:rsqlflow-trigger");
    target.role_arn("arn:aws:iam::123456789012:role/rsqlflow-scheduler").build().expect("both are given")
}

fn on_time() -> FlexibleTimeWindow {
    FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().expect("its mode is given")
}

async fn make_schedule(ask: &Ask, group: &str, name: &str) -> Answer {
    let create = ask.scheduler.create_schedule().group_name(group).name(name).description("made");
    let create =
        create.schedule_expression("cron(0 3 1 1 ? *)").schedule_expression_timezone("Europe/Berlin");
    let create = create.target(target()).flexible_time_window(on_time());
    match create.send().await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("answers {}", code(&error))),
    }
}

pub(super) async fn create_schedule(ask: &Ask) -> Answer {
    make_schedule(ask, SCHEDULES, "create").await?;
    match make_schedule(ask, SCHEDULES, "create").await {
        Ok(()) => Err("makes it twice".into()),
        Err(said) => expect(said == "answers `ConflictException`", &said),
    }
}

pub(super) async fn get_schedule(ask: &Ask) -> Answer {
    make_schedule(ask, SCHEDULES, "get").await?;
    let get = |name: &str| ask.scheduler.get_schedule().group_name(SCHEDULES).name(name);
    let got = done(get("get").send().await)?;
    let found = (got.schedule_expression(), got.schedule_expression_timezone(), got.description());
    expect(
        found == (Some("cron(0 3 1 1 ? *)"), Some("Europe/Berlin"), Some("made")),
        &format!("gives {found:?}"),
    )?;
    refused(get("never").send().await, &["ResourceNotFoundException"])
}

pub(super) async fn update_schedule(ask: &Ask) -> Answer {
    make_schedule(ask, SCHEDULES, "update").await?;
    let update = ask.scheduler.update_schedule().group_name(SCHEDULES).name("update");
    let update = update.schedule_expression("cron(0 4 1 1 ? *)").target(target());
    done(update.flexible_time_window(on_time()).send().await)?;
    let got = done(ask.scheduler.get_schedule().group_name(SCHEDULES).name("update").send().await)?;
    let found = (got.schedule_expression(), got.schedule_expression_timezone(), got.description());
    let forgotten = found.1.is_none_or(|zone| zone == "UTC") && found.2.is_none_or(str::is_empty);
    expect(found.0 == Some("cron(0 4 1 1 ? *)") && forgotten, &format!("gives {found:?}"))
}

pub(super) async fn delete_schedule(ask: &Ask) -> Answer {
    make_schedule(ask, SCHEDULES, "delete").await?;
    let delete = || ask.scheduler.delete_schedule().group_name(SCHEDULES).name("delete").send();
    done(delete().await)?;
    refused(delete().await, &["ResourceNotFoundException"])
}

pub(super) async fn list_schedules(ask: &Ask) -> Answer {
    const GROUP: &str = "conformance";
    done(ask.scheduler.create_schedule_group().name(GROUP).send().await)?;
    for name in ["a", "b", "c"] {
        make_schedule(ask, GROUP, name).await?;
    }
    let (mut found, mut token) = (Vec::new(), None);
    for _ in 0..5 {
        let list = ask.scheduler.list_schedules().group_name(GROUP).max_results(2);
        let page = done(list.set_next_token(token).send().await)?;
        found.extend(page.schedules.into_iter().filter_map(|schedule| schedule.name));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    // AWS promises no order.
    found.sort();
    expect(found == ["a", "b", "c"], &format!("gives {found:?}"))
}
