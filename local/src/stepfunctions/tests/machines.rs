//! The product's own state machines, on services that follow a script.

use super::*;

fn product(name: &str) -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../statemachines").join(format!("{name}.asl.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// An agent in short: reads the job request as the real one does, and reports.
struct Host(Mutex<std::sync::Weak<StepFunctions>>, Mutex<Vec<String>>);

impl Service for Host {
    fn target_prefix(&self) -> &'static str {
        "AmazonSSM"
    }

    fn sdk_name(&self) -> &'static str {
        "ssm"
    }

    fn error_prefix(&self) -> &'static str {
        "Ssm"
    }

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        use base64::Engine as _;
        assert_eq!(action, "SendCommand");
        let request = body["Parameters"]["request"][0].as_str().unwrap();
        let request = base64::engine::general_purpose::URL_SAFE.decode(request).unwrap();
        let request = decode_url(&String::from_utf8(request).unwrap());
        let request: Value = serde_json::from_str(&request).unwrap();
        let job = request["job_name"].as_str().unwrap().to_owned();
        assert_eq!((&request["pool"], &request["priority"]), (&json!("etl"), &json!(-1)));
        assert!(request["sent_at"].as_str().unwrap().ends_with('Z'), "{request}");
        self.1.lock().unwrap().push(job.clone());
        let world = self.0.lock().unwrap().upgrade().unwrap();
        let token = request["task_token"].as_str().unwrap().to_owned();
        Box::pin(async move {
            tokio::spawn(async move {
                submitted(&world, &token).await;
                let (action, report) = if job.contains("bad") {
                    let cause = json!({ "exit_code": 3, "status": "failed", "message": "broke" }).to_string();
                    (
                        "SendTaskFailure",
                        json!({ "taskToken": token, "error": "Rsql.ExitCode", "cause": cause }),
                    )
                } else {
                    ("SendTaskSuccess", json!({ "taskToken": token, "output": "{}" }))
                };
                world.call(action, report).await.unwrap();
            });
            Ok(json!({ "Command": { "CommandId": "c" } }))
        })
    }
}

fn decode_url(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex: String = [rest.next().unwrap() as char, rest.next().unwrap() as char].iter().collect();
            bytes.push(u8::from_str_radix(&hex, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn stage(number: u32, kind: &str, jobs: &[&str], on_failure: &str) -> Value {
    let jobs: Vec<Value> = jobs
        .iter()
        .map(|job| {
            json!({ "job_name": job, "script": format!("{job}.sh"), "arguments": [], "parameters": {}, "timeout_seconds": 600,
                    "task_timeout_seconds": 900, "stall_seconds": 300, "retry": { "max_attempts": 1 },
                    "success_exit_codes": [0], "pool": "etl", "priority": -1 })
        })
        .collect();
    json!({ "number": number, "stage_description": format!("stage {number}"), "execution_type": kind,
            "on_failure": on_failure, "max_concurrency": 2, "jobs": jobs })
}

async fn run(stages: Vec<Value>) -> (Value, Vec<String>, Vec<(String, Value)>) {
    let dynamodb = Scripted::new("dynamodb", vec![Act::Answer(json!({}))]);
    let sns = Scripted::new("sns", vec![Act::Answer(json!({ "MessageId": "1" }))]);
    let world = World::new(TestTime::standing(), &[dynamodb, sns.clone()]).await;
    let host = Arc::new(Host(Mutex::new(Arc::downgrade(&world.sfn)), Mutex::default()));
    world.sfn.engine.services.register(host.clone());
    let sequential = world.create("sequential", &product("sequential")).await;
    let parallel = world.create("parallel", &product("parallel")).await;
    let master = world.create("master", &product("master")).await;
    let input = json!({
        "run": { "workflow_id": "nightly", "workflow_execution_id": "nightly-1", "host": "mi-1", "parameters": { "DAY": "1" },
                 "heartbeat_seconds": 60, "secret_id": "s", "job_audit_table": "jobs" },
        "stages": stages, "machines": { "sequential": sequential, "parallel": parallel },
        "notify": { "topic_arn": "arn:aws:sns:us-east-1:000000000000:t", "on": ["failed"] },
        "workflow_audit_table": "runs", "timeout_seconds": 3600
    });
    let execution = world.start(&master, "nightly-1", input).await;
    let end = world.end(&execution).await;
    let jobs = host.1.lock().unwrap().clone();
    (end, jobs, sns.calls())
}

#[tokio::test]
async fn a_workflow_runs_stage_after_stage() {
    let stages = vec![
        stage(1, "sequential", &["a", "b", "c"], "stop"),
        stage(2, "parallel", &["d", "e", "f", "g"], "stop"),
        stage(3, "sequential", &["h"], "stop"),
    ];
    let (end, mut jobs, notified) = run(stages).await;
    assert_eq!(end["status"], "SUCCEEDED", "{end:#}");
    assert_eq!(jobs[..3], ["a", "b", "c"]);
    jobs[3..7].sort();
    assert_eq!(jobs[3..], ["d", "e", "f", "g", "h"]);
    assert!(notified.is_empty());
}

#[tokio::test]
async fn a_failed_job_ends_a_sequential_stage_and_the_run() {
    let stages =
        vec![stage(1, "sequential", &["a", "bad", "c"], "stop"), stage(2, "sequential", &["d"], "stop")];
    let (end, jobs, notified) = run(stages).await;
    assert_eq!((&end["status"], &end["error"]), (&json!("FAILED"), &json!("Rsql.RunFailed")), "{end:#}");
    assert_eq!(jobs, ["a", "bad"]);
    assert!(end["cause"].as_str().unwrap().contains("broke"), "{end:#}");
    assert_eq!(notified.len(), 1);
    assert_eq!(notified[0].1["Subject"], "rsqlflow: nightly failed");
}

#[tokio::test]
async fn a_parallel_stage_lets_all_jobs_end_and_may_be_passed_over() {
    let stages = vec![
        stage(1, "parallel", &["a", "bad1", "bad2", "d"], "continue"),
        stage(2, "sequential", &["e"], "stop"),
    ];
    let (end, mut jobs, _) = run(stages).await;
    assert_eq!(end["status"], "FAILED");
    jobs.sort();
    assert_eq!(jobs, ["a", "bad1", "bad2", "d", "e"]);
    let cause = end["cause"].as_str().unwrap();
    assert!(cause.contains("2 of 4 jobs failed"), "{cause}");
}
