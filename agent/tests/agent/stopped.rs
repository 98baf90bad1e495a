//! Scripts that stop their supervisor: limits on time, kills, cancels and restarts hold all the same.

use rsqlflow_agent::protocol::Request;
use rsqlflow_config::job::JobRequest;

use crate::fake_aws::Answer;
use crate::world::{Told, World, is_alive, pids, until};

/// Once, and again and again: the supervisor is stopped before it can do anything.
const ONCE: &str = "kill -STOP $PPID";
const AGAIN: &str = "(while :; do kill -STOP $PPID; done) 2>/dev/null &";

/// Starts a script that stops its supervisor; answers its pid and that of the supervisor.
async fn start(world: &World, how: &str, change: impl FnOnce(JobRequest) -> JobRequest) -> [u32; 2] {
    let seen = world.dir.path().join("pids");
    world.script(
        "job.sh",
        &format!(
            "{how}\necho $$ > {0}.new; echo $PPID >> {0}.new; mv {0}.new {0}; sleep 1000",
            seen.display()
        ),
    );
    world.submit(&change(world.request("job.sh"))).await;
    let pids = pids(&seen, 2).await;
    [pids[0], pids[1]]
}

async fn ends_as(world: &World, pids: [u32; 2], code: &str) {
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!(error, code, "{}", failure.message);
    until("the supervisor's end", || (!is_alive(pids[1])).then_some(())).await;
    assert!(!is_alive(pids[0]), "the script is ended");
    world.settled().await;
}

#[tokio::test]
async fn a_limit_on_time_holds() {
    for how in [ONCE, AGAIN] {
        let world = World::new().await;
        let limited = |request| JobRequest { timeout_seconds: Some(1), ..request };
        let pids = start(&world, how, limited).await;
        ends_as(&world, pids, "Rsql.TimedOut").await;
    }
}

#[tokio::test]
async fn a_limit_on_silence_holds() {
    for how in [ONCE, AGAIN] {
        let world = World::new().await;
        let limited = |request| JobRequest { stall_seconds: Some(1), ..request };
        let pids = start(&world, how, limited).await;
        ends_as(&world, pids, "Rsql.Stalled").await;
    }
}

#[tokio::test]
async fn an_operator_s_kill_holds() {
    for how in [ONCE, AGAIN] {
        let world = World::new().await;
        let pids = start(&world, how, |request| request).await;
        let (socket, job) = (world.agent().socket().to_owned(), world.agent().jobs().await[0].job_id.clone());
        let kill = move || rsqlflow_agent::client::ask(&socket, &Request::Kill { job });
        tokio::task::spawn_blocking(kill).await.unwrap().unwrap();
        ends_as(&world, pids, "Rsql.Killed").await;
    }
}

#[tokio::test]
async fn a_cancelled_task_is_ended_by_this_agent_and_by_the_next() {
    for how in [ONCE, AGAIN] {
        for restarted in [false, true] {
            let mut world = World::new().await;
            let frequent = |request| JobRequest { heartbeat_seconds: 3, ..request };
            let pids = start(&world, how, frequent).await;
            if restarted {
                world.kill();
            }
            world.aws.always("SendTaskHeartbeat", Answer::Error("TaskTimedOut", 400));
            if restarted {
                world.start().await;
            }
            ends_as(&world, pids, "Rsql.Cancelled").await;
        }
    }
}

#[tokio::test]
async fn a_script_that_stops_its_supervisor_and_ends_is_told_as_it_ended() {
    let mut world = World::new().await;
    for restarted in [false, true] {
        world.script("job.sh", "kill -STOP $PPID; exit 7");
        let mut request = world.request("job.sh");
        request.task_token.push_str(if restarted { "restarted" } else { "" });
        world.submit(&request).await;
        if restarted {
            world.kill();
            world.start().await;
        }
        world.settled().await;
    }
    for told in crate::world::told(&world.aws) {
        assert!(matches!(&told, Told::Failure(_, failure) if failure.exit_code == Some(7)), "{told:?}");
    }
}

#[tokio::test]
async fn an_agent_that_ends_with_its_scripts_ends_them() {
    for how in [ONCE, AGAIN] {
        let mut world = World::new().await;
        let pids = start(&world, how, |request| request).await;
        world.shutdown_all().await;
        assert!(!pids.into_iter().any(is_alive));
        let Told::Failure(error, _) = world.told().await else { panic!("succeeded") };
        assert_eq!(error, "Rsql.HostLost");
    }
}
