//! What a host takes, in which order it runs it, and what operators may do to it.

use rsqlflow_agent::protocol::{Reply, Request};
use rsqlflow_agent::{JobInfo, client};
use rsqlflow_config::job::JobRequest;
use rsqlflow_config::names::ParameterNames;

use crate::fake_aws::Answer;
use crate::world::{Told, World, is_alive, pids, told, until};

async fn ask(world: &World, request: Request) -> Reply {
    let socket = world.agent().socket().to_owned();
    tokio::task::spawn_blocking(move || client::ask(&socket, &request).unwrap()).await.unwrap()
}

/// The job of a name, once it is in a state.
async fn in_state(world: &World, job_name: &str, state: &str) -> JobInfo {
    let found = async {
        loop {
            let jobs = world.agent().jobs().await;
            if let Some(job) = jobs.into_iter().find(|job| job.job_name == job_name && job.state == state) {
                return job;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::fake_aws::DEADLINE, found).await.expect("a job in that state")
}

fn named(world: &World, name: &str) -> JobRequest {
    let mut request = world.request("job.sh");
    request.task_token.push_str(name);
    request.job_name = name.into();
    request
}

/// Runs until the file of its job's name is there.
fn patient(world: &World) {
    let dir = world.dir.path().display();
    world.script(
        "job.sh",
        &format!("echo $JOB_NAME >> {dir}/order; while ! [ -e {dir}/go-$JOB_NAME ]; do sleep 0.01; done"),
    );
}

#[tokio::test]
async fn no_more_jobs_run_than_may_and_the_most_urgent_is_next() {
    let mut world = World::stopped();
    world.config.max_running_jobs = 1;
    world.config.pools.insert("etl".into(), 1);
    world.start().await;
    patient(&world);
    world.submit(&named(&world, "first")).await;
    in_state(&world, "first", "running").await;
    world.submit(&named(&world, "late")).await;
    world.submit(&JobRequest { priority: 5, pool: Some("etl".into()), ..named(&world, "urgent") }).await;
    let running = in_state(&world, "first", "running").await;
    let queued = in_state(&world, "urgent", "queued").await;
    assert!(queued.waits_for.unwrap().contains("max_running_jobs"));
    // Those that wait are waited for again after a restart, and their heartbeats go on.
    world.kill();
    world.start().await;
    let adopted = in_state(&world, "first", "running").await;
    assert_eq!(adopted.since, running.since, "it has been running since then, whatever became of the agent");
    in_state(&world, "urgent", "queued").await;
    in_state(&world, "late", "queued").await;
    for name in ["first", "urgent", "late"] {
        std::fs::write(world.dir.path().join(format!("go-{name}")), "").unwrap();
    }
    world.settled().await;
    assert_eq!(std::fs::read_to_string(world.dir.path().join("order")).unwrap(), "first\nurgent\nlate\n");
}

#[tokio::test]
async fn a_job_that_was_accepted_under_other_settings_is_checked_again_before_it_starts() {
    let mut world = World::stopped();
    world.config.max_running_jobs = 1;
    world.config.parameter_names = ParameterNames::listing(["PYTHONWARNINGS".into()]);
    world.start().await;
    patient(&world);
    for (name, state) in [("first", "running"), ("second", "queued")] {
        let mut request = named(&world, name);
        request.parameters.insert("PYTHONWARNINGS".into(), "x".into());
        world.submit(&request).await;
        in_state(&world, name, state).await;
    }
    world.kill();
    world.config.parameter_names = ParameterNames::default();
    world.start().await;
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!(error, "Rsql.InvalidRequest");
    assert!(failure.message.contains("`PYTHONWARNINGS` is not in lower case"), "{}", failure.message);
    // A script that runs goes on.
    in_state(&world, "first", "running").await;
    std::fs::write(world.dir.path().join("go-first"), "").unwrap();
    world.settled().await;
    assert_eq!(std::fs::read_to_string(world.dir.path().join("order")).unwrap(), "first\n");
}

#[tokio::test]
async fn a_pool_that_the_host_does_not_have_is_named() {
    let world = World::new().await;
    world.script("job.sh", "echo ran");
    world.submit(&JobRequest { pool: Some("reports".into()), ..world.request("job.sh") }).await;
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!(error, "Rsql.InvalidRequest");
    assert!(failure.message.contains("`reports`"), "{}", failure.message);
    world.settled().await;
    assert!(world.events().is_empty());
}

#[tokio::test]
async fn an_operator_ends_a_job_and_the_audit_says_so() {
    let world = World::new().await;
    let seen = world.dir.path().join("pids");
    world.script("job.sh", &format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 1000", seen.display()));
    world.submit(&world.request("job.sh")).await;
    let pid = pids(&seen, 1).await[0];
    let job = in_state(&world, "job.sh", "running").await.job_id;
    let Reply::Refused { message } = ask(&world, Request::Kill { job: "nightly-1/other".into() }).await
    else {
        panic!("there is no such job")
    };
    assert!(message.contains("rsqlflow-agent jobs"), "{message}");
    let Reply::Killing(info) = ask(&world, Request::Kill { job }).await else { panic!("refused") };
    assert_eq!(info.pid, Some(pid));
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.status.as_str()), ("Rsql.Killed", "cancelled"));
    assert!(!is_alive(pid));
    assert_eq!(world.final_audit().await["error"], "Rsql.Killed");
}

#[tokio::test]
async fn a_drained_host_finishes_what_it_has_and_says_no_to_the_rest() {
    let mut world = World::new().await;
    patient(&world);
    world.submit(&named(&world, "first")).await;
    in_state(&world, "first", "running").await;
    let Reply::Status(status) = ask(&world, Request::Drain { drained: true }).await else {
        panic!("refused")
    };
    assert!(status.drained);
    world.shutdown().await;
    world.start().await;
    let refused =
        world.agent().submit(&named(&world, "second").encode(), None).await.unwrap_err().to_string();
    assert!(refused.contains("undrain"), "{refused}");
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.job_name.as_str()), ("Rsql.HostUnavailable", "second"));
    std::fs::write(world.dir.path().join("go-first"), "").unwrap();
    world.settled().await;
    assert!(matches!(told(&world.aws)[1], Told::Success(_)));
    ask(&world, Request::Drain { drained: false }).await;
    std::fs::write(world.dir.path().join("go-third"), "").unwrap();
    world.submit(&named(&world, "third")).await;
    world.settled().await;
}

