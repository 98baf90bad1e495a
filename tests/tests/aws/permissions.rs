//! The policies of the template against the calls that are really made: the agent, the operators' command and the trigger
//! do all that they can do, and what they asked for must be allowed; and every action and every table that is allowed
//! must have been asked for.
//!
//! What the state machines may do is checked beside the template, where their definitions are read. No server here checks
//! policies. Agent and command work on the embedded default, which has every service they call; the trigger on MiniStack,
//! where nobody else closes the records of runs that were stopped.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use rsqlflow_config::settings::{Settings, StateMachines};
use rsqlflow_tests::peers::Kind;
use rsqlflow_tests::proxy::Proxy;
use rsqlflow_tests::proxy::faults::Faults;
use rsqlflow_tests::site::Site;
use rsqlflow_tests::wait_for;
use rsqlflow_tests::world::World;
use rsqlflow_trigger::events::{self, Context};
use rsqlflow_trigger::{Trigger, TriggerSettings};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// What is allowed and is no call that a proxy could see, or none to a service that is here: policy, statement, why.
const NOT_SEEN: [(&str, &str, &str); 8] = [
    ("ReadOnlyPolicy", "RunsWithoutRecords", "asked where a record cannot be read, which is not so here"),
    ("OperatorPolicy", "RunsWithoutRecords", "asked where a record cannot be read, which is not so here"),
    ("ReadOnlyPolicy", "Settings", "reads a stack's outputs; the embedded default has no stacks"),
    ("OperatorPolicy", "GiveSchedulesTheirRole", "Scheduler asks IAM for it when a schedule is made"),
    ("OperatorPolicy", "Settings", "reads a stack's outputs; the embedded default has no stacks"),
    ("TriggerRole", "DeadLetters", "Lambda sends what the function could not do"),
    ("TriggerRole", "Logs", "Lambda ships what the function prints"),
    ("TriggerRole", "Traces", "Lambda traces the function"),
];

/// "No permissions are required to perform this operation."
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
const NEEDS_NO_PERMISSION: &str = "sts:GetCallerIdentity";

