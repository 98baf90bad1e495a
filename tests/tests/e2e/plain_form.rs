//! The item and the scripts of the framework this replaces, as they are, from `config put` to the audit trail read
//! back with the plain `aws` command line.

use rsqlflow_tests::aws::{aws, plain};
use rsqlflow_tests::site::{Site, project};
use rsqlflow_tests::up::Up;
use serde_json::Value;

const JOBS: [&str; 6] = [
    "blog/create_schema.sh",
    "blog/create_table.sh",
    "blog/insert_1.sh",
    "blog/insert_2.sh",
    "blog/insert_3.sh",
    "blog/insert_4.sh",
];

#[test]
fn six_scripts_two_sequential_and_two_parallel_stages_of_two() {
    let site = Site::new();
    site.sample_scripts("blog");
    let up = Up::start(&site);
    let item = project().join("config/examples/blog-test-workflow.json");
    site.rsqlflow(&["config", "put", item.to_str().unwrap()]).expect(0);

    let ran = site.rsqlflow(&["run", "blog_test_workflow", "--id", "night-1", "--wait"]).expect(0);
    for job in JOBS {
        assert!(ran.stderr.contains(job), "{job} is not in the progress:\n{}", ran.stderr);
    }

    // The table has the rows.
    let rows = up
        .shell("psql -h $HOST -p $PORT -U $USER -d $DB -Atc 'select id, job, run from rsql_blog.blog_table order by id'")
        .expect(0);
    let expected: Vec<String> = (1..=4).map(|n| format!("{n}|blog/insert_{n}.sh|night-1")).collect();
    assert_eq!(rows.stdout.lines().collect::<Vec<_>>(), expected);

    // The workflow audit, by the plain command line.
    let key = r#"'{"workflow_execution_id":{"S":"night-1"},"workflow_id":{"S":"blog_test_workflow"}}'"#;
    let audit = plain(
        &aws(&up, &format!("dynamodb get-item --table-name rsqlflow-workflow-audit --key {key}"))["Item"],
    );
    assert_eq!(audit["execution_status"], "completed", "{audit}");
    assert_eq!(audit["rsql_jobs"], Value::from(JOBS.to_vec()));
    assert!(audit["execution_start_ts"].as_str().unwrap() < audit["execution_end_ts"].as_str().unwrap());
    assert!(!audit["started_by"].as_str().unwrap().is_empty());

    // The job audit, by its index.
    let jobs = aws(
        &up,
        "dynamodb query --table-name rsqlflow-job-audit --index-name by-run \
         --key-condition-expression 'workflow_execution_id = :r' \
         --expression-attribute-values '{\":r\":{\"S\":\"night-1\"}}'",
    );
    let mut jobs: Vec<Value> = jobs["Items"].as_array().unwrap().iter().map(plain).collect();
    jobs.sort_by_key(|job| job["job_name"].as_str().unwrap().to_string());
    assert_eq!(jobs.iter().map(|job| job["job_name"].as_str().unwrap()).collect::<Vec<_>>(), JOBS);
    for job in &jobs {
        assert_eq!(job["execution_status"], "completed", "{job}");
        assert_eq!(job["exit_code"], 0);
        assert_eq!(job["attempt"], 1);
        assert_eq!(job["workflow_id"], "blog_test_workflow");
        assert_eq!(job["instance_id"], "i-rsqlflow");
        assert!(job["ssm_command_id"].as_str().is_some_and(|id| id.len() == 36), "{job}");
    }
    // Sequential means one after the other, and stages too.
    let at = |job: usize, what: &str| jobs[job][what].as_str().unwrap().to_string();
    assert!(at(0, "execution_end_ts") <= at(1, "execution_start_ts"));
    assert!(at(1, "execution_end_ts") <= at(2, "execution_start_ts").min(at(3, "execution_start_ts")));
    assert!(at(2, "execution_end_ts").max(at(3, "execution_end_ts")) <= at(4, "execution_start_ts"));

    // Step Functions' own history, with nothing but the service's own events.
    let arn = audit["execution_arn"].as_str().unwrap();
    let history = aws(&up, &format!("stepfunctions get-execution-history --execution-arn {arn}"));
    let kinds: Vec<&str> =
        history["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("ExecutionStarted", "ExecutionSucceeded"));
    let entered = kinds.iter().filter(|kind| kind.ends_with("StateEntered")).count();

    // At most one transition per successful job and six per stage: the stages' own executions count as well.
    let mut stages = 0;
    let mut in_stages = 0;
    for machine in ["sequential", "parallel"] {
        let machine = arn
            .replace(":execution:", ":stateMachine:")
            .replace("rsqlflow-master:night-1", &format!("rsqlflow-{machine}"));
        for execution in
            aws(&up, &format!("stepfunctions list-executions --state-machine-arn {machine}"))["executions"]
                .as_array()
                .unwrap()
        {
            stages += 1;
            let arn = execution["executionArn"].as_str().unwrap();
            let history = aws(&up, &format!("stepfunctions get-execution-history --execution-arn {arn}"));
            in_stages += history["events"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|e| e["type"].as_str().unwrap().ends_with("StateEntered"))
                .count();
        }
    }
    assert_eq!(stages, 3);
    let per_run = 5; // Prepare, RecordRunning, RecordOutcome, AfterRecord, Completed
    let last_look = 1; // NextStage finds no stage any more
    assert!(
        entered + in_stages <= per_run + last_look + JOBS.len() + 6 * stages,
        "{entered} transitions of the run and {in_stages} of its stages"
    );

    // Systems Manager and CloudWatch Logs.
    let command = jobs[2]["ssm_command_id"].as_str().unwrap();
    let invocations = aws(&up, &format!("ssm list-command-invocations --command-id {command}"));
    let invocation = &invocations["CommandInvocations"][0];
    assert_eq!(
        (&invocation["Status"], &invocation["DocumentName"]),
        (&"Success".into(), &"Rsqlflow-RunScript".into())
    );
    let stream = jobs[2]["log_stream"].as_str().unwrap();
    assert_eq!(stream, "night-1/blog/insert_1.sh/1");
    let events = aws(
        &up,
        &format!(
            "logs get-log-events --log-group-name /ops/rsql-logs --log-stream-name {stream} --start-from-head"
        ),
    );
    let lines: Vec<&str> =
        events["events"].as_array().unwrap().iter().map(|e| e["message"].as_str().unwrap()).collect();
    assert!(lines.contains(&"INSERT 0 1") && lines.contains(&"rows inserted: 1"), "{lines:?}");
    let logs = site.rsqlflow(&["logs", "night-1", "blog/insert_1.sh"]).expect(0);
    assert!(logs.stdout.contains("rows inserted: 1"), "{}", logs.stdout);

    // The same id again is the same run: nothing runs twice.
    site.rsqlflow(&["run", "blog_test_workflow", "--id", "night-1", "--wait"]).expect(0);
    let rows = up
        .shell("psql -h $HOST -p $PORT -U $USER -d $DB -Atc 'select count(*) from rsql_blog.blog_table'")
        .expect(0);
    assert_eq!(rows.stdout.trim(), "4");
    up.stop();
}
