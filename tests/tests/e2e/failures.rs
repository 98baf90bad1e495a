//! A script that fails, in a sequential and in a parallel stage: later stages do not run, and every place that tells
//! how the run ended tells the same.

use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::{Value, json};

const FAILING: &str = r#"#!/bin/bash
source $1/get_redshift_creds.sh $2
rsql -h $HOST -U $USER -d $DB << EOF
begin;
insert into nowhere.at_all values (1);
\if :ERROR <> 0
    \echo 'Error Code -'
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 21
\endif
commit;
\exit 0
EOF
exit $?
"#;

fn workflow(kind: &str) -> Value {
    json!({"workflow_id": format!("w-{kind}"), "workflow_stages": [
        {"stage_description": "Before", "execution_flag": "y", "execution_type": "sequential", "scripts": ["ok.sh"]},
        {"stage_description": "Broken", "execution_flag": "y", "execution_type": kind,
         "scripts": ["failing.sh", {"script": "ok.sh", "job_name": "beside"}]},
        {"stage_description": "After", "execution_flag": "y", "execution_type": "sequential",
         "scripts": [{"script": "ok.sh", "job_name": "after"}]}
    ]})
}

#[test]
fn exit_21_after_an_sql_error_is_told_everywhere() {
    let site = Site::new();
    site.script("ok.sh", &format!("#!/bin/sh\necho $JOB_NAME >> {}\n", site.path("ran").display()));
    site.script("failing.sh", FAILING);
    let up = Up::start(&site);
    for kind in ["sequential", "parallel"] {
        site.put(&workflow(kind));
        let id = format!("run-{kind}");
        let ran = site.rsqlflow(&["run", &format!("w-{kind}"), "--id", &id, "--wait"]).expect(1);
        assert!(ran.stderr.contains("exit code 21"), "{}", ran.stderr);

        let message = "relation \"nowhere.at_all\" does not exist";
        let status = site.status(&id);
        assert_eq!(status["execution_status"], "failed");
        assert!(status["error_message"].as_str().unwrap().contains("stage 2 (Broken)"), "{status}");
        assert!(status["error_message"].as_str().unwrap().contains(message), "{status}");
        let job = find_job(&status, "failing.sh");
        assert_eq!(
            (&job["execution_status"], &job["exit_code"], &job["error"]),
            (&"failed".into(), &21.into(), &"Rsql.ExitCode".into())
        );
        assert!(job["error_message"].as_str().unwrap().contains(message), "{job}");
        assert!(job["error_message"].as_str().unwrap().contains("42P01"), "{job}");

        let arn = status["execution_arn"].as_str().unwrap();
        let execution =
            rsqlflow_tests::aws::aws(&up, &format!("stepfunctions describe-execution --execution-arn {arn}"));
        assert_eq!((&execution["status"], &execution["error"]), (&"FAILED".into(), &"Rsql.RunFailed".into()));
        let cause: Value = serde_json::from_str(execution["cause"].as_str().unwrap()).unwrap();
        let failed = &cause["stages"][0]["failed_jobs"][0];
        assert_eq!((&failed["job_name"], &failed["exit_code"]), (&"failing.sh".into(), &21.into()));
        assert!(failed["message"].as_str().unwrap().contains(message), "{cause}");

        // Sequential: the script after the failing one did not run. Parallel: the one beside it did.
        let ran = site.lines("ran");
        assert_eq!(ran.contains(&"beside".to_string()), kind == "parallel", "{ran:?}");
        assert!(!ran.contains(&"after".to_string()), "{ran:?}");
        std::fs::remove_file(site.path("ran")).unwrap();
    }
    up.stop();
}

fn find_job<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["jobs"]
        .as_array()
        .and_then(|jobs| jobs.iter().find(|job| job["job_name"] == name))
        .unwrap_or_else(|| panic!("no job {name} in {status}"))
}

#[test]
fn continue_goes_on_and_the_run_still_fails() {
    let site = Site::new();
    site.script("ok.sh", &format!("#!/bin/sh\necho $JOB_NAME >> {}\n", site.path("ran").display()));
    site.script("bad.sh", "#!/bin/sh\necho it is broken >&2\nexit 3\n");
    let up = Up::start(&site);
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "parallel", "on_failure": "continue", "execution_flag": "y",
         "scripts": ["bad.sh", {"script": "bad.sh", "job_name": "bad too"}, {"script": "ok.sh", "job_name": "beside"}]},
        {"execution_type": "sequential", "execution_flag": "n", "scripts": [{"script": "ok.sh", "job_name": "skipped"}]},
        {"execution_type": "sequential", "execution_flag": "y", "scripts": [{"script": "ok.sh", "job_name": "after"}]}
    ]}));
    site.rsqlflow(&["run", "w", "--id", "r", "--wait"]).expect(1);
    let mut ran = site.lines("ran");
    ran.sort();
    assert_eq!(ran, ["after", "beside"]);
    let message = site.status("r")["error_message"].as_str().unwrap().to_string();
    assert!(
        message.contains("2 of 3 jobs failed") && message.contains("bad.sh") && message.contains("bad too"),
        "{message}"
    );
    assert!(message.contains("it is broken"), "{message}");
    up.stop();
}

