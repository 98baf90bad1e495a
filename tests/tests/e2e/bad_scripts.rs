//! Scripts that are not there, or are not what they should be: the job fails with a word that helps, nothing hangs.
//! And an item with ten different mistakes.

use std::os::unix::fs::symlink;

use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use serde_json::json;

#[test]
fn a_script_that_cannot_be_run_fails_its_job() {
    let site = Site::new();
    std::fs::create_dir(site.path("scripts/folder.sh")).unwrap();
    std::fs::write(site.path("outside.sh"), "#!/bin/sh\necho outside\n").unwrap();
    symlink(site.path("outside.sh"), site.path("scripts/link.sh")).unwrap();
    site.script("dos.sh", "#!/bin/no-such-shell\r\necho hello\r\n");
    let up = Up::start(&site);
    for (script, code, says) in [
        ("missing.sh", "Rsql.ScriptNotFound", "missing.sh"),
        ("folder.sh", "Rsql.ScriptNotFound", "directory"),
        ("link.sh", "Rsql.ScriptNotFound", "leads out of"),
        ("dos.sh", "Rsql.NotStarted", "DOS line ends"),
    ] {
        let id = script.replace('.', "-");
        site.put(&json!({"workflow_id": id, "workflow_stages": [
            {"execution_type": "parallel", "execution_flag": "y", "scripts": [script]}]}));
        site.rsqlflow(&["run", &id, "--id", &id, "--wait"]).expect(1);
        let job = &site.status(&id)["jobs"][0];
        assert_eq!(job["error"], code, "{job}");
        assert!(job["error_message"].as_str().unwrap().contains(says), "{job}");
    }
    up.stop();
}

#[test]
fn much_output_is_bounded_and_what_is_cut_is_told() {
    let site = Site::new();
    site.file(
        "rsqlflow.toml",
        "scripts_dir = \"scripts\"\nheartbeat_seconds = 30\n[agent]\nlog_limit_bytes = 3000000\n",
    );
    site.script("much.sh", "#!/bin/sh\nhead -c 1073741824 /dev/zero | tr '\\0' 'x' | fold -w 1023\n");
    site.script("long.sh", "#!/bin/sh\nhead -c 52428800 /dev/zero | tr '\\0' 'y'\necho\necho end of it\n");
    site.script("binary.sh", "#!/bin/sh\nprintf 'a\\377\\376b\\n'\n");
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "scripts": ["much.sh", "long.sh", "binary.sh"]}]}));
    let up = Up::start(&site);
    site.rsqlflow(&["run", "w", "--id", "r", "--wait"]).expect(0);
    let peak = std::fs::read_to_string(format!("/proc/{}/status", up.pid())).unwrap();
    let peak_kib: u64 = peak
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap();
    assert!(peak_kib < 300 * 1024, "rsqlflow up has used {peak_kib} KiB");
    let logs = |job: &str| site.rsqlflow(&["logs", "r", job]).expect(0).stdout;
    let much = logs("much.sh");
    assert!(much.len() < 4_000_000 && much.contains("[rsqlflow: "), "{} bytes", much.len());
    let long = logs("long.sh");
    assert!(long.len() < 4_000_000 && long.contains("[rsqlflow: "), "{} bytes", long.len());
    assert!(logs("binary.sh").contains("a\u{fffd}\u{fffd}b"));
    up.stop();
}

#[test]
fn ten_different_mistakes_are_named_with_their_paths() {
    let site = Site::new();
    let item = site.file(
        "ten.yaml",
        "workflow_id: two words\n\
         workflow_descripton: typo\n\
         schedule: every night\n\
         overlap: maybe\n\
         workflow_stages:\n\
         \x20 - execution_type: serial\n\
         \x20   execution_flag: y\n\
         \x20   scripts: []\n\
         \x20 - execution_type: parallel\n\
         \x20   execution_flag: y\n\
         \x20   max_concurrency: 1000\n\
         \x20   scripts: [../up.sh, a.sh, a.sh, {script: b.sh, timeout_seconds: soon}]\n",
    );
    let ran = site.rsqlflow(&["config", "validate", item.to_str().unwrap()]).expect(2);
    for path in [
        "workflow_id:",
        "workflow_descripton:",
        "schedule:",
        "overlap:",
        "workflow_stages[0].execution_type:",
        "workflow_stages[0].scripts:",
        "workflow_stages[1].max_concurrency:",
        "workflow_stages[1].scripts[0]:",
        "workflow_stages[1].scripts[2]:",
        "workflow_stages[1].scripts[3].timeout_seconds:",
    ] {
        assert!(ran.stderr.contains(path), "{path} is not named:\n{}", ran.stderr);
    }
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);

    let ran = site.rsqlflow(&["run", "no-such-workflow", "--wait"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("rsqlflow config list"), "{}", ran.stderr);
}
