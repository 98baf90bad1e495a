//! What scripts print: anything, any amount.

use chrono::TimeDelta;
use serde_json::json;

use crate::fake_aws::{Answer, FakeAws};
use crate::world::{Told, World, told};

/// This process's memory: the agent is part of it.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn output_is_there_while_the_script_runs() {
    let world = World::new().await;
    let go = world.dir.path().join("go");
    world.script(
        "job.sh",
        &format!("echo early; while ! [ -e {} ]; do sleep 0.05; done; printf late", go.display()),
    );
    world.submit(&world.request("job.sh")).await;
    let call = world.aws.call("PutLogEvents", 1).await;
    assert_eq!(call["logStreamName"], "nightly-1/job.sh/1");
    assert_eq!(world.events(), ["early"]);
    // It runs for more than a moment, so it is recorded as running.
    let running = world.aws.call("UpdateItem", 1).await;
    assert_eq!(crate::world::attributes(&running)["execution_status"], "running");
    std::fs::write(go, "").unwrap();
    world.settled().await;
    assert_eq!(world.events(), ["early", "late"]);
    assert_eq!(world.aws.calls("CreateLogStream").len(), 1);
    assert_eq!(world.aws.calls("UpdateItem").len(), 2);
}

#[tokio::test]
async fn binary_output_becomes_text() {
    let world = World::new().await;
    let told = world.run(r"printf 'a\377b\0c\r\n\n'; exit 3").await;
    assert!(matches!(told, Told::Failure(..)));
    world.settled().await;
    assert_eq!(world.events(), ["a\u{fffd}b\0c", " "]);
}

#[tokio::test]
async fn a_script_that_empties_its_output_is_still_heard() {
    let world = World::new().await;
    let go = world.dir.path().join("go");
    let wait = format!("while ! [ -e {} ]; do sleep 0.05; done", go.display());
    world.script("job.sh", &format!("echo a long first line; {wait}; echo x > /dev/stderr; echo y"));
    world.submit(&world.request("job.sh")).await;
    world.aws.call("PutLogEvents", 1).await;
    std::fs::write(go, "").unwrap();
    world.settled().await;
    assert_eq!(world.events(), ["a long first line", "x", "y"]);
}

/// Our marks of a line that goes on in the next event.
const MARKS: [&str; 2] = [" … [rsqlflow: the line goes on]", "[rsqlflow: the line goes on] … "];

#[tokio::test]
async fn a_line_beyond_an_event_comes_in_several() {
    let world = World::new().await;
    let told = world.run("head -c 3145728 /dev/zero | tr '\\0' x; echo; echo after").await;
    assert!(matches!(told, Told::Success(_)));
    world.settled().await;
    let mut events = world.events();
    assert_eq!(events.pop().unwrap(), "after");
    assert!(events.len() > 12 && events.iter().all(|event| event.len() + 26 <= 256 * 1024));
    let last = events.len() - 1;
    assert!(events[..last].iter().all(|event| event.ends_with(MARKS[0])));
    assert!(events[1..].iter().all(|event| event.starts_with(MARKS[1])));
    let line: String = events.iter().map(|event| event.replace(MARKS[0], "").replace(MARKS[1], "")).collect();
    assert!(line.len() == 3_145_728 && line.bytes().all(|byte| byte == b'x'));
}

#[tokio::test]
async fn a_progress_bar_is_what_a_terminal_shows_at_its_end() {
    let world = World::new().await;
    world.run(r"printf 'load  10%%\rload  50%%\rload 100%%\r\ndone\n'").await;
    world.settled().await;
    assert_eq!(world.events(), ["load 100%", "done"]);
}

#[tokio::test]
async fn a_line_without_an_end_is_there_while_the_script_runs() {
    let world = World::new().await;
    let go = world.dir.path().join("go");
    let wait = format!("while ! [ -e {} ]; do sleep 0.05; done", go.display());
    world.script("job.sh", &format!("printf 'sure? [y/n] '; {wait}; echo y; echo done"));
    world.submit(&world.request("job.sh")).await;
    world.aws.wait("the question", |aws| (aws.events().len() == 1).then_some(())).await;
    std::fs::write(go, "").unwrap();
    world.settled().await;
    assert_eq!(world.events(), ["sure? [y/n] ", &format!("{}y", MARKS[1]), "done"]);
}

