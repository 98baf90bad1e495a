use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::engine::Engine;
use super::*;
use crate::lambda::{Function, FunctionError, Invocation, Lambda, Returning};
use crate::registry::Services;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;

fn at(text: &str) -> Millis {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
}

/// A function that remembers its events and fails as often as it is told to.
#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<Value>>,
    failures: AtomicI64,
}

impl Recorder {
    fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The scheduled times it was called for.
    fn times(&self) -> Vec<String> {
        self.events().iter().map(|event| event["time"].as_str().unwrap().to_owned()).collect()
    }
}

impl Function for Recorder {
    fn handle(&self, invocation: Invocation) -> Returning<'_> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(invocation.event);
        let fails = self.failures.fetch_sub(1, Ordering::SeqCst) > 0;
        Box::pin(async move {
            match fails {
                true => Err(FunctionError { error_type: "Oops".into(), error_message: "not now".into() }),
                false => Ok(json!({})),
            }
        })
    }
}

struct World {
    now: Arc<AtomicI64>,
    clock: Clock,
    scheduler: Arc<Scheduler>,
    services: Services,
    function: Arc<Recorder>,
    engine: Engine,
    dir: tempfile::TempDir,
}

impl World {
    async fn events_on_disk(&self) -> i64 {
        let count = "select count(*) from scheduler_events";
        self.scheduler.store.read(move |tx| tx.query_row(count, [], |row| row.get(0))).await.unwrap()
    }

    async fn at(time: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(at(time)));
        let told = now.clone();
        let clock = Clock::from_fn(move || told.load(Ordering::SeqCst));
        let (scheduler, services, function) = Self::parts(&dir, &clock).await;
        let engine = Engine::new(scheduler.clone(), services.clone());
        Self { now, clock, scheduler, services, function, engine, dir }
    }

    async fn parts(dir: &tempfile::TempDir, clock: &Clock) -> (Arc<Scheduler>, Services, Arc<Recorder>) {
        let store = Store::open(&dir.path().join("local.db")).unwrap();
        let (place, services, function) = (Place::default(), Services::default(), Arc::default());
        let scheduler = Arc::new(Scheduler::open(store.clone(), clock.clone(), place.clone()).await.unwrap());
        let lambda = Arc::new(Lambda::new(place.clone()));
        lambda.register("f", Arc::clone(&function) as Arc<dyn Function>);
        services.register(lambda);
        services.register(Arc::new(crate::sns::Sns::open(store, clock.clone(), place).await.unwrap()));
        services.register(scheduler.clone());
        (scheduler, services, function)
    }

    /// Another process on the same directory; what was under way is lost.
    async fn restart(&mut self) {
        self.engine = Engine::new(self.scheduler.clone(), self.services.clone());
        let (scheduler, services, function) = Self::parts(&self.dir, &self.clock).await;
        self.engine = Engine::new(scheduler.clone(), services.clone());
        (self.scheduler, self.services, self.function) = (scheduler, services, function);
    }

    async fn call(&self, action: &str, body: Value) -> Result<Value, AwsError> {
        self.scheduler.call(action, body).await
    }

    async fn create(&self, name: &str, expression: &str, more: Value) {
        self.call("CreateSchedule", schedule(name, expression, more)).await.unwrap();
    }

    /// What the engine does when it looks, after `later` milliseconds.
    async fn look_after(&mut self, later: Millis) -> Option<Duration> {
        self.now.fetch_add(later, Ordering::SeqCst);
        let sleep = self.engine.pass(true).await.unwrap();
        self.engine.settled().await;
        sleep
    }
}

