//! Runs that go well: stages in their order, values as they were written, logs and credentials.

use rsqlflow_tests::peers::NODE;
use rsqlflow_tests::peers::provision::{PASSWORD, SECRET};
use rsqlflow_tests::world::{World, job};
use serde_json::{Value, json};

pub(crate) fn a_workflow_completes(world: &mut World<'_>) {
    let ran = world.site.path("ran");
    world.site.script("step.sh", &format!("#!/bin/sh\necho $JOB_NAME >> {}\n", ran.display()));
    let step = |name: &str| json!({"script": "step.sh", "job_name": name});
    world.put(&json!({"workflow_id": "nightly", "workflow_stages": [
        {"stage_description": "Prepare", "execution_flag": "y", "execution_type": "sequential",
         "scripts": [step("first"), step("second")]},
        {"stage_description": "Left out", "execution_flag": "n", "execution_type": "parallel", "scripts": [step("never")]},
        {"stage_description": "Load", "execution_flag": "Y", "execution_type": "parallel", "max_concurrency": 2,
         "scripts": [step("a"), step("b"), step("c")]},
        {"stage_description": "Report", "execution_flag": "y", "execution_type": "sequential", "scripts": [step("last")]}
    ]}));
    world.rsqlflow(&["run", "nightly", "--id", "n-1", "--wait"]).expect(0);
    let mut lines = world.site.lines("ran");
    lines[2..5].sort();
    assert_eq!(lines, ["first", "second", "a", "b", "c", "last"]);

    world.settled();
    let status = world.status("n-1");
    assert_eq!(status["execution_status"], "completed", "{status}");
    assert_eq!(status["jobs"].as_array().unwrap().len(), 6, "{status}");
    for one in status["jobs"].as_array().unwrap() {
        assert_eq!(
            (&one["execution_status"], &one["exit_code"], &one["instance_id"]),
            (&json!("completed"), &json!(0), &json!(NODE)),
            "{status}"
        );
    }
    // The same id again is the same run, not another.
    world.rsqlflow(&["run", "nightly", "--id", "n-1", "--wait"]);
    assert_eq!(world.site.lines("ran").len(), 6);
    let listed = world.rsqlflow(&["runs", "nightly", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    if let Some(bridge) = world.bridge() {
        for invocation in bridge.invocations() {
            assert_eq!((invocation.status, invocation.response_code), ("Success", 0), "{invocation:?}");
        }
    }
}

/// Quotes of every kind, what shells and JSONata take for something, lines, and letters beyond ASCII and beyond 16 bits.
const VALUES: [&str; 6] = [
    "it's \"quoted\" `id` $(id) ${HOME} $1 \\ \\n",
    "two\nlines\tand a tab",
    "größe 表 😀 \u{301}",
    "{% $states.input %} {{ request }} %s",
    " leading and trailing ",
    "",
];

pub(crate) fn values_arrive_as_they_are(world: &mut World<'_>) {
    world.site.script(
        "print.sh",
        "#!/bin/bash\nshift 2\nprintf '%s\\0' \"$@\" > arguments\nprintf '%s\\0' \"$p0\" \"$p1\" \"$p2\" \"$p3\" \"$p4\" \"$p5\" > parameters\n",
    );
    let parameters: Value =
        VALUES.iter().enumerate().map(|(at, value)| (format!("p{at}"), json!(value))).collect();
    world.put(&json!({"workflow_id": "values", "workflow_stages": [
        {"stage_description": VALUES[0], "execution_flag": "y", "execution_type": "sequential", "scripts": [
            {"script": "print.sh", "job_name": "größe \"1\"", "arguments": VALUES, "parameters": parameters}]}]}));
    world.rsqlflow(&["run", "values", "--id", "v-1", "--wait"]).expect(0);
    for name in ["scripts/arguments", "scripts/parameters"] {
        let text = std::fs::read_to_string(world.site.path(name)).expect("the script wrote it");
        let read: Vec<&str> = text.strip_suffix('\0').unwrap().split('\0').collect();
        assert_eq!(read, VALUES, "{name}");
    }
    assert_eq!(job(&world.status("v-1"), "größe \"1\"")["execution_status"], "completed");
}

pub(crate) fn logs_are_complete(world: &mut World<'_>) {
    const LINES: usize = 3000;
    world.site.script(
        "talk.sh",
        &format!("#!/bin/bash\nfor i in $(seq {LINES}); do\n  if ((i % 2)); then echo \"zeile $i ä😀\"; else echo \"zeile $i\" >&2; fi\ndone\nprintf 'no newline'\n"),
    );
    world.put(&json!({"workflow_id": "talk", "workflow_stages": [
        {"execution_flag": "y", "execution_type": "sequential", "scripts": ["talk.sh"]}]}));
    world.rsqlflow(&["run", "talk", "--id", "t-1", "--wait"]).expect(0);
    world.settled();
    let expected: Vec<String> = (1..=LINES)
        .map(|i| if i % 2 == 1 { format!("zeile {i} ä😀") } else { format!("zeile {i}") })
        .chain(["no newline".into()])
        .collect();
    assert_eq!(world.log("t-1/talk.sh/1"), expected);
    let printed = world.rsqlflow(&["logs", "t-1", "talk.sh"]).expect(0).stdout;
    assert_eq!(printed.lines().filter(|line| line.contains("zeile")).count(), LINES);
}

pub(crate) fn credentials_reach_the_script(world: &mut World<'_>) {
    world.site.script(
        "who.sh",
        "#!/bin/bash\nset -e\nsource $1/get_redshift_creds.sh $2\necho \"$2 $USER@$HOST/$DB\"\nprintf %s \"$PASSWORD\" | cmp - expected\n",
    );
    world.site.file("scripts/expected", PASSWORD);
    world.put(&json!({"workflow_id": "who", "workflow_stages": [
        {"execution_flag": "y", "execution_type": "sequential", "scripts": ["who.sh"]}]}));
    world.rsqlflow(&["run", "who", "--id", "w-1", "--wait"]).expect(0);
    world.settled();
    assert_eq!(world.log("w-1/who.sh/1"), [format!("{SECRET} etl@warehouse.invalid/dev")]);
    assert!(!world.daemon.log().contains(PASSWORD));
}

pub(crate) fn a_host_is_found_by_its_tag(world: &mut World<'_>) {
    world.site.script("ok.sh", "#!/bin/sh\necho $JOB_NAME\n");
    let item = |tag: &str| {
        json!({"workflow_id": tag, "host": {"tag": tag}, "workflow_stages": [
            {"execution_flag": "y", "execution_type": "parallel", "scripts": ["ok.sh", {"script": "ok.sh", "job_name": "two"}]},
            {"execution_flag": "y", "execution_type": "sequential", "scripts": [{"script": "ok.sh", "job_name": "three"}]}]})
    };
    world.put(&item("etl"));
    world.rsqlflow(&["run", "etl", "--id", "e-1", "--wait"]).expect(0);
    world.settled();
    let status = world.status("e-1");
    for name in ["ok.sh", "two", "three"] {
        assert_eq!(job(&status, name)["instance_id"], NODE, "{status}");
    }
    assert!(world.rsqlflow(&["hosts"]).expect(0).stdout.contains(NODE));
    world.put(&item("other"));
    let told = world.rsqlflow(&["run", "other", "--id", "o-1", "--wait"]).expect(1);
    assert!(told.stderr.contains("other"), "{}", told.stderr);
}

pub(crate) fn a_schedule_follows_its_item(world: &mut World<'_>) {
    world.site.script("ok.sh", "#!/bin/sh\n");
    let put = |schedule: Option<&str>| {
        let mut item = json!({"workflow_id": "nightly", "workflow_stages": [
            {"execution_flag": "y", "execution_type": "sequential", "scripts": ["ok.sh"]}]});
        if let Some(schedule) = schedule {
            item["schedule"] = json!(schedule);
            item["schedule_timezone"] = json!("Europe/Berlin");
        }
        world.put(&item);
        // Item and schedule agree, or this says otherwise.
        world.rsqlflow(&["schedule", "list"]).expect(0).stdout
    };
    assert!(put(Some("cron(30 2 * * ? *)")).contains("nightly"));
    assert!(put(Some("cron(45 3 ? * MON-FRI *)")).contains("nightly"));
    assert!(!put(None).contains("nightly"));
    put(Some("cron(30 2 * * ? *)"));
    world.rsqlflow(&["config", "delete", "nightly", "--yes"]).expect(0);
    assert!(!world.rsqlflow(&["schedule", "list"]).expect(0).stdout.contains("nightly"));
}