#[tokio::test]
async fn an_answer_that_is_lost_costs_no_line_and_doubles_none() {
    let world = World::new().await;
    world.aws.next("PutLogEvents", Answer::Cut);
    world.run("echo it was taken").await;
    world.settled().await;
    assert_eq!(world.events(), ["it was taken"]);
    assert_eq!(world.aws.calls("PutLogEvents").len(), 1);

    let world = World::new().await;
    world.aws.next("PutLogEvents", Answer::Error("InternalFailure", 500));
    world.aws.next("GetLogEvents", Answer::Error("ServiceUnavailableException", 503));
    world.run("echo it was not").await;
    world.settled().await;
    assert_eq!(world.events(), ["it was not"]);
    let calls = world.aws.calls("PutLogEvents");
    // The same at the same time, so that it can be asked for again.
    assert_eq!((calls.len(), &calls[0]), (2, &calls[1]));
}

#[tokio::test]
async fn who_may_not_ask_sends_again() {
    let world = World::new().await;
    world.aws.always("GetLogEvents", Answer::Error("AccessDeniedException", 400));
    world.aws.next("PutLogEvents", Answer::Cut);
    world.run("echo perhaps twice").await;
    world.settled().await;
    assert_eq!(world.events(), ["perhaps twice", "perhaps twice"]);
}

#[tokio::test]
async fn throttling_is_waited_for_without_asking() {
    let world = World::new().await;
    for _ in 0..4 {
        world.aws.next("PutLogEvents", Answer::Error("ThrottlingException", 400));
    }
    world.run("echo 1; echo 2").await;
    world.settled().await;
    assert_eq!(world.events(), ["1", "2"]);
    assert!(world.aws.calls("GetLogEvents").is_empty());
}

#[tokio::test]
async fn every_line_comes_once_whatever_becomes_of_answers_and_agents() {
    let mut world = World::new().await;
    world.aws.next("PutLogEvents", Answer::Cut);
    world.aws.next("PutLogEvents", Answer::Error("InternalFailure", 500));
    world.aws.always("PutLogEvents", Answer::Lost);
    // Printed at once, so that they are in the file before an agent ends.
    world.run("seq 1 50000").await;
    for calls in 3..=5 {
        world.aws.call("PutLogEvents", calls).await;
        world.kill();
        world.start().await;
    }
    world.aws.always("PutLogEvents", Answer::Ok(json!({})));
    // The call that is on its way is never answered.
    world.aws.call("PutLogEvents", 6).await;
    world.kill();
    world.start().await;
    world.settled().await;
    let events = world.events();
    assert_eq!(events.len(), 50_000);
    assert!(events.iter().enumerate().all(|(index, event)| *event == (index + 1).to_string()));
}

#[tokio::test]
async fn events_that_are_rejected_are_counted_in_the_stream() {
    let world = World::new().await;
    world
        .aws
        .next("PutLogEvents", Answer::Ok(json!({"rejectedLogEventsInfo": {"tooNewLogEventStartIndex": 0}})));
    world.run("echo 1; echo 2").await;
    world.settled().await;
    let events = world.events();
    assert_eq!(events.len(), 1);
    assert!(
        events[0].starts_with(
            "[rsqlflow: CloudWatch Logs did not take 2 of the log events before this one (2 from the future"
        ),
        "{}",
        events[0]
    );
    // Nor is that said for ever, where the service rejects it as well.
    let world = World::new().await;
    world.aws.always(
        "PutLogEvents",
        Answer::Ok(json!({"rejectedLogEventsInfo": {"tooNewLogEventStartIndex": 0}})),
    );
    world.run("echo 1").await;
    world.settled().await;
    assert!(world.events().is_empty());
}

/// Whole batches, and what would tell of them: nothing came of a host with such a clock.
#[tokio::test]
async fn a_host_with_a_wrong_clock_ships_every_line_at_the_services_time() {
    for ahead in [TimeDelta::hours(-3), TimeDelta::days(15)] {
        let world = World::new().await;
        world.aws.set_clock(ahead);
        world.run("echo 1; echo 2").await;
        world.settled().await;
        let events = world.events();
        assert!(events[0].contains("does not take the times of this host's clock"), "{events:?}");
        assert_eq!(events[1..], ["1", "2"]);
        let service = chrono::Utc::now() + ahead;
        for event in world.aws.events() {
            let off = service.timestamp_millis() - event.timestamp;
            assert!(off.abs() < 120_000, "{off}");
        }
    }
}

