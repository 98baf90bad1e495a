//! What a new agent makes of what an old one left.

use crate::fake_aws::Answer;
use crate::world::{Told, World, is_alive, pids, told, until};

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
    // Whether the line is there is asked for a while before it is sent again.
    actions.dedup();
    assert_eq!(
        actions,
        [
            "CreateLogStream",
            "GetLogEvents",
            "GetSecretValue",
            "PutLogEvents",
            "SendTaskSuccess",
            "UpdateItem"
        ]
    );
    let commits = world.agent().stats().durable_commits;
    assert_eq!(commits, 0, "nothing new was decided");
    // And the one after it has nothing to do.
    world.shutdown().await;
    world.start().await;
    assert!(world.agent().jobs().await.is_empty());
}

/// A script that runs until it is let go, then exits with 7; answers its pids and the file that lets it go.
fn patient(world: &World) -> (std::path::PathBuf, std::path::PathBuf) {
    let (seen, go) = (world.dir.path().join("pids"), world.dir.path().join("go"));
    world.script(
        "job.sh",
        &format!(
            "echo before\necho $$ > {0}.new; mv {0}.new {0}\nwhile ! [ -e {1} ]; do sleep 0.01; done\n\
             echo after; exit 7",
            seen.display(),
            go.display()
        ),
    );
    (seen, go)
}

#[tokio::test]
async fn a_script_outlives_its_agents_and_the_last_one_tells_its_true_end() {
    let mut world = World::new().await;
    let (seen, go) = patient(&world);
    world.submit(&world.request("job.sh")).await;
    let pid = pids(&seen, 1).await[0];
    for _ in 0..3 {
        world.kill();
        world.start().await;
        world.shutdown().await;
        world.start().await;
    }
    assert!(is_alive(pid) && told(&world.aws).is_empty());
    std::fs::write(go, "").unwrap();
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.exit_code, failure.attempt), ("Rsql.ExitCode", Some(7), 1));
    world.settled().await;
    assert_eq!(world.events(), ["before", "after"]);
    assert_eq!(told(&world.aws).len(), 1);
}

#[tokio::test]
async fn a_script_that_ended_while_no_agent_was_there_is_told_as_it_ended() {
    let mut world = World::new().await;
    let (seen, go) = patient(&world);
    world.submit(&world.request("job.sh")).await;
    let pid = pids(&seen, 1).await[0];
    world.kill();
    std::fs::write(go, "").unwrap();
    until("the script's end", || (!is_alive(pid)).then_some(())).await;
    world.start().await;
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.exit_code), ("Rsql.ExitCode", Some(7)));
}

#[tokio::test]
async fn where_the_supervisor_is_killed_nothing_of_the_script_is_left() {
    for with_agent in [true, false] {
        let mut world = World::new().await;
        let seen = world.dir.path().join("pids");
        world.script(
            "job.sh",
            &format!(
                "sleep 1000 & setsid sleep 1001 & echo $! > {0}.new; echo $$ >> {0}.new; echo $PPID >> {0}.new\n\
                 mv {0}.new {0}; wait",
                seen.display()
            ),
        );
        world.submit(&world.request("job.sh")).await;
        let mut pids = pids(&seen, 3).await;
        if !with_agent {
            world.kill();
        }
        let supervisor = i32::try_from(pids.pop().unwrap()).unwrap();
        let supervisor = rustix::process::Pid::from_raw(supervisor).unwrap();
        rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
        if !with_agent {
            world.start().await;
        }
        let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
        assert_eq!((error.as_str(), failure.attempt), ("Rsql.HostLost", 1));
        assert!(failure.message.contains("supervisor"), "{}", failure.message);
        assert!(!pids.into_iter().any(is_alive));
    }
}

