//! What must hold of the state machines as files: a job is sent and watched the same way in both kinds of stage, and no
//! Lambda function stands between anything.

use rsqlflow_tests::site::project;
use serde_json::Value;

fn read(name: &str) -> (String, Value) {
    let text = std::fs::read_to_string(project().join("statemachines").join(name)).unwrap();
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

#[test]
fn both_kinds_of_stage_run_a_job_the_same_way() {
    let ((_, sequential), (_, parallel)) = (read("sequential.asl.json"), read("parallel.asl.json"));
    let states = |machine: &Value| machine["States"]["RunScripts"]["ItemProcessor"]["States"].clone();
    for state in ["RunScript", "AfterFailure", "RecordFailure"] {
        assert_eq!(states(&sequential)[state], states(&parallel)[state], "{state} differs");
    }
    assert_eq!(sequential["States"]["Prepare"], parallel["States"]["Prepare"]);
}

#[test]
fn nothing_is_a_lambda_function() {
    for name in ["master.asl.json", "sequential.asl.json", "parallel.asl.json"] {
        assert!(!read(name).0.contains("lambda"), "{name}");
    }
}
