use proptest::prelude::*;
use serde_json::json;

use super::*;

const SEED: &str = r#"{
  "workflow_id": "blog_test_workflow",
  "workflow_description": "Test Workflow for Blog",
  "workflow_stages": [
    {"execution_flag": "y", "execution_type": "sequential", "scripts": ["schema.sh", "table.sh"],
     "stage_description": "Schema & Table Creation Stage"},
    {"execution_flag": "Y", "execution_type": "parallel", "scripts": ["a.sh", "b.sh"],
     "stage_description": "Data Insertion Stage 1"}
  ]
}"#;

#[test]
fn the_plain_form_is_valid_as_it_is() {
    let workflow = workflow_from_text(SEED).unwrap();
    assert_eq!(workflow.workflow_stages[0].scripts[1].job_name(), "table.sh");
    assert!(workflow.workflow_stages.iter().all(crate::workflow::Stage::enabled));
}

#[test]
fn yaml_and_json_mean_the_same() {
    let yaml = r"
workflow_id: nightly
parameters: { run_date: '2026-11-21' }
workflow_stages:
  - execution_flag: y
    execution_type: sequential
    scripts:
      - one.sh
      - script: two.sh
        arguments: ['a b', '1']
        retry: { max_attempts: 2 }
";
    let workflow = workflow_from_text(yaml).unwrap();
    let again = workflow_from_text(&serde_json::to_string(&workflow).unwrap()).unwrap();
    assert_eq!(workflow, again);
    assert_eq!(workflow.workflow_stages[0].execution_flag, "y");
    assert_eq!(workflow.workflow_stages[0].scripts[1].settings().retry.unwrap().interval_seconds, 10);
}

#[test]
fn every_mistake_is_named_with_its_path() {
    let item = json!({
        "workflow_id": "nightly load",
        "workflow_stage": [],
        "schedule": "cron(0 3 * * *)",
        "schedule_timezone": "Europe/Berln",
        "parameters": {"PATH": "/tmp", "n": 3},
        "pool": "wlm etl",
        "priority": 101,
        "host": "localhost",
        "workflow_stages": [
            {"execution_type": "serial", "scripts": []},
            {"execution_type": "parallel", "max_concurency": 4, "max_concurrency": 200,
             "scripts": ["../etc/passwd", "a.sh", {"script": "b.sh", "job_name": "a.sh", "retry": {"max_attempts": 0}},
                         {"script": "/abs.sh", "timeout_seconds": "60", "pool": 7, "priority": "high"},
                         {"script": "d.sh", "retry": {"errors": ["Rsql.Exitcode", "Rsql.Cancelled", "Oops", 3]}},
                         {"script": "e.sh", "retry": {"errors": []}, "prio": 1, "priority": -101}]},
            {"execution_flag": true, "scripts": "c.sh"}
        ]
    });
    let text = problems(&item, &ParameterNames::default())
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    insta::assert_snapshot!(text);
}

#[test]
fn a_script_says_where_it_runs_and_what_is_repeated() {
    let item = r"
workflow_id: nightly
pool: wlm_etl
priority: -5
workflow_stages:
  - execution_type: parallel
    scripts: [{ script: a.sh, pool: wlm_copy, priority: 100, retry: { errors: [Rsql.HostLost, Rsql.ExitCode] } }]
";
    let workflow = workflow_from_text(item).unwrap();
    assert_eq!((workflow.pool.as_deref(), workflow.priority), (Some("wlm_etl"), Some(-5)));
    let script = workflow.workflow_stages[0].scripts[0].settings();
    assert_eq!((script.pool.as_deref(), script.priority), (Some("wlm_copy"), Some(100)));
    let retry = script.retry.unwrap();
    assert!(retry.covers(crate::job::JobError::HostLost) && !retry.covers(crate::job::JobError::Signal));
    assert_eq!(retry.max_attempts, 3);
}

#[test]
fn the_examples_hold() {
    let retail = workflow_from_text(include_str!("../examples/retail-load.yaml")).unwrap();
    assert_eq!(retail.workflow_stages[1].scripts[3].settings().priority, Some(10));
    workflow_from_text(include_str!("../examples/blog-test-workflow.json")).unwrap();
}

#[test]
fn a_flag_is_y_or_n() {
    let item = |flag: &str| {
        format!(
            "workflow_id: w\nexecution_flag: {flag}\nworkflow_stages:\n\
             - {{execution_flag: y, execution_type: sequential, scripts: [a.sh]}}\n\
             - {{execution_flag: {flag}, execution_type: sequential, scripts: [b.sh]}}"
        )
    };
    for flag in ["y", "Y", "n", "N", "\"y\""] {
        workflow_from_text(&item(flag)).unwrap();
    }
    for flag in ["yes", "no", "maybe", "\"\"", "\" y\"", "true", "on", "1"] {
        let told = workflow_from_text(&item(flag)).unwrap_err().to_string();
        let paths: Vec<_> =
            told.lines().filter_map(|line| line.split_once(": ")).map(|(path, _)| path).collect();
        assert_eq!(paths, ["execution_flag", "workflow_stages[1].execution_flag"], "{flag}: {told}");
        assert!(told.contains("\"y\" or \"n\""), "{told}");
    }
}

#[test]
fn nothing_to_run_is_a_mistake() {
    let off = SEED.replace("\"y\"", "\"n\"").replace("\"Y\"", "\"n\"");
    let error = workflow_from_text(&off).unwrap_err().to_string();
    assert!(error.contains("every stage is switched off"), "{error}");
    assert!(workflow_from_text("- a\n- b").unwrap_err().to_string().contains("a list"));
    assert!(matches!(workflow_from_text("{\"a\": "), Err(InvalidItem::Syntax(_))));
}

