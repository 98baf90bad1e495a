//! How scripts end, and how they are ended.

use rsqlflow_config::job::JobRequest;
use rsqlflow_config::workflow::Retry;

use crate::fake_aws::Answer;
use crate::world::{Told, World, is_alive, pids};

#[tokio::test]
async fn the_statement_s_error_is_told() {
    let world = World::new().await;
    let told = world
        .run("echo start\necho 'rsql:load.sql:12: ERROR:  relation \"x\" does not exist' >&2\necho 'SQLSTATE: 42P01'\nexit 21")
        .await;
    let Told::Failure(error, failure) = told else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.exit_code), ("Rsql.ExitCode", Some(21)));
    assert_eq!(failure.message, "SQLSTATE 42P01: relation \"x\" does not exist (exit code 21)");
    assert_eq!(failure.log_stream.as_deref(), Some("nightly-1/job.sh/1"));
    let audit = world.final_audit().await;
    assert_eq!(
        (audit["execution_status"].as_str(), audit["error"].as_str()),
        (Some("failed"), Some("Rsql.ExitCode"))
    );
    assert_eq!(audit["error_message"], failure.message);
}

#[tokio::test]
async fn a_signal_is_told_as_one() {
    let world = World::new().await;
    let Told::Failure(error, failure) = world.run("kill -9 $$").await else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.exit_code), ("Rsql.Signal", None));
    assert_eq!(world.final_audit().await["signal"], 9);
}

#[tokio::test]
async fn other_codes_can_mean_success() {
    let world = World::new().await;
    world.script("job.sh", "exit 4");
    let request = JobRequest { success_exit_codes: vec![0, 4], ..world.request("job.sh") };
    world.submit(&request).await;
    let Told::Success(success) = world.told().await else { panic!("failed") };
    assert_eq!(success.exit_code, 4);
}

/// A tree that ignores TERM, one member of which has left the process group.
fn stubborn(world: &World) -> std::path::PathBuf {
    let seen = world.dir.path().join("pids");
    let script = format!(
        "trap '' TERM\nsh -c 'trap \"\" TERM; sleep 1000' & a=$!\n\
         setsid sh -c 'trap \"\" TERM; echo $$ > {0}.setsid; sleep 1001; true' & \n\
         while ! [ -s {0}.setsid ]; do :; done\n\
         {{ echo $$; echo $a; cat {0}.setsid; }} > {0}.new; mv {0}.new {0}\nwhile :; do sleep 1; done",
        seen.display()
    );
    world.script("job.sh", &script);
    seen
}

#[tokio::test]
async fn a_limit_on_time_ends_the_whole_tree() {
    let world = World::new().await;
    let seen = stubborn(&world);
    let request = JobRequest { timeout_seconds: Some(1), ..world.request("job.sh") };
    world.submit(&request).await;
    let pids = pids(&seen, 3).await;
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.status.as_str()), ("Rsql.TimedOut", "timed_out"));
    assert!(failure.message.contains("timeout_seconds = 1") && failure.message.contains("KILL"));
    assert!(!pids.into_iter().any(is_alive));
}

#[tokio::test]
async fn silence_ends_a_script_and_output_does_not() {
    let world = World::new().await;
    // The shell itself would sometimes say that its sleep was terminated.
    world.script("job.sh", "for i in 1 2 3 4 5; do echo $i; sleep 0.7; done; exec sleep 1000");
    let request = JobRequest { stall_seconds: Some(3), ..world.request("job.sh") };
    world.submit(&request).await;
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.status.as_str()), ("Rsql.Stalled", "timed_out"));
    assert!(failure.message.contains("its last output:\n1\n2\n3\n4\n5"), "{}", failure.message);
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let world = World::new().await;
    let seen = world.dir.path().join("pids");
    let told = world.run(&format!("sleep 1000 &\necho $! > {0}.new; mv {0}.new {0}", seen.display())).await;
    assert!(matches!(told, Told::Success(_)), "{told:?}");
    assert!(!is_alive(pids(&seen, 1).await[0]));
}

#[tokio::test]
async fn a_task_that_nobody_waits_for_is_cancelled() {
    let world = World::new().await;
    let seen = stubborn(&world);
    world.aws.next("SendTaskHeartbeat", Answer::Error("ThrottlingException", 400));
    world.aws.next("SendTaskHeartbeat", Answer::Ok(serde_json::json!({})));
    world.aws.always("SendTaskHeartbeat", Answer::Error("TaskTimedOut", 400));
    world.aws.always("SendTaskFailure", Answer::Error("TaskTimedOut", 400));
    let request = JobRequest { heartbeat_seconds: 1, ..world.request("job.sh") };
    world.submit(&request).await;
    let pids = pids(&seen, 3).await;
    let Told::Failure(error, _) = world.told().await else { panic!("succeeded") };
    assert_eq!(error, "Rsql.Cancelled");
    assert!(!pids.into_iter().any(is_alive));
    assert_eq!(world.final_audit().await["execution_status"], "cancelled");
    world.settled().await;
    assert_eq!(world.aws.calls("SendTaskFailure").len(), 1, "a final answer is not asked for again");
}

#[tokio::test]
async fn attempts_follow_each_other_and_all_are_kept() {
    let world = World::new().await;
    world.script("job.sh", "echo attempt $ATTEMPT; [ $ATTEMPT = 3 ]");
    let retry = Retry { max_attempts: 5, interval_seconds: 0, ..Retry::default() };
    let request = JobRequest { retry: Some(retry), ..world.request("job.sh") };
    world.submit(&request).await;
    let Told::Success(success) = world.told().await else { panic!("failed") };
    assert_eq!((success.attempt, success.log_stream.as_str()), (3, "nightly-1/job.sh/3"));
    let audit = world.final_audit().await;
    assert_eq!(audit["attempt"], 3);
    let earlier = audit["attempts"].as_array().unwrap();
    assert_eq!(earlier.len(), 2);
    assert_eq!(earlier[1]["M"]["log_stream"]["S"], "nightly-1/job.sh/2");
    assert_eq!(earlier[1]["M"]["exit_code"]["N"], "1");
    world.settled().await;
    let mut events = world.events();
    events.sort();
    assert_eq!(events, ["attempt 1", "attempt 2", "attempt 3"]);
}

#[tokio::test]
async fn stopping_the_agent_ends_and_reports_its_scripts() {
    let mut world = World::new().await;
    let seen = stubborn(&world);
    world.submit(&world.request("job.sh")).await;
    let pids = pids(&seen, 3).await;
    world.shutdown_all().await;
    assert!(!pids.into_iter().any(is_alive));
    let Told::Failure(error, _) = world.told().await else { panic!("succeeded") };
    assert_eq!(error, "Rsql.HostLost");
}