/// A statement: actions, and tables with indexes where they are DynamoDB's.
pub(crate) struct Statement {
    pub(crate) sid: String,
    pub(crate) actions: BTreeSet<String>,
    pub(crate) tables: BTreeSet<String>,
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

/// The names of the template's tables, by the template's names of them.
fn tables(template: &Value) -> BTreeMap<String, String> {
    let resources = template["Resources"].as_object().expect("resources");
    let name = |resource: &Value| -> Option<String> {
        let name = &resource["Properties"]["TableName"];
        let text = name.as_str().or_else(|| name["Fn::Sub"].as_str())?;
        Some(text.replace("${Prefix}", "rsqlflow"))
    };
    resources.iter().filter_map(|(id, resource)| Some((id.clone(), name(resource)?))).collect()
}

/// The statements of a policy of the template.
pub(crate) fn statements(template: &Value, policy: &str) -> Vec<Statement> {
    let tables = tables(template);
    let table = |on: &Value| -> Option<String> {
        let attribute = on["Fn::GetAtt"][0].as_str().map(|id| (id, String::new()));
        let text = on["Fn::Sub"].as_str();
        let part = text
            .and_then(|text| text.strip_prefix("${")?.split_once(".Arn}"))
            .map(|(id, rest)| (id, rest.to_owned()));
        let (id, rest) = attribute.or(part)?;
        Some(format!("{}{rest}", tables.get(id)?))
    };
    let properties = &template["Resources"][policy]["Properties"];
    let own = properties.get("PolicyDocument").into_iter();
    let documents =
        own.chain(properties["Policies"].as_array().into_iter().flatten().map(|p| &p["PolicyDocument"]));
    documents
        .flat_map(|document| list(&document["Statement"]))
        // What a stack may be told to have besides is the same once more.
        .filter(|statement| statement.get("Fn::If").is_none())
        .map(|statement| Statement {
            sid: statement["Sid"].as_str().expect("a Sid").into(),
            actions: list(&statement["Action"]).iter().filter_map(|a| Some(a.as_str()?.into())).collect(),
            tables: list(&statement["Resource"]).iter().filter_map(table).collect(),
        })
        .collect()
}

impl Statement {
    fn allows(&self, action: &str, table: Option<&str>) -> bool {
        self.actions.contains(action) && table.is_none_or(|table| self.tables.contains(table))
    }
}

/// Every difference between a policy and what was asked for.
fn differences(template: &Value, policy: &str, calls: &Proxy) -> Vec<String> {
    let statements = statements(template, policy);
    assert!(!statements.is_empty(), "the template has no {policy}");
    let recorder = calls.recorder();
    let asked: Vec<(&str, Option<&str>)> = recorder
        .calls()
        .keys()
        .map(|call| {
            call.split_once(' ').map_or((call.as_str(), None), |(action, table)| (action, Some(table)))
        })
        .collect();
    let mut found = Vec::new();
    for (action, table) in &asked {
        if *action != NEEDS_NO_PERMISSION
            && !statements.iter().any(|statement| statement.allows(action, *table))
        {
            found.push(format!("{policy} lacks {action} {}", table.unwrap_or_default()));
        }
    }
    for statement in &statements {
        let used: Vec<_> = asked.iter().filter(|(action, table)| statement.allows(action, *table)).collect();
        let not_seen = NOT_SEEN.iter().any(|(of, sid, _)| *of == policy && *sid == statement.sid);
        for action in &statement.actions {
            let called = used.iter().any(|(used, _)| used == action);
            match (called, not_seen) {
                (true, true) => {
                    found.push(format!("{action} is called, and listed as if that could not be seen"))
                }
                (false, false) => {
                    found.push(format!("{policy}: {}: {action} is never called", statement.sid));
                }
                _ => {}
            }
        }
        for table in &statement.tables {
            if !used.iter().any(|(_, used)| *used == Some(table.as_str())) {
                found.push(format!("{policy}: {}: {table} is never used", statement.sid));
            }
        }
    }
    found
}

#[test]
fn policies_allow_what_is_called_and_nothing_else() {
    let site = Site::new();
    let mut world = World::start(&site, Kind::Embedded);
    let template = world.rsqlflow(&["template", "--output", "json"]).expect(0).json();
    do_everything(&mut world);
    let reading = look_at_everything(&world);
    let mut found = differences(&template, "HostPolicy", &world.agent_calls);
    found.extend(differences(&template, "ReadOnlyPolicy", &reading));
    found.extend(differences(&template, "OperatorPolicy", &world.command_calls));
    assert!(
        found.is_empty(),
        "\n{}\nagent {:#?}\ncommand {:#?}",
        found.join("\n"),
        world.agent_calls.recorder(),
        world.command_calls.recorder()
    );
}

/// Everything that people who only look can ask.
fn look_at_everything(world: &World<'_>) -> Proxy {
    let calls = Proxy::start(&world.server().url, Faults::none(), 0);
    world.put(&json!({"workflow_id": "good", "schedule": "cron(0 3 1 1 ? *)", "workflow_stages": [
        {"execution_flag": "y", "execution_type": "sequential", "scripts": ["bad.sh"]}]}));
    let file = world.site.file(
        "item.json",
        "{\"workflow_id\": \"good\", \"workflow_stages\": [\
        {\"execution_flag\": \"y\", \"execution_type\": \"sequential\", \"scripts\": [\"bad.sh\"]}]}",
    );
    for (arguments, exit) in [
        (&["config", "list"][..], 0),
        (&["config", "get", "good"], 0),
        (&["config", "diff", file.to_str().expect("a path")], 1),
        (&["schedule", "list"], 0),
        (&["hosts"], 0),
        (&["runs"], 0),
        (&["runs", "good"], 0),
        (&["status", "bad-1"], 0),
        (&["logs", "bad-1"], 0),
    ] {
        let mut command = world.command(arguments);
        rsqlflow_tests::site::run(command.env("AWS_ENDPOINT_URL", calls.url())).expect(exit);
    }
    calls
}

/// Everything that makes the agent or the command call something that it otherwise does not.
fn do_everything(world: &mut World<'_>) {
    let site = world.site;
    site.script("ok.sh", "#!/bin/bash\nsource $1/get_redshift_creds.sh $2\necho $HOST\n");
    site.script("bad.sh", "#!/bin/sh\nexit 1\n");
    site.script("long.sh", "#!/bin/sh\ntouch started\nexec sleep 3600\n");
    let item = |id: &str, script: &str| {
        json!({"workflow_id": id, "workflow_stages": [
            {"execution_flag": "y", "execution_type": "sequential", "scripts": [script]}]})
    };
    for (id, script) in [("good", "ok.sh"), ("bad", "bad.sh"), ("long", "long.sh"), ("gone", "ok.sh")] {
        world.put(&item(id, script));
    }
    let mut scheduled = item("gone", "ok.sh");
    // A rate would fire as soon as it is made.
    for schedule in [json!("cron(0 3 1 1 ? *)"), json!("cron(0 4 1 1 ? *)"), Value::Null] {
        scheduled["schedule"] = schedule;
        if scheduled["schedule"].is_null() {
            scheduled.as_object_mut().expect("an item").remove("schedule");
        }
        world.put(&scheduled);
        world.rsqlflow(&["schedule", "list"]).expect(0);
    }
    let file = site.file("item.json", &item("good", "bad.sh").to_string());
    world.rsqlflow(&["config", "diff", file.to_str().expect("a path")]).expect(1);
    world.rsqlflow(&["config", "get", "good"]).expect(0);
    world.rsqlflow(&["config", "list"]).expect(0);
    world.rsqlflow(&["config", "delete", "gone", "--yes"]).expect(0);
    // An answer that is lost makes the agent ask what has arrived.
    world.agent_calls.set_faults(Faults { cut: 40, ..Faults::none() });
    for n in 0.. {
        world.rsqlflow(&["run", "good", "--id", &format!("good-{n}"), "--wait"]).expect(0);
        world.settled();
        if world.agent_calls.recorder().calls().contains_key("logs:GetLogEvents") {
            break;
        }
        assert!(n < 20, "the agent never asks what has arrived: {:#?}", world.agent_calls.recorder());
    }
    world.agent_calls.set_faults(Faults::none());
    world.rsqlflow(&["run", "bad", "--id", "bad-1", "--wait"]).expect(1);
    world.rsqlflow(&["run", "long", "--id", "long-1"]).expect(0);
    wait_for("the script to start", || site.path("scripts/started").exists().then_some(()));
    wait_for("a heartbeat", || {
        world.agent_calls.recorder().calls().contains_key("states:SendTaskHeartbeat").then_some(())
    });
    world.rsqlflow(&["cancel", "long-1", "--yes"]).expect(0);
    world.settled();
    world.rsqlflow(&["hosts"]).expect(0);
    world.rsqlflow(&["runs"]).expect(0);
    world.rsqlflow(&["runs", "good"]).expect(0);
    world.rsqlflow(&["status", "bad-1"]).expect(0);
    world.rsqlflow(&["logs", "bad-1"]).expect(0);
    // Of a job that the index does not know the record itself is looked for.
    let mut two = item("bad", "bad.sh");
    two["workflow_stages"][0]["scripts"] = json!(["bad.sh", "ok.sh"]);
    world.put(&two);
    world.rsqlflow(&["run", "bad", "--id", "bad-2", "--wait"]).expect(1);
    world.settled();
    world.rsqlflow(&["run", "--restart-from", "bad-2", "--wait"]).expect(1);
    world.settled();
    // A run whose execution is gone is looked at there.
    world.rsqlflow(&["run", "good", "--id", "good-0"]);
}

/// Everything that the trigger function may be told.
fn tell_everything(world: &World<'_>, calls: &Proxy) {
    let site = world.site;
    site.script("ok.sh", "#!/bin/sh\n");
    site.script("long.sh", "#!/bin/sh\ntouch started\nexec sleep 3600\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = world.server().config();
    let topic = aws_sdk_sns::Client::new(&server).create_topic().name("ops");
    let topic = runtime.block_on(topic.send()).expect("a topic").topic_arn.expect("its ARN");
    let stages =
        |script: &str| json!([{"execution_flag": "y", "execution_type": "sequential", "scripts": [script]}]);
    world.put(&json!({"workflow_id": "good", "workflow_stages": stages("ok.sh")}));
    world.put(&json!({"workflow_id": "long", "workflow_stages": stages("long.sh"), "overlap": "queue",
        "notify": {"topic_arn": topic, "on": ["failed"]}}));
    let config = world.server().at(&calls.url()).config();
    // Nobody is waited for.
    let trigger = trigger(world, &config, 0);
    let handle = |event: Value| {
        let context = Context { request_id: "0123456789abcdef".into(), ..Context::default() };
        runtime.block_on(events::handle(&trigger, event, &context))
    };
    handle(json!({"workflow_id": "goode"})).expect_err("there is no such workflow");
    for _ in 0..2 {
        handle(json!({"workflow_id": "good", "workflow_execution_id": "good-1"})).expect("is started");
    }
    let due = |hour: u8| json!({"source": "rsqlflow.schedule", "workflow_id": "long", "scheduled_time": format!("2026-11-21T{hour:02}:00:00Z")});
    let first = handle(due(1)).expect("is started");
    wait_for("the script to start", || site.path("scripts/started").exists().then_some(()));
    let second = handle(due(2)).expect("waits");
    assert_eq!(second["waiting_for"], first["workflow_execution_id"], "{second}");
    let swept = handle(json!({"source": "rsqlflow.sweep"})).expect("looks at what is open");
    assert_eq!(swept, json!({"started": []}), "nothing has ended");
    let run = first["workflow_execution_id"].as_str().expect("an id");
    wait_for("the job's record", || {
        let jobs = world.status(run)["jobs"].as_array()?.len();
        (jobs == 1).then_some(())
    });
    // A host that cannot say what became of its job.
    let agent = i32::try_from(world.daemon.pid()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(agent, Signal::STOP).expect("it is ours to stop");
    let arn = first["execution_arn"].as_str().expect("an ARN");
    let sfn = aws_sdk_sfn::Client::new(&server);
    runtime.block_on(sfn.stop_execution().execution_arn(arn).send()).expect("it is stopped");
    let ended = handle(
        json!({"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": {
        "executionArn": arn, "stateMachineArn": world.machines().master, "name": first["workflow_execution_id"], "status": "ABORTED"}}),
    );
    let ended = ended.expect("the end is handled");
    assert_eq!((&ended["notified"], &ended["closed_jobs"]), (&json!(true), &json!(["long.sh"])), "{ended}");
    kill_process(agent, Signal::CONT).expect("it is ours to continue");
    // A run that was cancelled is in the way for as long as its host ends its script.
    let second = second["workflow_execution_id"].as_str().expect("an id");
    wait_for("the second job's record", || {
        let jobs = world.status(second)["jobs"].as_array()?.len();
        (jobs == 1).then_some(())
    });
    kill_process(agent, Signal::STOP).expect("it is ours to stop");
    let cancelled = handle(json!({"source": "rsqlflow.operate", "by": "maria", "cancel": second}));
    assert_eq!(cancelled.expect("is cancelled")["workflow_id"], "long");
    let patient = self::trigger(world, &config, 600);
    let context = Context { request_id: "0123456789abcdef".into(), ..Context::default() };
    let third = runtime.block_on(events::handle(&patient, due(3), &context)).expect("waits");
    assert_eq!(third["waiting_for"], second, "{third}");
    kill_process(agent, Signal::CONT).expect("it is ours to continue");
    world.rsqlflow(&["cancel", third["workflow_execution_id"].as_str().expect("an id"), "--yes"]).expect(0);
    world.settled();
}

fn trigger(world: &World<'_>, config: &SdkConfig, late_records_seconds: u32) -> Trigger {
    let machines = world.machines().clone();
    let machines = StateMachines {
        master: machines.master,
        sequential: machines.sequential,
        parallel: machines.parallel,
    };
    let settings = Settings::load(None, &world.site.path(""), []).expect("the world's settings");
    let settings = TriggerSettings { late_records_seconds, ..TriggerSettings::new(&settings, machines) };
    let trigger =
        Trigger::new(aws_sdk_dynamodb::Client::new(config), aws_sdk_sfn::Client::new(config), settings);
    trigger.notifying(aws_sdk_sns::Client::new(config))
}

#[test]
fn the_trigger_may_do_what_it_does_and_nothing_else() {
    let site = Site::new();
    let world = World::start(&site, Kind::MiniStack);
    let template = world.rsqlflow(&["template", "--output", "json"]).expect(0).json();
    let calls = Proxy::start(&world.server().url, Faults::none(), 0);
    tell_everything(&world, &calls);
    let found = differences(&template, "TriggerRole", &calls);
    assert!(found.is_empty(), "\n{}\n{:#?}", found.join("\n"), calls.recorder());
}
