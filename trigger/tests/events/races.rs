//! The races that [`rsqlflow_trigger`]'s order of writes has to win: triggers that die at any call, and several at once
//! whose calls come in every kind of order, with an index that lags.

use rsqlflow_config::audit::Status;
use rsqlflow_trigger::events;
use serde_json::Value;

use crate::cloud::{Cloud, due, ended, request, run_at};
use crate::orders::{Dying, Order};

/// Orders that are tried of each race; many more have been.
const ORDERS: u64 = 16;

/// Lets the triggers handle their events at once, their calls in an order of chance.
async fn at_once(cloud: &Cloud, seed: u64, lagging: bool, events: &[Value]) {
    let order = Order::new(events.len(), seed);
    let mut actors = tokio::task::JoinSet::new();
    for event in events {
        let trigger = cloud.trigger_on(order.client(cloud.local.connector(), lagging));
        let (order, event) = (order.clone(), event.clone());
        actors.spawn(async move {
            let answer = events::handle(&trigger, event, &request("r")).await;
            order.done();
            answer.unwrap()
        });
    }
    while let Some(answer) = actors.join_next().await {
        answer.unwrap();
    }
}

async fn of(cloud: &Cloud, workflow: &str) -> Vec<String> {
    let mut running = cloud.running().await;
    running.retain(|run| run.starts_with(&format!("{workflow}-")));
    running
}

#[tokio::test]
async fn a_trigger_that_dies_at_any_call_leaves_nothing_that_its_event_again_does_not_finish() {
    let cloud = Cloud::open().await;
    for overlap in ["skip", "queue", "allow"] {
        for arrives in [false, true] {
            for calls in 0.. {
                let workflow = format!("{overlap}-{arrives}-{calls}");
                cloud.item(&workflow, overlap).await;
                let dying = Dying::after(cloud.local.connector(), calls, arrives);
                let trigger = cloud.trigger_on(dying.client());
                let answer = events::handle(&trigger, due(&workflow, 1), &request("r")).await;
                if !dying.died() {
                    answer.unwrap();
                    assert!(calls > 3, "only {calls} calls");
                    break;
                }
                cloud.handle(due(&workflow, 1)).await.unwrap();
                assert_eq!(of(&cloud, &workflow).await, [run_at(&workflow, 1)], "{workflow}");
                cloud.recorded_running(&run_at(&workflow, 1)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_trigger_that_died_and_whose_event_never_comes_again_is_in_nobodys_way() {
    let cloud = Cloud::open().await;
    for overlap in ["skip", "queue"] {
        for arrives in [false, true] {
            for calls in 0.. {
                let workflow = format!("{overlap}-{arrives}-{calls}");
                let (first, second) = (run_at(&workflow, 1), run_at(&workflow, 2));
                cloud.item(&workflow, overlap).await;
                let dying = Dying::after(cloud.local.connector(), calls, arrives);
                let _ =
                    events::handle(&cloud.trigger_on(dying.client()), due(&workflow, 1), &request("r")).await;
                if !dying.died() {
                    break;
                }
                let recorded = cloud.audit().run(&first).await.unwrap().is_some();
                if recorded {
                    cloud.record_is_from(&first, "2026-11-20T00:00:00.000Z").await;
                }
                cloud.handle(due(&workflow, 2)).await.unwrap();
                let running = of(&cloud, &workflow).await;
                assert_eq!(running.len(), 1, "{workflow}: {running:?}");
                if running == [second.clone()] {
                    // It had not come as far as its turn.
                    if recorded {
                        assert_eq!(cloud.run(&first).await.execution_status, Status::Failed, "{workflow}");
                    }
                } else {
                    // Its turn had come, so it was started in its stead.
                    let status = cloud.run(&second).await.execution_status;
                    let expected = if overlap == "skip" { Status::Skipped } else { Status::Triggered };
                    assert_eq!(status, expected, "{workflow}");
                    cloud.complete(&first).await;
                    cloud.handle(ended(&first, "SUCCEEDED")).await.unwrap();
                    let left = if overlap == "skip" { vec![] } else { vec![second] };
                    assert_eq!(of(&cloud, &workflow).await, left, "{workflow}");
                }
            }
        }
    }
}

#[tokio::test]
async fn of_two_times_at_one_moment_one_runs() {
    let cloud = Cloud::open().await;
    for seed in 0..ORDERS {
        let lagging = seed % 2 == 0;
        for overlap in ["skip", "queue"] {
            let workflow = format!("{overlap}-{seed}");
            cloud.item(&workflow, overlap).await;
            at_once(&cloud, seed, lagging, &[due(&workflow, 1), due(&workflow, 2)]).await;
            let running = of(&cloud, &workflow).await;
            assert_eq!(running.len(), 1, "{workflow}: {running:?}");
            let other = if running[0] == run_at(&workflow, 1) { 2 } else { 1 };
            let status = cloud.run(&run_at(&workflow, other)).await.execution_status;
            let expected = if overlap == "skip" { Status::Skipped } else { Status::Triggered };
            assert_eq!(status, expected, "{workflow}");
        }
    }
}

#[tokio::test]
async fn one_time_delivered_twice_at_once_is_one_run() {
    let cloud = Cloud::open().await;
    for seed in 0..ORDERS {
        for overlap in ["skip", "queue", "allow"] {
            let workflow = format!("{overlap}-{seed}");
            cloud.item(&workflow, overlap).await;
            at_once(&cloud, seed, seed % 2 == 0, &[due(&workflow, 1), due(&workflow, 1)]).await;
            assert_eq!(of(&cloud, &workflow).await, [run_at(&workflow, 1)]);
            cloud.recorded_running(&run_at(&workflow, 1)).await;
        }
    }
}

#[tokio::test]
async fn an_end_that_comes_while_the_next_run_is_put_into_the_queue_starts_it() {
    let cloud = Cloud::open().await;
    for seed in 0..ORDERS {
        let workflow = format!("w{seed}");
        cloud.item(&workflow, "queue").await;
        cloud.handle(due(&workflow, 1)).await.unwrap();
        let first = run_at(&workflow, 1);
        // Half of them end as the state machine ends them, half are stopped and closed by the event alone.
        let status = if seed % 4 < 2 { "SUCCEEDED" } else { "ABORTED" };
        if status == "SUCCEEDED" {
            cloud.complete(&first).await;
        }
        at_once(&cloud, seed, seed % 2 == 0, &[due(&workflow, 2), ended(&first, status)]).await;
        cloud.recorded_running(&run_at(&workflow, 2)).await;
    }
}

#[tokio::test]
async fn a_run_is_skipped_or_runs_and_never_both() {
    let cloud = Cloud::open().await;
    let (mut skipped, mut ran) = (0, 0);
    for seed in 0..ORDERS {
        let workflow = format!("w{seed}");
        cloud.item(&workflow, "skip").await;
        cloud.handle(due(&workflow, 1)).await.unwrap();
        let first = run_at(&workflow, 1);
        // The run before ends while the event of the next is handled twice.
        let events = [due(&workflow, 2), due(&workflow, 2), ended(&first, "ABORTED")];
        at_once(&cloud, seed, seed % 2 == 0, &events).await;
        let second = run_at(&workflow, 2);
        let record = cloud.run(&second).await;
        let running = of(&cloud, &workflow).await.contains(&second);
        assert_eq!(record.execution_status == Status::Skipped, !running, "{workflow}: {record:?}");
        if running { ran += 1 } else { skipped += 1 }
    }
    assert!(skipped > 0 && ran > 0, "{skipped} skipped, {ran} ran: the orders do not differ");
}