#[test]
fn limits_on_time_end_the_process_tree() {
    let site = Site::new();
    // Deaf to TERM, with a child that outlives its parent's wait.
    let pids = site.path("pids");
    site.script("deaf.sh", &format!("#!/bin/bash\ntrap '' TERM\nsleep 3600 & echo $! >> {0}\necho $$ >> {0}\nwhile :; do wait; done\n", pids.display()));
    let up = Up::start(&site);
    let stage =
        |script: Value| json!([{"execution_type": "sequential", "execution_flag": "y", "scripts": [script]}]);

    site.put(&json!({"workflow_id": "job-limit", "workflow_stages": stage(json!({"script": "deaf.sh", "timeout_seconds": 1}))}));
    site.rsqlflow(&["run", "job-limit", "--id", "job-limit-1", "--wait"]).expect(1);
    let status = site.status("job-limit-1");
    let job = find_job(&status, "deaf.sh");
    assert_eq!((&job["execution_status"], &job["error"]), (&"timed_out".into(), &"Rsql.TimedOut".into()));

    site.put(&json!({"workflow_id": "run-limit", "timeout_seconds": 2, "workflow_stages": stage(json!("deaf.sh"))}));
    site.rsqlflow(&["run", "run-limit", "--id", "run-limit-1", "--wait"]).expect(1);
    assert_eq!(site.status("run-limit-1")["execution_status"], "timed_out");

    site.put(&json!({"workflow_id": "cancelled", "workflow_stages": stage(json!("deaf.sh"))}));
    site.rsqlflow(&["run", "cancelled", "--id", "cancelled-1"]).expect(0);
    wait_for("the script to start", || (site.lines("pids").len() >= 6).then_some(()));
    site.rsqlflow(&["cancel", "cancelled-1", "--yes"]).expect(0);
    assert_eq!(site.status("cancelled-1")["execution_status"], "cancelled");
    wait_for("the cancelled job's record", || {
        let status = site.status("cancelled-1");
        (find_job(&status, "deaf.sh")["execution_status"] == "cancelled").then_some(())
    });

    for pid in site.lines("pids") {
        wait_for("every process to end", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Gone, or a zombie that only waits to be counted.
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    }
    up.stop();
}

#[test]
fn whoever_wants_to_know_is_told() {
    let site = Site::new();
    site.script("bad.sh", "#!/bin/sh\necho it is broken\nexit 3\n");
    site.script("ok.sh", "#!/bin/sh\n");
    let up = Up::start(&site);
    let topic = rsqlflow_tests::aws::aws(&up, "sns create-topic --name ops")["TopicArn"]
        .as_str()
        .unwrap()
        .to_string();
    for (script, on, told) in
        [("bad.sh", "failed", true), ("ok.sh", "failed", false), ("ok.sh", "completed", true)]
    {
        let id = format!("{}-{on}", script.replace('.', "-"));
        site.put(&json!({"workflow_id": id, "notify": {"topic_arn": topic, "on": [on]}, "workflow_stages": [
            {"execution_type": "sequential", "execution_flag": "y", "scripts": [script]}]}));
        site.rsqlflow(&["run", &id, "--id", &id, "--wait"]).expect(i32::from(script == "bad.sh"));
        let arn = site.status(&id)["execution_arn"].as_str().unwrap().to_string();
        let history = rsqlflow_tests::aws::aws(
            &up,
            &format!("stepfunctions get-execution-history --execution-arn {arn}"),
        );
        let published = history["events"].as_array().unwrap().iter().any(|event| {
            let details = &event["taskSucceededEventDetails"];
            details["resource"] == "publish" && details["output"].as_str().unwrap().contains("MessageId")
        });
        assert_eq!(published, told, "{id}: {history}");
        let text = history.to_string();
        if told {
            assert!(text.contains(&format!("More: rsqlflow status {id}")), "{id}: {text}");
        }
    }
    up.stop();
}