#[tokio::test]
async fn a_clock_set_back_costs_no_line_and_one_notice() {
    let world = World::new().await;
    world.aws.set_clock(TimeDelta::zero());
    let go = world.dir.path().join("go");
    world.script("job.sh", &format!("echo 1; until [ -e {0}1 ]; do sleep 0.01; done; echo 2; until [ -e {0}2 ]; do sleep 0.01; done; echo 3", go.display()));
    world.submit(&world.request("job.sh")).await;
    let taken = |count: usize| move |aws: &FakeAws| (aws.events().len() == count).then_some(());
    world.aws.wait("the first line", taken(1)).await;
    world.aws.set_clock(TimeDelta::hours(-3));
    std::fs::write(format!("{}1", go.display()), "").unwrap();
    world.aws.wait("the second line", taken(3)).await;
    let before = world.aws.calls("PutLogEvents").len();
    std::fs::write(format!("{}2", go.display()), "").unwrap();
    world.settled().await;
    let events = world.events();
    assert!(events[1].contains("does not take the times of this host's clock"), "{events:?}");
    assert_eq!([&events[0], &events[2], &events[3]], ["1", "2", "3"]);
    assert_eq!(world.aws.calls("PutLogEvents").len(), before + 1, "the difference is known by then");
}

#[tokio::test]
async fn lines_have_the_hosts_time_again_once_its_clock_is_right() {
    let world = World::new().await;
    world.aws.set_clock(TimeDelta::hours(-3));
    let go = world.dir.path().join("go");
    world.script("job.sh", &format!("echo 1; until [ -e {0}1 ]; do sleep 0.01; done; echo 2; until [ -e {0}2 ]; do sleep 0.01; done; echo 3", go.display()));
    world.submit(&world.request("job.sh")).await;
    let taken = |count: usize| move |aws: &FakeAws| (aws.events().len() == count).then_some(());
    world.aws.wait("the first line and the notice", taken(2)).await;
    // As if the host's had been corrected: they say the same now.
    world.aws.set_clock(TimeDelta::zero());
    std::fs::write(format!("{}1", go.display()), "").unwrap();
    world.aws.wait("the second line, whose answer says so", taken(3)).await;
    std::fs::write(format!("{}2", go.display()), "").unwrap();
    world.settled().await;
    let events = world.aws.events();
    let last = events.last().unwrap();
    assert_eq!((events.len(), last.message.as_str()), (4, "3"));
    let off = chrono::Utc::now().timestamp_millis() - last.timestamp;
    assert!(off.abs() < 120_000, "{off}");
}

#[tokio::test]
async fn events_that_are_rejected_are_not_forgotten_with_the_agent_nor_told_twice() {
    let all_rejected = || Answer::Ok(json!({"rejectedLogEventsInfo": {"tooNewLogEventStartIndex": 0}}));
    let mut world = World::new().await;
    world.aws.next("PutLogEvents", all_rejected());
    world.aws.always("PutLogEvents", Answer::Silence);
    world.run("echo 1; echo 2").await;
    // The call that would tell it.
    world.aws.call("PutLogEvents", 2).await;
    world.kill();
    world.aws.always("PutLogEvents", Answer::Ok(json!({})));
    world.start().await;
    world.settled().await;
    assert_eq!(world.events(), ["1", "2"], "as nobody was told that they are missing, they are tried again");

    let world = World::new().await;
    world.aws.next("PutLogEvents", all_rejected());
    world.aws.next("PutLogEvents", Answer::Cut);
    world.run("echo 1; echo 2").await;
    world.settled().await;
    assert_eq!(world.events().len(), 1, "{:?}", world.events());
}

