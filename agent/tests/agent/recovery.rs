//! What a new agent makes of what an old one left.

use crate::fake_aws::Answer;
use crate::world::{Told, World, is_alive, pids, told};

#[tokio::test]
async fn an_outcome_that_was_not_reported_is_reported_by_the_next_agent() {
    let mut world = World::new().await;
    for action in ["SendTaskSuccess", "UpdateItem", "PutLogEvents"] {
        world.aws.always(action, Answer::Silence);
    }
    world.script("job.sh", "echo line");
    world.submit(&world.request("job.sh")).await;
    for action in ["SendTaskSuccess", "UpdateItem", "PutLogEvents"] {
        world.aws.call(action, 1).await;
    }
    world.kill();
    let before = world.aws.all_calls().len();
    for action in ["SendTaskSuccess", "UpdateItem", "PutLogEvents"] {
        world.aws.always(action, Answer::Ok(serde_json::json!({})));
    }
    world.start().await;
    world.settled().await;
    let mut actions: Vec<String> =
        world.aws.all_calls().split_off(before).into_iter().map(|call| call.action).collect();
    actions.sort();
    assert_eq!(
        actions,
        ["CreateLogStream", "GetSecretValue", "PutLogEvents", "SendTaskSuccess", "UpdateItem"]
    );
    let commits = world.agent().stats().durable_commits;
    assert_eq!(commits, 0, "nothing new was decided");
    // And the one after it has nothing to do.
    world.shutdown().await;
    world.start().await;
    assert!(world.agent().jobs().await.is_empty());
}

#[tokio::test]
async fn a_script_that_outlived_its_agent_is_ended_and_its_host_counts_as_lost() {
    let mut world = World::new().await;
    let seen = world.dir.path().join("pids");
    world.script(
        "job.sh",
        &format!(
            "echo before\nsleep 1000 & echo $! > {0}.new; echo $$ >> {0}.new; mv {0}.new {0}; wait",
            seen.display()
        ),
    );
    world.submit(&world.request("job.sh")).await;
    let pids = pids(&seen, 2).await;
    world.kill();
    assert!(pids.iter().copied().all(is_alive));
    world.start().await;
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.attempt), ("Rsql.HostLost", 1));
    assert!(!pids.into_iter().any(is_alive));
    world.settled().await;
    assert_eq!(world.events().last().map(String::as_str), Some("before"));
    assert_eq!(told(&world.aws).len(), 1);
}

#[tokio::test]
async fn a_job_that_waits_for_its_next_attempt_goes_on_with_the_next_agent() {
    let mut world = World::new().await;
    world.script("job.sh", "echo $ATTEMPT; [ $ATTEMPT = 2 ]");
    let mut request = world.request("job.sh");
    request.retry = Some(rsqlflow_config::workflow::Retry {
        max_attempts: 3,
        interval_seconds: 1,
        backoff_rate: 1.0,
        errors: None,
    });
    world.submit(&request).await;
    world.aws.call("PutLogEvents", 1).await;
    world.shutdown().await;
    assert!(told(&world.aws).is_empty());
    world.start().await;
    let Told::Success(success) = world.told().await else { panic!("failed") };
    assert_eq!(success.attempt, 2);
    assert_eq!(world.final_audit().await["attempts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn one_data_directory_has_one_agent() {
    let world = World::new().await;
    let error = rsqlflow_agent::Agent::start(world.config.clone(), &world.aws.clients()).await.unwrap_err();
    assert!(error.to_string().contains("another agent works in"), "{error}");
}

#[tokio::test]
async fn data_directories_may_have_long_paths() {
    let mut world = World::stopped();
    world.config.data_dir = world.dir.path().join("d".repeat(120));
    world.start().await;
    world.script("job.sh", ". \"$1/get_redshift_creds.sh\" \"$2\"; [ \"$HOST\" = warehouse.test ]");
    world.submit(&world.request("job.sh")).await;
    assert!(matches!(world.told().await, Told::Success(_)));
}

#[tokio::test]
async fn nothing_that_was_accepted_before_a_reboot_runs_after_it() {
    let mut world = World::new().await;
    let ran = world.dir.path().join("ran");
    world.script("job.sh", &format!("echo ran | tee -a {}; exit 1", ran.display()));
    let mut request = world.request("job.sh");
    request.retry = Some(rsqlflow_config::workflow::Retry {
        max_attempts: 2,
        interval_seconds: 900,
        backoff_rate: 1.0,
        errors: None,
    });
    world.submit(&request).await;
    // The output is shipped to its end once the attempt has ended; then the job waits for the next.
    world.aws.call("PutLogEvents", 1).await;
    world.kill();
    // What a power cut may leave: the acceptance, which was flushed, and nothing of what came after it.
    let journal = rusqlite::Connection::open(world.config.data_dir.join("journal.db")).unwrap();
    journal.execute_batch("update jobs set boot_id = 'another'; delete from attempts").unwrap();
    for file in std::fs::read_dir(world.config.data_dir.join("jobs")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    drop(journal);
    world.start().await;
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!(error, "Rsql.HostLost");
    assert!(failure.message.contains("started anew"), "{}", failure.message);
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "ran\n");
    world.settled().await;
}