#[tokio::test]
async fn a_corrupt_journal_is_moved_aside_and_its_jobs_are_adopted() {
    let mut world = World::new().await;
    let (seen, go) = patient(&world);
    world.submit(&world.request("job.sh")).await;
    pids(&seen, 1).await;
    world.aws.call("PutLogEvents", 1).await;
    world.kill();
    let journal = world.config.data_dir.join("journal.db");
    std::fs::write(&journal, "not a database, for whatever reason".repeat(100)).unwrap();
    std::fs::write(journal.with_extension("db-wal"), "").unwrap();
    world.start().await;
    std::fs::write(go, "").unwrap();
    let Told::Failure(_, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!((failure.exit_code, failure.attempt), (Some(7), 1));
    let kept = std::fs::read_dir(&world.config.data_dir).unwrap();
    let kept = kept.filter(|file| {
        file.as_ref().unwrap().file_name().to_string_lossy().starts_with("journal.db.corrupt-")
    });
    assert!(kept.count() >= 1);
    world.settled().await;
    assert_eq!(world.events(), ["before", "after"]);
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_not_touched() {
    let mut world = World::new().await;
    world.shutdown().await;
    let journal = world.config.data_dir.join("journal.db");
    rusqlite::Connection::open(&journal).unwrap().execute_batch("pragma user_version = 99").unwrap();
    let error = rsqlflow_agent::Agent::start(world.config.clone(), &world.aws.clients()).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("newer version") && source.contains("99"), "{source}");
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
    for job in std::fs::read_dir(world.config.data_dir.join("jobs")).unwrap() {
        std::fs::remove_dir_all(job.unwrap().path()).unwrap();
    }
    drop(journal);
    world.start().await;
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!(error, "Rsql.HostLost");
    assert!(failure.message.contains("started anew"), "{}", failure.message);
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "ran\n");
    world.settled().await;
}

fn retry(max_attempts: u32) -> Option<rsqlflow_config::workflow::Retry> {
    Some(rsqlflow_config::workflow::Retry {
        max_attempts,
        interval_seconds: 0,
        backoff_rate: 1.0,
        errors: None,
    })
}