#[tokio::test]
async fn a_name_that_is_refused_costs_no_line() {
    for action in ["CreateLogStream", "CreateLogGroup"] {
        let world = World::new().await;
        if action == "CreateLogGroup" {
            world.aws.always("CreateLogStream", Answer::Error("ResourceNotFoundException", 400));
        }
        world.aws.always(action, Answer::Error("InvalidParameterException", 400));
        world.aws.always("PutLogEvents", Answer::Error("InvalidParameterException", 400));
        world.run("seq 1 20").await;
        world.aws.call(action, 3).await;
        for action in [action, "CreateLogStream", "PutLogEvents"] {
            world.aws.always(action, Answer::Ok(json!({})));
        }
        world.settled().await;
        assert_eq!(world.events().len(), 20);
    }
}

#[tokio::test]
async fn an_event_that_is_refused_is_left_out_alone() {
    let world = World::new().await;
    world.aws.refuse_event("1234");
    world.run("seq 1 3000").await;
    world.settled().await;
    let (told, events): (Vec<String>, Vec<String>) =
        world.events().into_iter().partition(|event| event.starts_with("[rsqlflow"));
    let expected: Vec<String> = (1..=3000).filter(|n| *n != 1234).map(|n| n.to_string()).collect();
    assert_eq!(events, expected);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("1 of the log events before this one (1 refused: InvalidParameter"),
        "{}",
        told[0]
    );
}

#[tokio::test]
async fn much_output_is_bounded_in_memory_and_in_the_log() {
    let mut world = World::stopped();
    world.config.log_limit_bytes = 200_000;
    world.start().await;
    let before = memory_kib();
    let told = world.run("yes 'a line of output' | head -c 209715200").await;
    assert!(matches!(told, Told::Success(_)));
    world.settled().await;
    let grown = memory_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more");
    let events = world.events();
    let last = events.last().unwrap();
    assert!(last.starts_with("[rsqlflow: 209,515,200 more bytes are not shipped"), "{last}");
    let shipped: usize = events[..events.len() - 1].iter().map(|event| event.len() + 1).sum();
    assert!((199_900..=200_100).contains(&shipped), "{shipped}");
}

#[tokio::test]
async fn who_prints_much_waits_for_memory_and_holds_up_nobody_else() {
    let world = World::new().await;
    world.aws.always("PutLogEvents", Answer::Silence);
    for job in 0..8 {
        let name = format!("much{job}.sh");
        world.script(&name, "yes 'a line of output' | head -c 5000000");
        let mut request = world.request(&name);
        request.task_token.push_str(&name);
        world.submit(&request).await;
    }
    let size = |call: &serde_json::Value| {
        let events = call["logEvents"].as_array().unwrap();
        events.iter().map(|event| event["message"].as_str().unwrap().len() + 1).sum::<usize>()
    };
    let large = |aws: &FakeAws| {
        let large = aws.calls("PutLogEvents").iter().filter(|call| size(call) > 100_000).count();
        (large == 3).then_some(())
    };
    world.aws.wait("large calls", large).await;
    world.script("few.sh", "echo heard");
    let mut request = world.request("few.sh");
    request.task_token.push_str("few");
    world.submit(&request).await;
    let few = |aws: &FakeAws| {
        aws.calls("PutLogEvents").into_iter().find(|call| call["logEvents"][0]["message"] == "heard")
    };
    world.aws.wait("the one line", few).await;
    world.aws.wait("all callbacks", |aws| (told(aws).len() == 9).then_some(())).await;
    large(&world.aws).expect("no fourth large call before one of the three is answered");
}

#[tokio::test]
async fn order_is_kept_across_batches() {
    let world = World::new().await;
    let told = world.run("i=0; while [ $i -lt 25000 ]; do echo $i; i=$((i+1)); done").await;
    assert!(matches!(told, Told::Success(_)));
    world.settled().await;
    let events = world.events();
    assert!(events.iter().enumerate().all(|(index, event)| *event == index.to_string()));
    assert_eq!(events.len(), 25000);
    let calls = world.aws.calls("PutLogEvents");
    assert!(calls.iter().all(|call| call["logEvents"].as_array().unwrap().len() <= 10_000));
    let times: Vec<i64> = calls
        .iter()
        .flat_map(|call| call["logEvents"].as_array().unwrap().clone())
        .map(|event| event["timestamp"].as_i64().unwrap())
        .collect();
    assert!(times.is_sorted());
    // One time for each call, which tells it from all others.
    let mut of_calls = times.clone();
    of_calls.dedup();
    assert_eq!(of_calls.len(), calls.len());
}