#[tokio::test]
async fn a_host_without_room_takes_no_jobs_and_says_how_much_it_needs() {
    let mut world = World::stopped();
    world.config.min_free_bytes = u64::MAX;
    world.start().await;
    let refused =
        world.agent().submit(&world.request("job.sh").encode(), None).await.unwrap_err().to_string();
    assert!(refused.contains("agent.min_free_mib"), "{refused}");
    let Told::Failure(error, _) = world.told().await else { panic!("succeeded") };
    assert_eq!(error, "Rsql.HostUnavailable");
}

#[tokio::test]
async fn a_request_that_comes_late_is_asked_about_before_it_runs() {
    let world = World::new().await;
    let ran = world.dir.path().join("ran");
    world.script("job.sh", &format!("touch {}", ran.display()));
    world.aws.always("SendTaskHeartbeat", Answer::Error("TaskTimedOut", 400));
    world.aws.always("SendTaskFailure", Answer::Error("TaskTimedOut", 400));
    let sent_at = Some("2026-01-01T00:00:00.000Z".into());
    world.submit(&JobRequest { sent_at: sent_at.clone(), ..named(&world, "gone") }).await;
    world.settled().await;
    assert!(!ran.exists());
    world.aws.always("SendTaskHeartbeat", Answer::Ok(serde_json::json!({})));
    world.submit(&JobRequest { sent_at, ..named(&world, "wanted") }).await;
    until("the script that is waited for", || ran.exists().then_some(())).await;
    world.settled().await;
}

#[tokio::test]
async fn a_socket_has_one_agent() {
    let world = World::new().await;
    let mut other = world.config.clone();
    other.data_dir = world.dir.path().join("other");
    other.socket = Some(world.agent().socket().to_owned());
    let error = rsqlflow_agent::Agent::start(other, &world.aws.clients()).await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(why, "another agent listens there", "{error}");
    assert!(matches!(ask(&world, Request::Jobs {}).await, Reply::Jobs(_)));
}

#[tokio::test]
async fn logs_of_settled_jobs_make_room_for_newer_ones() {
    let mut world = World::stopped();
    world.config.log_retention_bytes = 1500;
    world.start().await;
    world.script("job.sh", "head -c 1000 /dev/zero | tr '\\0' x");
    for name in ["first", "second"] {
        world.submit(&named(&world, name)).await;
        world.settled().await;
    }
    // The look at the disk comes with a job that is settled, and not often; a new agent has not looked yet.
    let log = |job_id: &str| world.config.data_dir.join("jobs").join(job_id).join("1.log");
    let ids: Vec<String> = std::fs::read_dir(world.config.data_dir.join("jobs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|id| log(id).exists())
        .collect();
    assert_eq!(ids.len(), 2);
    world.shutdown().await;
    world.start().await;
    world.script("job.sh", "true");
    world.submit(&named(&world, "third")).await;
    world.settled().await;
    let log = |job_id: &str| world.config.data_dir.join("jobs").join(job_id).join("1.log");
    until("the older log to go", || (ids.iter().filter(|id| log(id).exists()).count() == 1).then_some(()))
        .await;
}

#[tokio::test]
async fn jobs_that_do_not_run_say_what_they_wait_for() {
    let world = World::new().await;
    world.aws.always("PutLogEvents", Answer::Silence);
    world.script("job.sh", "echo line; [ $ATTEMPT = 2 ]");
    let retry = rsqlflow_config::workflow::Retry {
        max_attempts: 2,
        interval_seconds: 2,
        backoff_rate: 1.0,
        errors: None,
    };
    world.submit(&JobRequest { retry: Some(retry), ..world.request("job.sh") }).await;
    let waits = async |state: &str| {
        let mut job = in_state(&world, "job.sh", state).await;
        while job.waits_for.as_deref().is_none_or(|what| what.contains("callback") || what.contains("audit"))
        {
            tokio::task::yield_now().await;
            job = in_state(&world, "job.sh", state).await;
        }
        job.waits_for.unwrap()
    };
    let next = waits("waiting").await;
    assert!(next.starts_with("attempt 2 at 20") && next.ends_with('Z'), "{next}");
    assert_eq!(waits("reporting").await, "logs");
}