fn schedule(name: &str, expression: &str, more: Value) -> Value {
    let mut body = json!({
        "Name": name,
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": { "Mode": "OFF" },
        "Target": {
            "Arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "RoleArn": "arn:aws:iam::000000000000:role/r",
            "Input": "{\"time\": \"<aws.scheduler.scheduled-time>\", \"attempt\": <aws.scheduler.attempt-number>, \
                       \"arn\": \"<aws.scheduler.schedule-arn>\", \"id\": \"<aws.scheduler.execution-id>\"}",
        },
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn schedules_are_kept_as_they_are_given() {
    let world = World::at("2026-11-21T12:00:00.250Z").await;
    world.call("CreateScheduleGroup", json!({ "Name": "g" })).await.unwrap();
    let more = json!({ "GroupName": "g", "ClientToken": "t", "Description": "nightly" });
    let made = world.call("CreateSchedule", schedule("s", "cron(0 3 * * ? *)", more.clone())).await.unwrap();
    assert_eq!(made["ScheduleArn"], "arn:aws:scheduler:us-east-1:000000000000:schedule/g/s");
    // The answer was lost and the request comes again; another request of that name is another matter.
    world.call("CreateSchedule", schedule("s", "cron(0 3 * * ? *)", more)).await.unwrap();
    let other = world.call("CreateSchedule", schedule("s", "rate(1 day)", json!({ "GroupName": "g" }))).await;
    let other = other.unwrap_err();
    assert_eq!((other.status, other.code.as_str()), (409, "ConflictException"));
    let got = world.call("GetSchedule", json!({ "Name": "s", "GroupName": "g" })).await.unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&got).unwrap());

    let update = json!({ "GroupName": "g", "State": "DISABLED" });
    world.call("UpdateSchedule", schedule("s", "rate(1 day)", update)).await.unwrap();
    let got = world.call("GetSchedule", json!({ "Name": "s", "GroupName": "g" })).await.unwrap();
    // What an update leaves out is gone.
    assert_eq!((got["State"].as_str(), got.get("Description")), (Some("DISABLED"), None));

    world.create("a", "rate(1 hour)", json!({})).await;
    let all = world.call("ListSchedules", json!({ "MaxResults": 1 })).await.unwrap();
    assert_eq!((&all["Schedules"][0]["Name"], &all["NextToken"]), (&json!("a"), &json!("1")));
    let rest = world.call("ListSchedules", json!({ "NextToken": "1" })).await.unwrap();
    assert_eq!((&rest["Schedules"][0]["GroupName"], rest.get("NextToken")), (&json!("g"), None));
    let none = world.call("ListSchedules", json!({ "GroupName": "g", "State": "ENABLED" })).await.unwrap();
    assert_eq!(none["Schedules"], json!([]));

    world.call("DeleteScheduleGroup", json!({ "Name": "g" })).await.unwrap();
    for (action, body) in [
        ("GetSchedule", json!({ "Name": "s", "GroupName": "g" })),
        ("GetSchedule", json!({ "Name": "s" })),
        ("DeleteSchedule", json!({ "Name": "s" })),
        ("UpdateSchedule", schedule("s", "rate(1 day)", json!({}))),
        ("CreateSchedule", schedule("s", "rate(1 day)", json!({ "GroupName": "g" }))),
        ("GetScheduleGroup", json!({ "Name": "g" })),
        ("DeleteScheduleGroup", json!({ "Name": "g" })),
    ] {
        let error = world.call(action, body).await.unwrap_err();
        assert_eq!(
            (error.status, error.code.as_str()),
            (404, "ResourceNotFoundException"),
            "{action}: {error}"
        );
    }
    let groups = world.call("ListScheduleGroups", json!({})).await.unwrap();
    assert_eq!(groups["ScheduleGroups"][0]["Name"], "default");
    assert_eq!(groups["ScheduleGroups"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_service_refuses_is_refused() {
    let world = World::at("2026-11-21T12:00:00Z").await;
    let old = json!(at("2026-11-21T11:00:00Z") / 1000);
    let target = |name: &str, value: Value| {
        let mut body = schedule("s", "rate(1 day)", json!({}));
        body["Target"][name] = value;
        body
    };
    for (body, says) in [
        (schedule("a b", "rate(1 day)", json!({})), "regular expression"),
        (schedule("s", "every night", json!({})), "Invalid Schedule Expression every night: must be cron"),
        (schedule("s", "rate(1 day)", json!({ "ScheduleExpressionTimezone": "Mars" })), "Timezone Mars"),
        (schedule("s", "rate(1 day)", json!({ "StartDate": old })), "earlier than 5 minutes ago"),
        (schedule("s", "rate(1 day)", json!({ "State": "ON" })), "[ENABLED, DISABLED]"),
        (schedule("s", "rate(1 day)", json!({ "FlexibleTimeWindow": { "Mode": "FLEXIBLE" } })), "required"),
        (target("Arn", json!("f")), "not in correct format"),
        (target("Arn", json!("arn:aws:sqs:us-east-1:000000000000:q")), "has no target"),
        (target("RoleArn", json!("me")), "target.roleArn"),
        (target("RetryPolicy", json!({ "MaximumEventAgeInSeconds": 5 })), "between 60 and 86400"),
        (target("RetryPolicy", json!({ "MaximumRetryAttempts": 186 })), "less than or equal to 185"),
    ] {
        let error = world.call("CreateSchedule", body).await.unwrap_err();
        assert_eq!(error.code, "ValidationException", "{error}");
        assert!(error.message.contains(says), "{error}");
    }
    // To at(...) the dates mean nothing.
    world.create("once", "at(2026-11-22T00:00:00)", json!({ "StartDate": old })).await;
    let error = world.call("DeleteScheduleGroup", json!({ "Name": "default" })).await.unwrap_err();
    assert_eq!(error.code, "ValidationException");
}

#[tokio::test]
async fn each_time_fires_once_and_says_which_it_is() {
    let mut world = World::at("2026-11-21T02:59:58.5Z").await;
    world.create("s", "cron(0 3 * * ? *)", json!({ "ScheduleExpressionTimezone": "UTC" })).await;
    assert_eq!(world.look_after(0).await, Some(Duration::from_millis(1_500)));
    assert_eq!(world.function.times(), [""; 0]);
    assert_eq!(world.look_after(1_500).await, Some(Duration::from_secs(5)));
    let event = world.function.events()[0].clone();
    assert_eq!(event["time"], "2026-11-21T03:00:00Z");
    assert_eq!(event["attempt"], 1);
    assert_eq!(event["arn"], "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s");
    assert_eq!(event["id"].as_str().unwrap().len(), 36);
    world.look_after(10).await;
    world.look_after(23 * HOUR).await;
    assert_eq!(world.function.events().len(), 1);
    world.restart().await;
    world.look_after(HOUR).await;
    assert_eq!(world.function.times(), ["2026-11-22T03:00:00Z"]);
}

#[tokio::test]
async fn a_process_that_died_in_between_calls_again_with_the_same_time() {
    let mut world = World::at("2026-11-21T02:00:00Z").await;
    world.create("s", "cron(0 3 * * ? *)", json!({})).await;
    world.now.fetch_add(HOUR + 5, Ordering::SeqCst);
    // Written down, and dead before the function was called.
    world.engine.pass(true).await.unwrap();
    world.restart().await;
    world.look_after(MINUTE).await;
    assert_eq!(world.function.times(), ["2026-11-21T03:00:00Z"]);
    world.restart().await;
    world.look_after(MINUTE).await;
    assert_eq!(world.function.times(), [""; 0]);
}

#[tokio::test]
async fn of_missed_times_the_last_is_fired_while_it_is_worth_it() {
    let mut world = World::at("2026-11-21T02:00:00Z").await;
    world.create("hourly", "cron(30 * * * ? *)", json!({})).await;
    world.look_after(10 * HOUR + 45 * MINUTE).await;
    assert_eq!(world.function.times(), ["2026-11-21T12:30:00Z"]);
    // A weekly one, whose last time is too long ago.
    let mut body = schedule("weekly", "cron(0 13 ? * SAT *)", json!({}));
    body["Target"]["RetryPolicy"] = json!({ "MaximumEventAgeInSeconds": 3600 });
    world.call("CreateSchedule", body).await.unwrap();
    world.call("DeleteSchedule", json!({ "Name": "hourly" })).await.unwrap();
    world.look_after(2 * HOUR).await;
    assert_eq!(world.function.events().len(), 1);
    world.look_after(7 * 24 * HOUR - 90 * MINUTE).await;
    assert_eq!(world.function.times()[1..], ["2026-11-28T13:00:00Z"]);
}

#[tokio::test]
async fn what_passed_before_a_change_is_not_fired() {
    let mut world = World::at("2026-11-21T02:00:00Z").await;
    world.create("s", "cron(0 * * * ? *)", json!({ "State": "DISABLED" })).await;
    assert_eq!(world.look_after(3 * HOUR + MINUTE).await, None);
    world.call("UpdateSchedule", schedule("s", "cron(0 * * * ? *)", json!({}))).await.unwrap();
    world.look_after(MINUTE).await;
    assert_eq!(world.function.times(), [""; 0]);
    world.look_after(HOUR).await;
    assert_eq!(world.function.times(), ["2026-11-21T06:00:00Z"]);
    // A time that has passed when a schedule is made never comes; a rate begins at once.
    world.create("late", "at(2026-11-21T06:00:00)", json!({})).await;
    world.create("rate", "rate(2 hours)", json!({})).await;
    world.call("DeleteSchedule", json!({ "Name": "s" })).await.unwrap();
    world.look_after(0).await;
    world.look_after(2 * HOUR - 1).await;
    assert_eq!(world.function.times()[1..], ["2026-11-21T06:02:00Z"]);
    world.look_after(1).await;
    assert_eq!(world.function.times()[2..], ["2026-11-21T08:02:00Z"]);
}

#[tokio::test]
async fn a_function_that_fails_is_called_three_times() {
    let mut world = World::at("2026-11-21T02:00:00Z").await;
    world.create("s", "cron(0 3 * * ? *)", json!({})).await;
    world.function.failures.store(5, Ordering::SeqCst);
    world.look_after(HOUR).await;
    world.look_after(MINUTE - 1).await;
    assert_eq!(world.function.events().len(), 1);
    world.look_after(1).await;
    world.restart().await;
    world.function.failures.store(5, Ordering::SeqCst);
    world.look_after(2 * MINUTE).await;
    assert_eq!(world.function.events()[0]["attempt"], 3);
    world.look_after(HOUR).await;
    assert_eq!(world.function.events().len(), 1);
}

#[tokio::test]
async fn a_clock_set_back_does_not_put_off_the_next_try() {
    let mut world = World::at("2026-11-21T02:00:00Z").await;
    world.create("s", "cron(0 3 * * ? *)", json!({})).await;
    world.function.failures.store(1, Ordering::SeqCst);
    world.look_after(HOUR).await;
    world.look_after(-5 * HOUR).await;
    assert_eq!(world.function.events().len(), 2);
}

#[tokio::test]
async fn a_target_that_is_not_there_is_given_up() {
    let mut world = World::at("2026-11-21T02:00:00Z").await;
    let mut body = schedule("s", "cron(0 3 * * ? *)", json!({}));
    body["Target"]["Arn"] = "arn:aws:lambda:us-east-1:000000000000:function:nobody".into();
    world.call("CreateSchedule", body).await.unwrap();
    assert_eq!(world.look_after(HOUR).await, Some(Duration::from_secs(5)));
    let open = world.events_on_disk().await;
    assert_eq!(open, 0);
}

#[tokio::test]
async fn a_clock_that_is_set_fires_nothing_twice() {
    let mut world = World::at("2026-11-21T02:59:59Z").await;
    world.create("s", "cron(0 * * * ? *)", json!({})).await;
    world.look_after(1_000).await;
    world.look_after(-30 * MINUTE).await;
    world.look_after(30 * MINUTE).await;
    assert_eq!(world.function.times(), ["2026-11-21T03:00:00Z"]);
    // Ten years ahead by mistake, and back.
    world.look_after(87_600 * HOUR).await;
    assert_eq!(world.function.events().len(), 2);
    world.look_after(-87_600 * HOUR).await;
    world.look_after(HOUR).await;
    assert_eq!(world.function.times()[2..], ["2026-11-21T04:00:00Z"]);
}

#[tokio::test]
async fn a_flexible_window_delays_the_call_and_not_the_time() {
    let mut world = World::at("2026-11-21T02:00:00Z").await;
    let window = json!({ "FlexibleTimeWindow": { "Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15 } });
    world.create("s", "cron(0 3 * * ? *)", window).await;
    // 25 minutes are 10 within a window of 15.
    world.engine.chance = || 25 * 60_000;
    world.look_after(HOUR).await;
    world.look_after(10 * MINUTE - 1).await;
    assert!(world.function.events().is_empty());
    world.look_after(1).await;
    assert_eq!(world.function.times(), ["2026-11-21T03:00:00Z"]);
}

#[tokio::test]
async fn a_schedule_that_has_completed_may_go() {
    let mut world = World::at("2026-11-21T02:00:00Z").await;
    world.create("once", "at(2026-11-21T03:00:00)", json!({ "ActionAfterCompletion": "DELETE" })).await;
    world.create("kept", "at(2026-11-21T03:00:00)", json!({})).await;
    world.look_after(HOUR).await;
    assert_eq!(world.look_after(1).await, None);
    assert_eq!(world.function.events().len(), 2);
    let left = world.call("ListSchedules", json!({})).await.unwrap();
    assert_eq!(left["Schedules"].as_array().unwrap().len(), 1);
    assert_eq!(left["Schedules"][0]["Name"], "kept");
}

#[tokio::test]
async fn other_services_can_be_called() {
    let mut world = World::at("2026-11-21T02:00:00Z").await;
    let sns = world.services.by_sdk_name("sns").unwrap();
    let topic = sns.call("CreateTopic", json!({ "Name": "t" })).await.unwrap()["TopicArn"].clone();
    let mut body = schedule("topic", "at(2026-11-21T03:00:00)", json!({}));
    body["Target"]["Arn"] = topic;
    body["Target"]["Input"] = "it is <aws.scheduler.scheduled-time>".into();
    world.call("CreateSchedule", body).await.unwrap();
    let mut body = schedule("any", "at(2026-11-21T03:00:00)", json!({}));
    body["Target"]["Arn"] = "arn:aws:scheduler:::aws-sdk:sns:createTopic".into();
    body["Target"]["Input"] = r#"{ "Name": "other" }"#.into();
    world.call("CreateSchedule", body).await.unwrap();
    world.look_after(HOUR).await;
    let topics = sns.call("ListTopics", json!({})).await.unwrap();
    assert_eq!(topics["Topics"].as_array().unwrap().len(), 2);
    let published: String = world
        .scheduler
        .store
        .read(|tx| tx.query_row("select message from sns_messages", [], |row| row.get(0)))
        .await
        .unwrap();
    assert_eq!(published, "it is 2026-11-21T03:00:00Z");
}

#[tokio::test]
async fn the_engine_wakes_by_itself() {
    let world = World::at("2026-11-21T02:00:00Z").await;
    let store = world.scheduler.store.clone();
    let scheduler = Arc::new(Scheduler::open(store, Clock::system(), Place::default()).await.unwrap());
    let firing = scheduler.fire(world.services.clone());
    // A rate begins at once; the engine is told of it.
    scheduler.call("CreateSchedule", schedule("s", "rate(1 day)", json!({}))).await.unwrap();
    let soon = (chrono::Utc::now() + chrono::TimeDelta::seconds(2)).format("%Y-%m-%dT%H:%M:%S");
    scheduler.call("CreateSchedule", schedule("t", &format!("at({soon})"), json!({}))).await.unwrap();
    let both = async {
        while world.function.events().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    firing.stop().await;
    assert_eq!(world.function.times()[1], format!("{soon}Z"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_was_stopped_calls_nobody() {
    /// Never answers; whether it is called shows by who holds its value.
    struct Endless(Arc<()>);
    impl Function for Endless {
        fn handle(&self, _: Invocation) -> Returning<'_> {
            let held = self.0.clone();
            Box::pin(async move {
                let _held = held;
                std::future::pending().await
            })
        }
    }
    let world = World::at("2026-11-21T02:00:00Z").await;
    let called = Arc::new(());
    let lambda = Arc::new(Lambda::new(Place::default()));
    lambda.register("f", Arc::new(Endless(called.clone())));
    world.services.register(lambda.clone());
    world.create("s", "rate(1 day)", json!({})).await;
    let firing = world.scheduler.fire(world.services.clone());
    let under_way = async {
        while Arc::strong_count(&called) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), under_way).await.unwrap();
    firing.stop().await;
    assert_eq!(Arc::strong_count(&called), 2, "its delivery goes on");
    lambda.clear();
    let open = world.events_on_disk().await;
    assert_eq!(open, 1, "the next engine is to deliver it");
}

#[tokio::test]
async fn an_action_without_a_name_is_no_target() {
    let world = World::at("2026-11-21T02:00:00Z").await;
    for call in ["sns:", "sns:öffne", ":publish", "sns:publish:twice"] {
        let mut body = schedule("s", "at(2026-11-21T03:00:00)", json!({}));
        body["Target"]["Arn"] = format!("arn:aws:scheduler:::aws-sdk:{call}").into();
        assert_eq!(
            world.call("CreateSchedule", body).await.unwrap_err().code,
            "ValidationException",
            "{call}"
        );
    }
}
