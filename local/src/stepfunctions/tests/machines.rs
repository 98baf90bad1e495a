//! The product's own state machines, on services that follow a script.

use super::*;

fn product(name: &str) -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../statemachines").join(format!("{name}.asl.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// An agent in short: reads the job request as the real one does, and reports.
struct Host {
    world: Mutex<std::sync::Weak<StepFunctions>>,
    jobs: Mutex<Vec<String>>,
    /// Which job was sent where, in order.
    sent: Mutex<Vec<(String, String)>>,
    /// How many more commands are throttled.
    throttles: Mutex<u32>,
    /// What a job says that fails.
    message: String,
}

/// As Step Functions words a denial of Systems Manager.
fn denied(resource: &str) -> AwsError {
    AwsError::client(
        "AccessDeniedException",
        format!(
            "User: arn:aws:sts::000000000000:assumed-role/StageRole/x is not authorized to perform: ssm:SendCommand on \
             resource: {resource} because no identity-based policy allows the ssm:SendCommand action"
        ),
    )
}

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
        assert_eq!(body["DocumentVersion"], "$LATEST");
        let instance = body["InstanceIds"][0].as_str().unwrap().to_owned();
        let request = body["Parameters"]["request"][0].as_str().unwrap();
        let request = base64::engine::general_purpose::URL_SAFE.decode(request).unwrap();
        let request = decode_url(&String::from_utf8(request).unwrap());
        let request: Value = serde_json::from_str(&request).unwrap();
        let job = request["job_name"].as_str().unwrap().to_owned();
        assert_eq!((&request["pool"], &request["priority"]), (&json!("etl"), &json!(-1)));
        assert!(request["sent_at"].as_str().unwrap().ends_with('Z'), "{request}");
        self.jobs.lock().unwrap().push(job.clone());
        self.sent.lock().unwrap().push((job.clone(), instance.clone()));
        let throttled = {
            let mut left = self.throttles.lock().unwrap();
            let throttled = *left > 0;
            *left = left.saturating_sub(1);
            throttled
        };
        let world = self.world.lock().unwrap().upgrade().unwrap();
        let message = self.message.clone();
        let token = request["task_token"].as_str().unwrap().to_owned();
        Box::pin(async move {
            if throttled {
                return Err(AwsError::client("ThrottlingException", "Rate exceeded"));
            }
            if job == "gone" || instance == "i-gone" {
                return Err(AwsError::client("InvalidInstanceId", "no such host"));
            }
            if instance == "i-denied" {
                return Err(denied("arn:aws:ec2:us-east-1:000000000000:instance/i-denied"));
            }
            if job == "denied" {
                return Err(denied("arn:aws:ssm:us-east-1:000000000000:document/Rsqlflow-RunScript"));
            }
            tokio::spawn(async move {
                submitted(&world, &token).await;
                let (action, report) = if job.contains("bad") {
                    let cause = json!({ "exit_code": 3, "status": "failed", "message": message }).to_string();
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

/// The state machines, and the services around them.
struct Night {
    time: Arc<TestTime>,
    world: World,
    host: Arc<Host>,
    dynamodb: Arc<Scripted>,
    sns: Arc<Scripted>,
    machines: Value,
}

impl Night {
    async fn new() -> Self {
        Self::with(vec![Act::Answer(json!({}))], vec![Act::Answer(json!({}))], "broke").await
    }

    async fn with(dynamodb: Vec<Act>, sns: Vec<Act>, message: &str) -> Self {
        let time = TestTime::standing();
        let (dynamodb, sns) = (Scripted::new("dynamodb", dynamodb), Scripted::new("sns", sns));
        let world = World::new(time.clone(), &[dynamodb.clone(), sns.clone()]).await;
        let host = Arc::new(Host {
            world: Mutex::new(Arc::downgrade(&world.sfn)),
            jobs: Mutex::default(),
            sent: Mutex::default(),
            throttles: Mutex::default(),
            message: message.into(),
        });
        world.sfn.engine.services.register(host.clone());
        let sequential = world.create("sequential", &product("sequential")).await;
        let parallel = world.create("parallel", &product("parallel")).await;
        let machines = json!({ "sequential": sequential, "parallel": parallel });
        Self { time, world, host, dynamodb, sns, machines }
    }

    /// What the trigger says of a run.
    fn shared() -> Value {
        json!({ "workflow_id": "nightly", "workflow_execution_id": "nightly-1", "host": "mi-1", "parameters": { "DAY": "1" },
                "heartbeat_seconds": 60, "secret_id": "s", "job_audit_table": "jobs" })
    }

    async fn start(&self, master: &Value, stages: Vec<Value>) -> String {
        let master = self.world.create("master", master).await;
        let input = json!({
            "run": Self::shared(), "stages": stages, "machines": self.machines,
            "notify": { "topic_arn": "arn:aws:sns:us-east-1:000000000000:t", "on": ["failed"] },
            "workflow_audit_table": "runs", "timeout_seconds": 3600
        });
        self.world.start(&master, "nightly-1", input).await
    }

    /// Lets the pause before a retry pass, once the execution's tasks have failed so often.
    async fn retry(&self, execution: &str, failed: usize) {
        self.world.reach(execution, "TaskFailed", failed).await;
        self.time.advance(60);
    }

    /// The last write to the run's record that has `part` in its expression.
    fn write(&self, part: &str) -> Value {
        let calls = self.dynamodb.calls();
        let has = |body: &Value| body["UpdateExpression"].as_str().is_some_and(|text| text.contains(part));
        calls.into_iter().map(|(_, body)| body).rfind(has).unwrap_or_else(|| panic!("nothing wrote {part}"))
    }
}

async fn run(stages: Vec<Value>) -> (Value, Vec<String>, Vec<(String, Value)>) {
    let night = Night::new().await;
    let execution = night.start(&product("master"), stages).await;
    let end = night.world.end(&execution).await;
    let jobs = night.host.jobs.lock().unwrap().clone();
    (end, jobs, night.sns.calls())
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

/// A record that the agent did not make goes when the agent's own would.
#[tokio::test]
async fn a_job_that_no_agent_took_is_recorded_for_as_long_as_others() {
    for days in [None, Some(7)] {
        let night = Night::new().await;
        let mut run = Night::shared();
        run["audit_days"] = json!(days);
        if days.is_none() {
            run.as_object_mut().unwrap().remove("audit_days");
        }
        let input = json!({ "run": run, "stage": stage(1, "parallel", &["gone"], "stop") });
        let parallel = night.machines["parallel"].as_str().unwrap();
        let execution = night.world.start(parallel, "x", input).await;
        assert_eq!(night.world.end(&execution).await["error"], "Rsql.JobsFailed");
        let write = night.write(":status");
        let values = &write["ExpressionAttributeValues"];
        assert_eq!(values[":error"]["S"], "Ssm.InvalidInstanceIdException");
        let expires = days.map(|days| json!({ "N": (START / 1000 + days * 86_400).to_string() }));
        assert_eq!(values.get(":expires"), expires.as_ref());
        let says = write["UpdateExpression"].as_str().unwrap();
        assert_eq!(says.contains(":expires"), days.is_some(), "{says}");
    }
}

/// What takes the job over and is refused must not leave it without a record.
#[test]
fn a_job_that_cannot_be_taken_over_is_recorded() {
    for machine in ["sequential", "parallel"] {
        let states = &product(machine)["States"]["RunScripts"]["ItemProcessor"]["States"];
        assert_eq!(states["TakeOver"]["Catch"][0]["Next"], "RecordFailure", "{machine}");
    }
}

/// The table of hosts, the first of them the least busy.
fn hosts(ids: &[&str]) -> (Value, Act) {
    let items: Vec<Value> = ids
        .iter()
        .enumerate()
        .map(|(jobs, id)| json!({ "instance_id": { "S": id }, "jobs": { "N": jobs.to_string() } }))
        .collect();
    let mut run = Night::shared();
    run.as_object_mut().unwrap().remove("host");
    run["hosts"] = json!({ "table": "hosts", "ids": ids });
    (run, Act::Answer(json!({ "Items": items })))
}

/// Time stands still: no try is made again in vain, and each move is made at once.
#[tokio::test]
async fn a_job_that_cannot_be_sent_to_a_host_goes_to_another() {
    for (machine, jobs, expected) in [
        ("sequential", vec!["a"], vec!["a i-gone", "a i-denied", "a i-1"]),
        (
            "parallel",
            vec!["a", "b", "c", "d"],
            vec!["a i-1", "a i-denied", "a i-gone", "b i-1", "b i-denied", "c i-1", "d i-2"],
        ),
    ] {
        let (run, scan) = hosts(&["i-gone", "i-denied", "i-1", "i-2"]);
        let night = Night::with(vec![scan], vec![Act::Answer(json!({}))], "broke").await;
        let input = json!({ "run": run, "stage": stage(1, machine, &jobs, "stop") });
        let arn = night.machines[machine].as_str().unwrap();
        let execution = night.world.start(arn, "x", input).await;
        let end = night.world.end(&execution).await;
        assert_eq!(end["status"], "SUCCEEDED", "{machine}: {end:#}");
        let mut sent: Vec<String> =
            night.host.sent.lock().unwrap().iter().map(|(job, host)| format!("{job} {host}")).collect();
        if machine == "parallel" {
            sent.sort();
        }
        assert_eq!(sent, expected, "{machine}");
    }
}

#[tokio::test]
async fn a_denial_that_another_host_cannot_mend_fails_the_job_at_once() {
    for (machine, error) in [("sequential", "Ssm.SsmException"), ("parallel", "Rsql.JobsFailed")] {
        let (run, scan) = hosts(&["i-1", "i-2"]);
        let night = Night::with(vec![scan], vec![Act::Answer(json!({}))], "broke").await;
        let input = json!({ "run": run, "stage": stage(1, machine, &["denied"], "stop") });
        let arn = night.machines[machine].as_str().unwrap();
        let execution = night.world.start(arn, "x", input).await;
        let end = night.world.end(&execution).await;
        assert_eq!(end["error"], error, "{end:#}");
        assert!(end["cause"].as_str().unwrap().contains("not authorized to perform"), "{end:#}");
        assert_eq!(night.host.sent.lock().unwrap().len(), 1);
    }
}

/// Throttling has no name of its own in the integration, and shares that of a denial.
#[tokio::test]
async fn a_throttled_command_is_sent_again_six_times() {
    for (machine, throttles) in [("sequential", 6), ("parallel", 6), ("sequential", 7)] {
        let night = Night::new().await;
        *night.host.throttles.lock().unwrap() = throttles;
        let input = json!({ "run": Night::shared(), "stage": stage(1, machine, &["a"], "stop") });
        let arn = night.machines[machine].as_str().unwrap();
        let execution = night.world.start(arn, "x", input).await;
        for wait in 1..=6 {
            night.world.reach(&execution, "WaitStateEntered", wait).await;
            night.time.advance(60);
        }
        let end = night.world.end(&execution).await;
        assert_eq!(end["status"], if throttles == 6 { "SUCCEEDED" } else { "FAILED" }, "{end:#}");
        assert_eq!(night.host.sent.lock().unwrap().len(), 7);
    }
}

/// A stage gives back its input, its output and what describes it: more than fits fails without a handler.
#[tokio::test]
async fn a_run_of_the_largest_input_completes() {
    for (size, status) in [(256_000, "SUCCEEDED"), (262_100, "FAILED")] {
        let night = Night::new().await;
        let names: Vec<String> = (0..150).map(|at| format!("job{at}")).collect();
        let mut stage = stage(1, "parallel", &names.iter().map(String::as_str).collect::<Vec<_>>(), "stop");
        stage["max_concurrency"] = json!(40);
        let master = night.world.create("master", &product("master")).await;
        let mut input = json!({
            "run": Night::shared(), "stages": [stage], "machines": night.machines,
            "workflow_audit_table": "runs", "timeout_seconds": 3600
        });
        let missing = size - input.to_string().len();
        for at in 0..150 {
            let filler = missing / 150 + usize::from(at < missing % 150);
            // Two quotes are a part of it.
            input["stages"][0]["jobs"][at]["arguments"] = json!(["x".repeat(filler - 2)]);
        }
        assert_eq!(input.to_string().len(), size);
        let execution = night.world.start(&master, "nightly-1", input).await;
        let end = night.world.end(&execution).await;
        assert_eq!(end["status"], status, "{size}: {} {}", end["error"], end["cause"]);
    }
}

fn report(end: &Value) -> Value {
    serde_json::from_str(end["cause"].as_str().unwrap()).unwrap()
}

/// A result that outgrows the payload would be an error that nothing catches.
#[tokio::test]
async fn a_stage_names_its_failed_jobs_however_many_they_are() {
    // Bytes are what is counted: some of these characters take two or three, and some six in JSON.
    let message = "\u{1b}é界\"".repeat(225);
    let night = Night::with(vec![Act::Answer(json!({}))], vec![Act::Answer(json!({}))], &message).await;
    let names: Vec<String> = (0..200).map(|at| format!("bad{at}")).collect();
    let mut stage = stage(1, "parallel", &names.iter().map(String::as_str).collect::<Vec<_>>(), "stop");
    stage["max_concurrency"] = json!(4);
    let parallel = night.machines["parallel"].as_str().unwrap();
    let execution = night.world.start(parallel, "x", json!({ "run": Night::shared(), "stage": stage })).await;
    let end = night.world.end(&execution).await;
    assert_eq!(end["error"], "Rsql.JobsFailed", "{end:#}");
    let report = report(&end)["message"].as_str().unwrap().to_owned();
    assert!(report.starts_with("200 of 200 jobs failed: bad0, bad1, "), "{report}");
    assert!(report.ends_with(", bad198, bad199"), "{report}");
}

#[tokio::test]
async fn a_run_goes_on_after_any_number_of_failed_stages() {
    let night =
        Night::with(vec![Act::Answer(json!({}))], vec![Act::Answer(json!({}))], &"long ".repeat(190)).await;
    let bad = ["bad1", "bad2", "bad3", "bad4", "bad5", "bad6", "bad7"];
    let mut stages: Vec<Value> = (1..=30).map(|number| stage(number, "parallel", &bad, "continue")).collect();
    stages.push(stage(31, "sequential", &["good"], "stop"));
    let execution = night.start(&product("master"), stages).await;
    let end = night.world.end(&execution).await;
    assert_eq!(end["error"], "Rsql.RunFailed", "{end:#}");
    let jobs = night.host.jobs.lock().unwrap().clone();
    assert_eq!((jobs.len(), jobs.last().unwrap().as_str()), (30 * 7 + 1, "good"));
    let record = night.write("execution_end_ts");
    assert_eq!(record["ExpressionAttributeValues"][":status"]["S"], "failed");
    let told = night.sns.calls()[0].1["Message"].as_str().unwrap().to_owned();
    assert!(told.contains("stage 1 (stage 1): 7 of 7 jobs failed: bad1: long"), "{told}");
    assert!(told.contains("stage 30 (stage 30): 7 of 7 jobs failed"), "{told}");
}

#[tokio::test]
async fn few_failed_stages_tell_everything() {
    let stages =
        vec![stage(1, "parallel", &["a", "bad1"], "continue"), stage(2, "sequential", &["bad2"], "stop")];
    let (end, _, _) = run(stages).await;
    let failed = |job: &str| json!({ "job_name": job, "status": "failed", "error": "Rsql.ExitCode", "exit_code": 3, "message": "broke" });
    let stages = &report(&end)["stages"];
    assert_eq!(stages[0]["failed_jobs"], json!([failed("bad1")]), "{stages:#}");
    assert_eq!(stages[1]["failed_jobs"], json!([failed("bad2")]), "{stages:#}");
    assert_eq!(stages[0]["message"], "1 of 2 jobs failed: bad1: broke");
}

/// DynamoDB's throttling has no class of its own in the integration.
#[tokio::test]
async fn a_throttled_write_is_tried_again() {
    let throttled = Act::Refuse(AwsError::client("ThrottlingException", "slow down"));
    let night =
        Night::with(vec![throttled, Act::Answer(json!({}))], vec![Act::Answer(json!({}))], "broke").await;
    let execution = night.start(&product("master"), vec![stage(1, "sequential", &["a"], "stop")]).await;
    night.retry(&execution, 1).await;
    assert_eq!(night.world.end(&execution).await["status"], "SUCCEEDED");
    let running =
        night.dynamodb.calls().into_iter().filter(|(_, body)| {
            body["UpdateExpression"].as_str().is_some_and(|text| text.contains(":running"))
        });
    assert_eq!(running.count(), 2);
}

#[tokio::test]
async fn a_message_that_nobody_gets_is_recorded() {
    let refused = Act::Refuse(AwsError::client("KMSAccessDeniedException", "no key for you"));
    let night = Night::with(vec![Act::Answer(json!({}))], vec![refused], "broke").await;
    let execution = night.start(&product("master"), vec![stage(1, "sequential", &["bad"], "stop")]).await;
    // The first to fail is the stage.
    for failed in 2..=5 {
        night.retry(&execution, failed).await;
    }
    assert_eq!(night.world.end(&execution).await["error"], "Rsql.RunFailed");
    let error = &night.write("notify_error")["ExpressionAttributeValues"][":error"]["S"];
    assert!(error.as_str().unwrap().contains("no key for you"), "{error}");
}

/// The master with a stage's execution that a script plays.
fn played(script: Vec<Act>) -> (Value, Arc<Scripted>) {
    let mut master = product("master");
    let stage = &mut master["States"]["RunStage"];
    stage["Resource"] = json!("arn:aws:states:::aws-sdk:stage:run.waitForTaskToken");
    stage["Arguments"] = json!({ "Token": "{% $states.context.Task.Token %}" });
    (master, Scripted::new("stage", script))
}

impl Night {
    fn register(&self, service: Arc<Scripted>) {
        *service.world.lock().unwrap() = Arc::downgrade(&self.world.sfn);
        self.world.sfn.engine.services.register(service);
    }
}

#[tokio::test]
async fn a_stage_that_could_not_be_started_is_started_again() {
    let night = Night::new().await;
    let (master, stages) = played(vec![
        Act::Fail("StepFunctions.ExecutionLimitExceeded", "too many"),
        Act::Fail("StepFunctions.AWSStepFunctionsException", "Rate exceeded"),
        Act::Succeed(json!({})),
    ]);
    night.register(stages);
    let execution = night.start(&master, vec![stage(1, "sequential", &["a"], "stop")]).await;
    for failed in 1..=2 {
        night.retry(&execution, failed).await;
    }
    assert_eq!(night.world.end(&execution).await["status"], "SUCCEEDED");
}

/// AWS keeps 32,768 characters of a cause, and a stage's input is in it.
#[tokio::test]
async fn a_stage_whose_description_is_cut_is_asked_for() {
    let night = Night::new().await;
    let stage = stage(1, "parallel", &["a", "bad"], "stop");
    let parallel = night.machines["parallel"].as_str().unwrap();
    let input = json!({ "run": Night::shared(), "stage": stage });
    let child = night.world.start(parallel, "nightly-1-001", input).await;
    assert_eq!(night.world.end(&child).await["error"], "Rsql.JobsFailed");

    let cut: &str = format!("{{\"Input\":\"{}", "x".repeat(32_758)).leak();
    let (master, stages) = played(vec![Act::Fail("States.TaskFailed", cut)]);
    night.register(stages);
    let execution = night.start(&master, vec![stage]).await;
    let end = night.world.end(&execution).await;
    let stage = &report(&end)["stages"][0];
    assert_eq!(stage["error"], "Rsql.JobsFailed", "{stage:#}");
    assert_eq!(stage["message"], "1 of 2 jobs failed: bad: broke");
    assert_eq!(stage["failed_jobs"][0]["job_name"], "bad");
}
