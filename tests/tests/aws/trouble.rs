//! Trouble between the service and the host: commands that come twice or late, agents that are killed, hosts that are
//! gone.

use rsqlflow_tests::wait_for;
use rsqlflow_tests::world::{World, job};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

fn parallel(id: &str, scripts: &serde_json::Value) -> serde_json::Value {
    json!({"workflow_id": id, "workflow_stages": [
        {"execution_flag": "y", "execution_type": "parallel", "scripts": scripts}]})
}

pub(crate) fn commands_delivered_twice_run_once(world: &mut World<'_>) {
    let ran = world.site.path("ran");
    world.site.script("count.sh", &format!("#!/bin/sh\necho $JOB_NAME >> {}\n", ran.display()));
    let scripts: Vec<_> =
        (0..8).map(|n| json!({"script": "count.sh", "job_name": format!("job {n}")})).collect();
    world.put(&parallel("twice", &json!(scripts)));
    world.rsqlflow(&["run", "twice", "--id", "d-1", "--wait"]).expect(0);
    world.settled();
    // Long after the fact, as a document that an update of the SSM agent runs again.
    world.deliver_again();
    world.settled();
    let mut lines = world.site.lines("ran");
    lines.sort();
    let expected: Vec<String> = (0..8).map(|n| format!("job {n}")).collect();
    assert_eq!(lines, expected);
    let book = world.agent_calls.book();
    assert!(book.accepted_by_job().values().all(|times| *times == 1), "{book:?}");
    assert!(!book.any_token_twice(), "{book:?}");
    if let Some(bridge) = world.bridge() {
        let invocations = bridge.invocations();
        assert_eq!(invocations.len(), 3 * 8, "{invocations:?}");
        assert!(invocations.iter().all(|one| one.status == "Success"), "{invocations:?}");
        let again = invocations.iter().filter(|one| one.stdout.contains("accepted before")).count();
        assert_eq!(again, 2 * 8, "{invocations:?}");
    }
}

/// A hand-over that is killed in the middle, because its command is cancelled or its time is up, leaves nothing behind
/// that keeps the next one from being the only job.
pub(crate) fn a_killed_delivery_is_made_up_for(world: &mut World<'_>) {
    let ran = world.site.path("ran");
    world.site.script("count.sh", &format!("#!/bin/sh\necho $JOB_NAME >> {}\n", ran.display()));
    world.put(&parallel("killed", &json!(["count.sh"])));
    let Some(bridge) = world.bridge() else {
        // The embedded default hands over without a process that could be killed.
        world.rsqlflow(&["run", "killed", "--id", "k-1", "--wait"]).expect(0);
        return;
    };
    // An agent that does not answer: the hand-over waits for it.
    signal(world.daemon.pid(), Signal::STOP);
    world.rsqlflow(&["run", "killed", "--id", "k-1"]).expect(0);
    bridge.cancel();
    wait_for("the hand-over to be killed", || (bridge.invocations().len() == 1).then_some(()));
    assert_eq!(bridge.invocations()[0].status, "Cancelled", "{:?}", bridge.invocations());
    signal(world.daemon.pid(), Signal::CONT);
    bridge.deliver_again();
    assert_eq!(world.ended("k-1")["execution_status"], "completed");
    assert_eq!(world.site.lines("ran"), ["count.sh"]);
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("it is ours to signal");
}

pub(crate) fn an_agent_killed_in_a_job_tells_its_end(world: &mut World<'_>) {
    world.site.script(
        "wait.sh",
        "#!/bin/sh\necho before\ntouch started\nuntil [ -e go ]; do sleep 0.05; done\necho after\nexit 9\n",
    );
    world.put(&parallel("killed", &json!(["wait.sh"])));
    world.rsqlflow(&["run", "killed", "--id", "a-1"]).expect(0);
    wait_for("the script to start", || world.site.path("scripts/started").exists().then_some(()));
    world.daemon.kill_9();
    world.site.file("scripts/go", "");
    world.daemon.restart();
    world.daemon.wait_until_it_listens();
    let status = world.ended("a-1");
    assert_eq!(status["execution_status"], "failed", "{status}");
    world.settled();
    let status = world.status("a-1");
    let wait = job(&status, "wait.sh");
    assert_eq!((&wait["exit_code"], &wait["error"]), (&json!(9), &json!("Rsql.ExitCode")), "{status}");
    assert_eq!(world.log("a-1/wait.sh/1"), ["before", "after"]);
}

pub(crate) fn a_lost_host_is_noticed(world: &mut World<'_>) {
    world.site.script("sleep.sh", "#!/bin/sh\ntouch started\nexec sleep 3600\n");
    world.put(&parallel("lost", &json!(["sleep.sh"])));
    world.rsqlflow(&["run", "lost", "--id", "h-1"]).expect(0);
    wait_for("the script to start", || world.site.path("scripts/started").exists().then_some(()));
    // Nothing of the agent is left to send a heartbeat.
    signal(world.daemon.pid(), Signal::STOP);
    let status = world.ended("h-1");
    assert_eq!(status["execution_status"], "failed", "{status}");
    let sleep = job(&status, "sleep.sh");
    assert_eq!(
        (&sleep["execution_status"], &sleep["error"]),
        (&json!("failed"), &json!("Rsql.HostLost")),
        "{status}"
    );
    // A host that comes back learns that nobody waits for its job any more, and ends it.
    signal(world.daemon.pid(), Signal::CONT);
    world.settled();
}