#[test]
fn sizes_are_told_before_the_service_does() {
    let mut item = parse(SEED).unwrap();
    item["workflow_description"] = "x".repeat(names::RUN_INPUT_MAX).into();
    assert!(problems(&item, &ParameterNames::default())[0].message.contains("256000"));
}

#[test]
fn the_schema_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/workflow.schema.json");
    let fresh = serde_json::to_string_pretty(&crate::workflow::json_schema()).unwrap() + "\n";
    if std::env::var_os("RSQLFLOW_UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == fresh,
        "the types changed: run RSQLFLOW_UPDATE_SCHEMA=1 cargo test -p rsqlflow-config schema"
    );
}

/// JSON near enough to an item that the walk gets far.
fn item() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0u32..300).prop_map(Value::from),
        "[a-z./]{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "y",
            "sequential",
            "parallel",
            "a.sh",
            "stop",
            "skip",
            "rate(1 day)",
            "i-rsqlflow",
            "Rsql.HostLost"
        ])
        .prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "workflow_id",
        "workflow_stages",
        "execution_flag",
        "execution_type",
        "scripts",
        "script",
        "retry",
        "max_attempts",
        "backoff_rate",
        "errors",
        "pool",
        "priority",
        "interval_seconds",
        "job_name",
        "arguments",
        "parameters",
        "schedule",
        "on_failure",
        "notify",
        "host",
        "success_exit_codes",
        "max_concurrency",
        "overlap",
        "zzz",
    ]);
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn what_the_walk_accepts_serde_accepts(noise in item(), stage in item(), script in item()) {
        for candidate in [
            noise.clone(),
            json!({"workflow_id": "w", "workflow_stages": [stage]}),
            json!({"workflow_id": "w", "workflow_stages": [{"execution_type": "sequential", "scripts": [script]}]}),
            json!({"workflow_id": "w", "notify": noise, "workflow_stages":
                   [{"execution_type": "sequential", "scripts": ["a"]}]}),
        ] {
            if problems(&candidate, &ParameterNames::default()).is_empty() {
                workflow(candidate, &ParameterNames::default()).unwrap();
            }
        }
    }
}

/// The problems of a workflow with these further lines.
fn problems_with(lines: &str) -> Vec<String> {
    let item = format!(
        "workflow_id: w\n{lines}\nworkflow_stages: [{{ execution_type: parallel, scripts: [a.sh] }}]\n"
    );
    problems(&parse(&item).unwrap(), &ParameterNames::default()).iter().map(ToString::to_string).collect()
}

#[test]
fn a_schedule_that_never_fires_is_refused() {
    for good in [
        "schedule: cron(0 3 * * ? *)\nschedule_timezone: Europe/Berlin\nschedule_start: 2026-12-01T00:00:00+01:00\n\
         schedule_end: '2027-12-01T00:00:00Z'\nschedule_flexible_minutes: 15",
        "schedule: rate(1 minute)\nschedule_end: '2026-12-01T00:00:00Z'",
        // What was right once stays right.
        "schedule: at(2020-01-01T00:00:00)",
        "schedule: cron(0 3 * * ? 2020)",
        "schedule: ~\nschedule_start: ~",
    ] {
        assert_eq!(problems_with(good), [""; 0], "{good}");
    }
    for (bad, path, says) in [
        ("schedule: cron(0 3 30 2 ? *)", "schedule", "there is no such date"),
        ("schedule: at(2026-03-29T02:30:00)\nschedule_timezone: Europe/Berlin", "schedule", "leap over"),
        (
            "schedule: cron(0 3 1 1 ? *)\nschedule_start: '2026-02-01T00:00:00Z'\nschedule_end: '2026-03-01T00:00:00Z'",
            "schedule",
            "no such time between",
        ),
        (
            "schedule: rate(1 day)\nschedule_start: '2026-02-01T00:00:00Z'\nschedule_end: '2026-01-01T00:00:00Z'",
            "schedule_end",
            "not after schedule_start",
        ),
        ("schedule: rate(1 day)\nschedule_start: tomorrow", "schedule_start", "2026-12-01T00:00:00Z"),
        ("schedule: rate(1 day)\nschedule_start: '2026-12-01T00:00:00'", "schedule_start", "with its zone"),
        (
            "schedule: at(2026-03-29T02:30:00)\nschedule_end: '2026-12-01T00:00:00Z'",
            "schedule_end",
            "fires once",
        ),
        ("schedule: rate(1 day)\nschedule_flexible_minutes: 0", "schedule_flexible_minutes", "1 to 1440"),
        ("schedule_flexible_minutes: 5", "schedule_flexible_minutes", "there is none"),
        ("schedule: rate(10 seconds)", "schedule", "once a minute"),
        ("schedule: rate(1 day)\nschedule_timezone: Mars/Base", "schedule_timezone", "not an IANA time zone"),
    ] {
        let found = problems_with(bad);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(found[0].starts_with(&format!("{path}: ")) && found[0].contains(says), "{bad}: {found:?}");
    }
}

#[test]
fn a_key_that_is_there_twice_is_told_plainly() {
    let told = workflow_from_text("workflow_id: w\nworkflow_id: v\n").unwrap_err().to_string();
    insta::assert_snapshot!(told);
}
