//! What an operator gets to read, and programs to parse, where something was typed or set wrongly.

use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use serde_json::json;

const GOOD: &str = "workflow_id: w\nworkflow_stages:\n- {execution_type: sequential, scripts: [ok.sh]}\n";

#[test]
fn settings_that_do_not_hold_are_not_in_the_way_of_what_helps() {
    let site = Site::new();
    site.file("rsqlflow.toml", "regoin = 'x'\n");
    let told = site.rsqlflow(&["config", "list"]).expect(2).stderr;
    assert!(told.contains("next: rsqlflow config defaults"), "{told}");
    assert!(site.rsqlflow(&["config", "defaults"]).expect(0).stdout.contains("region ="));
    site.rsqlflow(&["config", "schema"]).expect(0).json();
    site.file("good.yaml", GOOD);
    site.rsqlflow(&["config", "validate", "good.yaml"]).expect(0);
}

#[test]
fn problems_of_files_are_json_where_it_is_asked_for() {
    let site = Site::new();
    site.file("good.yaml", GOOD);
    site.file("bad.yaml", "workflow_id: v\n");
    let checked = site.rsqlflow(&["config", "validate", "--json", "good.yaml", "none.yaml"]).expect(2).json();
    assert_eq!(checked[0]["problems"], json!([]));
    assert_eq!(checked[1]["file"], "none.yaml");
    assert!(
        checked[1]["problems"][0]["message"].as_str().unwrap().starts_with("cannot be read"),
        "{checked}"
    );
    let slip =
        site.rsqlflow(&["--settings", "none.toml", "config", "validate", "good.yaml"]).expect(2).stderr;
    assert!(slip.contains("none.toml"), "{slip}");
    let refused = site.rsqlflow(&["config", "put", "--json", "good.yaml", "bad.yaml"]).expect(2).json();
    assert_eq!(refused[1]["problems"][0]["path"], "workflow_stages");
    assert_eq!((&refused[0]["action"], &refused[1]["action"]), (&json!("not_tried"), &json!("not_tried")));
    let refused = site.rsqlflow(&["config", "put", "good.yaml", "bad.yaml"]).expect(2).stderr;
    assert!(refused.contains("nothing was stored; the other file is right"), "{refused}");
    assert_eq!(site.rsqlflow(&["config", "list", "--json"]).expect(0).json(), json!([]));
}

#[test]
fn a_run_that_has_ended_is_not_started_by_its_id() {
    let site = Site::new();
    site.script("ok.sh", "#!/bin/sh\n");
    site.script("wrong.sh", "#!/bin/sh\nexit 3\n");
    for (id, script) in [("w", "ok.sh"), ("v", "wrong.sh")] {
        site.put(&json!({"workflow_id": id, "workflow_stages": [
            {"execution_type": "sequential", "scripts": [script]},
            {"execution_type": "sequential", "scripts": [{"script": "ok.sh", "job_name": "after"}]}]}));
    }
    let up = Up::start(&site);
    site.rsqlflow(&["run", "w", "--id", "good", "--wait"]).expect(0);
    site.rsqlflow(&["run", "v", "--id", "bad", "--wait"]).expect(1);
    let again = site.rsqlflow(&["run", "w", "--id", "good"]).expect(0).stderr;
    assert!(
        again.contains("has ended before, completed") && again.contains("rsqlflow run w --id OTHER"),
        "{again}"
    );
    let again = site.rsqlflow(&["run", "v", "--id", "bad"]).expect(1).stderr;
    assert!(again.contains("has ended before, failed") && again.contains("--restart-from bad"), "{again}");

    // Jobs and attempts that were not.
    let never = site.rsqlflow(&["logs", "bad", "after"]).expect(0).stderr;
    assert!(never.contains("after never ran in this run"), "{never}");
    let attempt = site.rsqlflow(&["logs", "good", "--attempt", "7"]).expect(2).stderr;
    assert!(
        attempt.contains("has no attempt 7") && attempt.contains("next: rsqlflow status good"),
        "{attempt}"
    );
    up.stop();
}

#[test]
fn a_port_that_is_taken_names_its_setting() {
    let site = Site::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = rsqlflow_tests::site::run(site.command(&["up"]).env("RSQLFLOW_LOCAL_LISTEN", address));
    assert!(told.expect(3).stderr.contains("set local.listen"));
}

#[test]
fn the_agent_beside_an_up_is_found_from_what_its_command_says() {
    let site = Site::new();
    let up = Up::start(&site);
    let agent = |arguments: &[&str]| {
        let mut command = std::process::Command::new(rsqlflow_tests::site::binaries().join("rsqlflow-agent"));
        command.args(arguments).current_dir(site.path(""));
        for (name, _) in std::env::vars() {
            if name.starts_with("RSQLFLOW_") || name.starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        rsqlflow_tests::site::run(&mut command)
    };
    let told = agent(&["jobs"]).expect(3).stderr;
    assert!(told.contains("--data-dir .rsqlflow/agent"), "{told}");
    agent(&["jobs", "--data-dir", ".rsqlflow/agent"]).expect(0);
    let report = agent(&["doctor", "--data-dir", ".rsqlflow/agent", "--json"]).json();
    let failed: Vec<_> =
        report["checks"].as_array().unwrap().iter().filter(|check| check["level"] == "fail").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0]["hint"].as_str().unwrap().contains("rsqlflow env"), "{failed:?}");
    up.stop();
}
