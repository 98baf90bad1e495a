//! Task tokens and passwords: in no log, no audit item, no history that users are shown, no process list.

use std::collections::BTreeSet;
use std::fs;

use rsqlflow_tests::aws::aws;
use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::{Value, json};

#[test]
fn tokens_and_passwords_stay_where_they_belong() {
    let site = Site::new();
    // A careless script: it prints its environment and its arguments, and looks at every process. What it sees of them
    // goes to a file, because its log is masked and would hide what the test is after.
    let processes = site.path("processes");
    site.script(
        "careless.sh",
        &format!(
            "#!/bin/bash\nlook() {{ for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done >> {} 2>/dev/null; }}\n\
             look & source $1/get_redshift_creds.sh $2\nenv\necho \"$@\"\necho \"password: $RSPASSWORD\"\n\
             rsql -h $HOST -U $USER -d $DB -c 'select pg_sleep(600)' &\nrsql=$!\n\
             until grep -q pg_[s]leep {}; do look; done\nkill $rsql\nwait\n\
             until [ -e go ]; do sleep 0.05; done\n",
            processes.display(),
            processes.display()
        ),
    );
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "scripts": ["careless.sh"]}]}));
    let up = Up::start(&site);
    site.rsqlflow(&["run", "w", "--id", "r"]).expect(0);
    // The agent forgets a token once it has told the outcome: the script waits until the test has it.
    let tokens = wait_for("the token of the job", || {
        Some(tokens_of_the_agent(&site)).filter(|tokens| !tokens.is_empty())
    });
    site.file("scripts/go", "");
    wait_for("the run to end", || (site.status("r")["execution_status"] == "completed").then_some(()));

    let password = up.shell("printf %s \"$RSPASSWORD\"").expect(0).stdout;
    assert!(password.len() >= 16, "the private warehouse has a real password");

    let logs = wait_for("the whole log", || {
        let logs = site.rsqlflow(&["logs", "r"]).expect(0).stdout;
        logs.contains("password: ").then_some(logs)
    });

    // Everything a user is shown.
    let mut shown: Vec<(String, String)> = vec![
        ("the process list".into(), decoded(&fs::read_to_string(&processes).unwrap().into())),
        ("up's own output".into(), up.log()),
        ("rsqlflow status".into(), site.status("r").to_string()),
        ("rsqlflow logs".into(), logs.clone()),
    ];
    for table in ["rsqlflow-workflow-audit", "rsqlflow-job-audit", "rsqlflow-config"] {
        shown.push((table.into(), aws(&up, &format!("dynamodb scan --table-name {table}")).to_string()));
    }
    for machine in ["master", "sequential", "parallel"] {
        let arn = format!("arn:aws:states:us-east-1:000000000000:stateMachine:rsqlflow-{machine}");
        let list = aws(&up, &format!("stepfunctions list-executions --state-machine-arn {arn}"));
        for execution in list["executions"].as_array().into_iter().flatten() {
            let arn = execution["executionArn"].as_str().unwrap();
            shown.push((
                arn.into(),
                decoded(&aws(&up, &format!("stepfunctions get-execution-history --execution-arn {arn}"))),
            ));
        }
    }
    shown.push(("commands".into(), decoded(&aws(&up, "ssm list-commands"))));
    shown.push(("invocations".into(), decoded(&aws(&up, "ssm list-command-invocations --details"))));

    for (place, text) in &shown {
        assert!(!text.contains(&password), "the password is in {place}");
        for token in &tokens {
            assert!(!text.contains(token.as_str()), "a task token is in {place}");
        }
    }
    assert!(logs.contains("password: ********"), "a password that a script prints is masked:\n{logs}");
    let list = &shown[0].1;
    assert!(
        list.contains("careless.sh") && list.contains("pg_sleep"),
        "the script did look at the process list"
    );
    up.stop();
}

/// The text of a reply, with every base64url word in it decoded as well.
fn decoded(reply: &Value) -> String {
    let mut text = reply.to_string();
    let words: BTreeSet<String> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-_=+/".contains(c)))
        .filter(|word| word.len() > 40)
        .map(str::to_string)
        .collect();
    for word in words {
        text.push('\n');
        text.push_str(&base64_text(&word));
    }
    text
}

fn base64_text(word: &str) -> String {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'-' | b'+' => Some(62),
        b'_' | b'/' => Some(63),
        _ => None,
    };
    let sextets: Vec<u8> = word.bytes().filter_map(value).collect();
    let bytes: Vec<u8> = sextets
        .chunks(4)
        .flat_map(|chunk| {
            let bits =
                chunk.iter().fold(0u32, |bits, six| bits << 6 | u32::from(*six)) << (6 * (4 - chunk.len()));
            bits.to_be_bytes()[1..chunk.len()].to_vec()
        })
        .collect();
    // Percent-encoding has no say over tokens, which are plain ASCII letters, digits and signs.
    String::from_utf8_lossy(&bytes).replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")
}

/// Task tokens of jobs that have not ended, as the agent keeps them in its private directory.
fn tokens_of_the_agent(site: &Site) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![site.data_dir()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.ends_with("job.json") {
                // It may be gone by now, or not yet whole.
                let job: Value =
                    serde_json::from_slice(&fs::read(&path).unwrap_or_default()).unwrap_or_default();
                found.extend(job["request"]["task_token"].as_str().map(str::to_owned));
            }
        }
    }
    found
}
