//! What scripts print: anything, any amount.

use crate::world::{Told, World};

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

#[tokio::test]
async fn a_line_of_50_mb_is_cut_and_says_so() {
    let world = World::new().await;
    let told = world.run("head -c 52428800 /dev/zero | tr '\\0' x; echo; echo after").await;
    assert!(matches!(told, Told::Success(_)));
    world.settled().await;
    let events = world.events();
    assert_eq!(events.len(), 2);
    assert!(events[0].ends_with("bytes of this line cut]"), "{}", &events[0][events[0].len() - 80..]);
    assert_eq!(events[1], "after");
}

#[tokio::test]
async fn much_output_is_bounded_in_memory_and_in_the_log() {
    let mut world = World::stopped();
    world.config.log_limit_bytes = 1_000_000;
    world.start().await;
    let before = memory_kib();
    let told = world.run("yes 'a line of output' | head -c 209715200").await;
    assert!(matches!(told, Told::Success(_)));
    world.settled().await;
    let grown = memory_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more");
    let events = world.events();
    let last = events.last().unwrap();
    assert!(last.starts_with("[rsqlflow: 208,715,200 more bytes are not shipped"), "{last}");
    let shipped: usize = events[..events.len() - 1].iter().map(|event| event.len() + 1).sum();
    assert!((999_900..=1_000_100).contains(&shipped), "{shipped}");
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
}
