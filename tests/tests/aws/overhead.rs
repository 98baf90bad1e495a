//! A benchmark beside the scenarios: what a job costs on each endpoint, all in one run. `make bench-endpoints` plays it.
//!
//! Scripts do nothing, so what is measured is the way there and back: wall time by the run's own record, calls by the
//! proxies in front of the endpoint, transitions by the executions' histories. Nothing is asserted of time.

use std::process::Command;

use rsqlflow_tests::peers::Kind;
use rsqlflow_tests::site::{Site, run};
use rsqlflow_tests::world::World;
use serde_json::{Value, json};

/// Jobs of the chain and of the stage.
const JOBS: usize = 20;

#[test]
#[ignore = "a benchmark"]
fn what_a_job_costs_on_each_endpoint() {
    for kind in Kind::ALL {
        let site = Site::new();
        site.script("nothing.sh", "#!/bin/sh\nexit 0\n");
        let world = World::start(&site, kind);
        for (shape, stages) in [("sequential", 1), ("parallel", 1), ("sequential", 2)] {
            let id = format!("{shape}-{stages}");
            let scripts = |stage: usize| -> Vec<Value> {
                let name = |number| format!("job-{stage}-{number}");
                (0..JOBS / stages)
                    .map(|number| json!({"script": "nothing.sh", "job_name": name(number)}))
                    .collect()
            };
            let stage = |stage: usize| {
                let mut stage =
                    json!({"execution_type": shape, "execution_flag": "y", "scripts": scripts(stage)});
                if shape == "parallel" {
                    stage["max_concurrency"] = json!(10);
                }
                stage
            };
            let all: Vec<Value> = (0..stages).map(stage).collect();
            world.put(&json!({"workflow_id": id, "workflow_stages": all}));
            let before = calls(&world);
            world.rsqlflow(&["run", &id, "--id", &id, "--wait"]).expect(0);
            world.settled();
            let after = calls(&world);
            let status = world.status(&id);
            let at = |name: &str| rsqlflow_config::time::parse(status[name].as_str().unwrap()).unwrap();
            let took = (at("execution_end_ts") - at("execution_start_ts")).as_seconds_f64();
            let figure = json!({
                "bench": "endpoint", "endpoint": kind.name(), "shape": shape, "stages": stages, "jobs": JOBS,
                "seconds": took, "ms_per_job": took * 1000.0 / JOBS as f64,
                "agent_calls_per_job": (after - before) as f64 / JOBS as f64,
                "transitions": transitions(&world, &id, shape, stages),
            });
            println!("{figure}");
        }
    }
}

/// Calls of the agent that were done so far.
fn calls(world: &World<'_>) -> u64 {
    world.agent_calls.recorder().calls().values().map(|counts| counts.done).sum()
}

/// States that the run's executions entered, where the server's history tells.
fn transitions(world: &World<'_>, id: &str, shape: &str, stages: usize) -> usize {
    let machines = world.machines();
    let stage = if shape == "parallel" { &machines.parallel } else { &machines.sequential };
    let named = |machine: &str, name: &str| {
        format!("{}:{name}", machine.replacen(":stateMachine:", ":execution:", 1))
    };
    let arns = std::iter::once(named(&machines.master, id))
        .chain((1..=stages).map(|number| named(stage, &format!("{id}-{number:03}"))));
    arns.map(|arn| {
        let mut aws = Command::new("aws");
        aws.args(["stepfunctions", "get-execution-history", "--execution-arn", &arn, "--output", "json"]);
        aws.envs(world.server().environment()).env("AWS_DEFAULT_REGION", &world.server().region);
        let history = run(&mut aws).expect(0).json();
        let entered =
            |event: &&Value| event["type"].as_str().is_some_and(|kind| kind.ends_with("StateEntered"));
        history["events"].as_array().map_or(0, |events| events.iter().filter(entered).count())
    })
    .sum()
}