#[tokio::test]
async fn attempts_whose_notes_were_lost_are_known_by_their_run_files() {
    for (with_agent, marks_too) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut world = World::new().await;
        let (dir, second) = (world.dir.path().display().to_string(), world.dir.path().join("second"));
        world.script(
            "job.sh",
            &format!(
                "echo $ATTEMPT >> {dir}/ran; echo in $ATTEMPT; [ $ATTEMPT = 1 ] && exit 3\n\
                 echo $$ > {dir}/new; mv {dir}/new {dir}/second; while ! [ -e {dir}/go ]; do sleep 0.01; done; exit 4"
            ),
        );
        let mut request = world.request("job.sh");
        request.retry = retry(2);
        let job_id = world.submit(&request).await.job_id;
        let directory = world.config.data_dir.join("jobs").join(job_id);
        let pid = pids(&second, 1).await[0];
        let journal = rusqlite::Connection::open(world.config.data_dir.join("journal.db")).unwrap();
        // Whatever is on its way to the journal would come after the loss.
        until("everything to be noted", || {
            let noted = "select count(*) from attempts";
            let count: u32 = journal.query_row(noted, [], |row| row.get(0)).unwrap();
            let shipped = |number: u32| {
                let mark = std::fs::read_to_string(directory.join(format!("{number}.shipped")));
                mark.is_ok_and(|mark| mark.contains("\"position\":5,") && mark.contains("null"))
            };
            (count == 2 && shipped(1) && shipped(2)).then_some(())
        })
        .await;
        world.kill();
        if marks_too {
            for number in 1..=2 {
                std::fs::remove_file(directory.join(format!("{number}.shipped"))).unwrap();
            }
        }
        journal.execute_batch("delete from attempts").unwrap();
        drop(journal);
        let go = world.dir.path().join("go");
        if !with_agent {
            std::fs::write(&go, "").unwrap();
            until("the script's end", || (!is_alive(pid)).then_some(())).await;
        }
        world.start().await;
        std::fs::write(&go, "").unwrap();
        let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
        assert_eq!((error.as_str(), failure.exit_code, failure.attempt), ("Rsql.ExitCode", Some(4), 2));
        assert_eq!(std::fs::read_to_string(world.dir.path().join("ran")).unwrap(), "1\n2\n");
        let audit = world.final_audit().await;
        let earlier = audit["attempts"].to_string();
        assert!(earlier.contains("\"3\"") && !earlier.contains("\"4\""), "{earlier}");
        world.settled().await;
        let mut lines = world.events();
        lines.retain(|line| !line.starts_with("[rsqlflow: the agent has lost its notes"));
        lines.sort();
        if marks_too {
            assert_eq!(lines.len(), world.events().len() - 2, "each stream says why");
            assert_eq!(lines, ["in 1", "in 1", "in 2", "in 2"], "what was sent comes again");
        } else {
            assert_eq!(lines, ["in 1", "in 2"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_jobs_run_after_a_restart_than_may() {
    let mut world = World::stopped();
    world.config.max_running_jobs = 3;
    world.start().await;
    let dir = world.dir.path().display().to_string();
    world.script(
        "job.sh",
        &format!("echo $JOB_NAME >> {dir}/ran; while ! [ -e {dir}/go ]; do sleep 0.01; done; exit 0"),
    );
    for number in 0..20 {
        let mut request = world.request("job.sh");
        request.job_name = format!("job-{number}");
        request.task_token.push_str(&number.to_string());
        world.submit(&request).await;
    }
    let ran = world.dir.path().join("ran");
    let count = || std::fs::read_to_string(&ran).unwrap_or_default().lines().count();
    until("three jobs", || (count() == 3).then_some(())).await;
    for _ in 0..5 {
        let asked = world.aws.calls("SendTaskHeartbeat").len();
        world.kill();
        world.start().await;
        // Every job has been heard of, so every one that may start is about to.
        world.aws.call("SendTaskHeartbeat", asked + 20).await;
        let running = world.agent().jobs().await.iter().filter(|job| job.state == "running").count();
        assert!(running <= 3, "{running} run");
    }
    assert_eq!(count(), 3);
    std::fs::write(world.dir.path().join("go"), "").unwrap();
    world.settled().await;
    assert_eq!(count(), 20);
}

#[tokio::test]
async fn what_waited_while_no_agent_was_there_is_asked_about_before_it_runs() {
    let mut world = World::stopped();
    world.config.max_running_jobs = 1;
    world.start().await;
    let (seen, _go) = patient(&world);
    world.submit(&world.request("job.sh")).await;
    let pid = pids(&seen, 1).await[0];
    let ran = world.dir.path().join("ran");
    world.script("second.sh", &format!("touch {}", ran.display()));
    let mut second = world.request("second.sh");
    second.task_token.push_str("second");
    world.submit(&second).await;
    world.kill();
    for action in ["SendTaskHeartbeat", "SendTaskFailure"] {
        world.aws.always(action, Answer::Error("TaskTimedOut", 400));
    }
    world.config.max_running_jobs = 0;
    world.start().await;
    world.settled().await;
    assert!(!ran.exists() && !is_alive(pid));
}

#[tokio::test]
async fn a_job_that_is_killed_at_once_is_told_as_killed() {
    let world = World::new().await;
    world.script("job.sh", "sleep 1000");
    for round in 0..20 {
        let mut request = world.request("job.sh");
        request.task_token.push_str(&round.to_string());
        let socket = world.agent().socket().to_owned();
        let job = world.submit(&request).await.job_id;
        let kill = rsqlflow_agent::protocol::Request::Kill { job };
        tokio::task::spawn_blocking(move || rsqlflow_agent::client::ask(&socket, &kill).unwrap())
            .await
            .unwrap();
    }
    world.settled().await;
    for told in told(&world.aws) {
        assert!(matches!(&told, Told::Failure(error, _) if error == "Rsql.Killed"), "{told:?}");
    }
}
