//! What settled jobs leave on the disk, and what others take from it.

use std::path::{Path, PathBuf};

use crate::world::{Told, World, is_alive, pids, told, until};

const ARGUMENT: &str = "an-argument-that-must-not-stay";

/// The files below a directory that hold a text.
fn holding(directory: &Path, texts: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Files come and go while the agent works.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(holding(&entry.path(), texts));
        } else if let Ok(bytes) = std::fs::read(entry.path())
            && texts.iter().any(|text| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        {
            found.push(entry.path());
        }
    }
    found
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn tokens_and_arguments_of_settled_jobs_are_in_no_file() {
    let mut world = World::new().await;
    let (go, data_dir) = (world.dir.path().join("go"), world.config.data_dir.clone());
    world.script("job.sh", &format!("while ! [ -e {} ]; do sleep 0.01; done", go.display()));
    let mut secrets = vec![ARGUMENT.to_owned()];
    let mut jobs = Vec::new();
    for number in 0..20 {
        let mut request = world.request("job.sh");
        request.task_token.push_str(&format!("-{number}-{}", "x".repeat(number * 50)));
        request.arguments.push(ARGUMENT.into());
        jobs.push(world.submit(&request).await.job_id);
        secrets.push(request.task_token);
    }
    let journal = data_dir.join("journal.db");
    // As `kill -9` leaves it: with somebody's descriptor on it, SQLite does not tidy up with the last connection.
    let reader = rusqlite::Connection::open(&journal).unwrap();
    reader.query_row("select count(*) from jobs", [], |row| row.get::<_, u32>(0)).unwrap();
    let kept = world.dir.path().join("kept");
    let own = |directory: &Path| directory.join("jobs").join(&jobs[0]);
    copy_all(&own(&data_dir), &own(&kept));
    std::fs::write(own(&kept).join("job.json.new"), &secrets[1]).unwrap();
    assert!(!holding(&data_dir, &secrets).is_empty() && !holding(&kept, &secrets).is_empty());
    std::fs::write(go, "").unwrap();
    world.settled().await;
    world.kill();
    assert!(!holding(&data_dir, &secrets).is_empty(), "or the next agent has nothing to remove");
    // And as an end in the last moment of a job leaves its files.
    copy_all(&own(&kept), &own(&data_dir));
    world.start().await;
    // At the start; the agent that was dropped may have its journal for a moment longer.
    until("the tokens to go", || holding(&data_dir, &secrets).is_empty().then_some(())).await;
    assert_eq!(told(&world.aws).len(), 20);

    // While it runs they go when it has a moment, and at its stop.
    for stopped in [false, true] {
        let mut request = world.request("job.sh");
        request.task_token.push_str(&format!("-later-{stopped}"));
        world.submit(&request).await;
        world.settled().await;
        if stopped {
            world.shutdown().await;
            assert_eq!(holding(&data_dir, &[request.task_token]), Vec::<PathBuf>::new(), "at the stop");
        } else {
            let token = [request.task_token];
            until("the token to go", || holding(&data_dir, &token).is_empty().then_some(())).await;
        }
    }
    drop(reader);
}

#[tokio::test]
async fn directories_that_were_removed_under_the_agent_are_made_again() {
    let world = World::new().await;
    let (seen, go) = (world.dir.path().join("pids"), world.dir.path().join("go"));
    world.script(
        "runs.sh",
        &format!(
            "echo $$ > {0}.new; mv {0}.new {0}; while ! [ -e {1} ]; do sleep 0.01; done; echo after; exit 7",
            seen.display(),
            go.display()
        ),
    );
    let mut request = world.request("runs.sh");
    request.task_token.push_str("runs");
    world.submit(&request).await;
    pids(&seen, 1).await;
    while world.agent().jobs().await[0].state != "running" {
        tokio::task::yield_now().await;
    }
    for name in ["jobs", "lib"] {
        std::fs::remove_dir_all(world.config.data_dir.join(name)).unwrap();
    }
    let told_of_new =
        world.run(". \"$1/get_redshift_creds.sh\" \"$2\"; [ \"$HOST\" = warehouse.test ]").await;
    assert!(matches!(told_of_new, Told::Success(_)), "{told_of_new:?}");
    std::fs::write(go, "").unwrap();
    world.settled().await;
    let runs = told(&world.aws).pop();
    assert!(matches!(&runs, Some(Told::Failure(_, failure)) if failure.exit_code == Some(7)), "{runs:?}");
    assert_eq!(world.events(), ["after"]);
}

#[tokio::test]
async fn a_script_does_not_run_again_after_its_file_system_has_lost_the_notes_of_its_start() {
    for (ends, noted) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new().await;
        let (seen, ran) = (world.dir.path().join("pids"), world.dir.path().join("ran"));
        world.script(
            "job.sh",
            &format!(
                "echo ran >> {1}; echo $$ > {0}.new; mv {0}.new {0}; {2}",
                seen.display(),
                ran.display(),
                if ends { "exit 0" } else { "sleep 1000" }
            ),
        );
        if ends {
            world.aws.always("SendTaskSuccess", crate::fake_aws::Answer::Silence);
        }
        world.submit(&world.request("job.sh")).await;
        let pid = pids(&seen, 1).await[0];
        if ends {
            world.aws.call("SendTaskSuccess", 1).await;
        }
        world.kill();
        // The acceptance was flushed, and nothing else: the host runs on, but its disk was away.
        let journal = rusqlite::Connection::open(world.config.data_dir.join("journal.db")).unwrap();
        journal.execute_batch("update jobs set outcome = null").unwrap();
        journal
            .execute_batch(if noted { "update attempts set ended = null" } else { "delete from attempts" })
            .unwrap();
        drop(journal);
        std::fs::remove_dir_all(world.config.data_dir.join("jobs")).unwrap();
        world.start().await;
        let failure = |told| match told {
            Told::Failure(error, failure) => Some((error, failure)),
            Told::Success(_) => None,
        };
        let (error, failure) =
            world.aws.wait("the failure", |aws| told(aws).into_iter().find_map(failure)).await;
        assert_eq!((error.as_str(), failure.attempt), ("Rsql.HostLost", 1));
        assert!(failure.message.contains("fault of the disk"), "{}", failure.message);
        assert!(!is_alive(pid), "what runs of it is ended");
        world.settled().await;
        assert_eq!(std::fs::read_to_string(ran).unwrap(), "ran\n");
    }
}

#[tokio::test]
async fn a_job_that_had_not_started_starts_with_the_next_agent_whatever_a_start_was_about_to_leave() {
    let mut world = World::stopped();
    world.config.max_running_jobs = 1;
    world.start().await;
    let (go, ran) = (world.dir.path().join("go"), world.dir.path().join("ran"));
    world.script("first.sh", &format!("while ! [ -e {} ]; do sleep 0.01; done", go.display()));
    world.script("second.sh", &format!("echo ran >> {}", ran.display()));
    world.submit(&world.request("first.sh")).await;
    let mut second = world.request("second.sh");
    second.task_token.push_str("second");
    let job_id = world.submit(&second).await.job_id;
    world.kill();
    // The run file is there before anything else is.
    let directory = world.config.data_dir.join("jobs").join(job_id);
    std::fs::write(directory.join("1.run"), " ".repeat(4000)).unwrap();
    world.start().await;
    std::fs::write(go, "").unwrap();
    world.settled().await;
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "ran\n");
    assert!(told(&world.aws).iter().all(|told| matches!(told, Told::Success(_))));
}
