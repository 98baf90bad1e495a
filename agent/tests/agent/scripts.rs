//! What runs, how it is called, and what is refused.

use rsqlflow_config::job::JobRequest;

use crate::world::{Told, World};

#[tokio::test]
async fn a_script_runs_and_everyone_is_told() {
    let world = World::new().await;
    let Told::Success(success) = world.run("echo hello\necho oops >&2\n").await else { panic!("failed") };
    assert_eq!((success.status.as_str(), success.exit_code, success.attempt), ("completed", 0, 1));
    assert_eq!(success.log_stream, "nightly-1/job.sh/1");
    let audit = world.final_audit().await;
    assert_eq!(audit["execution_status"], "completed");
    assert_eq!((&audit["exit_code"], &audit["attempt"]), (&0.into(), &1.into()));
    assert_eq!((&audit["instance_id"], &audit["ssm_command_id"]), (&"i-test".into(), &"cmd-1".into()));
    assert!(!audit.contains_key("error_message"), "{audit:?}");
    world.settled().await;
    assert_eq!(world.events(), ["hello", "oops"]);
    assert_eq!(world.aws.calls("UpdateItem").len(), 1, "a short job costs one audit write");
    assert_eq!(world.agent().stats().durable_commits, 2);
}

#[tokio::test]
async fn a_script_that_prints_nothing_costs_no_log_call() {
    let world = World::new().await;
    world.run("exit 0").await;
    world.settled().await;
    let actions: Vec<String> = world.aws.all_calls().into_iter().map(|call| call.action).collect();
    assert_eq!(actions.len(), 2, "{actions:?}");
    assert_eq!(world.final_audit().await["log_stream"], "nightly-1/job.sh/1");
}

#[tokio::test]
async fn arguments_and_parameters_arrive_unchanged() {
    let world = World::new().await;
    let out = world.dir.path().join("seen");
    let text = r#"{ for value in "$3" "$4" "$5" "$region" "$WORKFLOW_ID" "$WORKFLOW_EXECUTION_ID" "$JOB_NAME" "$ATTEMPT" "$out"; do printf '%s\0' "$value"; done; } > "$out.new"; mv "$out.new" "$out"; [ -e "$1/get_redshift_creds.sh" ] && [ "$2" = warehouse ] && [ $# = 5 ]"#;
    world.script("dir/it's a $job.sh", text);
    let values = ["it's \"quoted\" $(touch x) `id`", "two\nlines\n", "größe ⛄"];
    let request = JobRequest {
        arguments: values.map(str::to_owned).to_vec(),
        parameters: [("region".into(), "a b'c\"".into()), ("out".into(), out.display().to_string())].into(),
        ..world.request("dir/it's a $job.sh")
    };
    world.submit(&request).await;
    assert!(matches!(world.told().await, Told::Success(_)));
    let seen = std::fs::read_to_string(&out).unwrap();
    let seen: Vec<&str> = seen.trim_end_matches('\0').split('\0').collect();
    assert_eq!(seen[..3], values);
    assert_eq!(seen[3..8], ["a b'c\"", "nightly", "nightly-1", "dir/it's a $job.sh", "1"]);
}

#[tokio::test]
async fn the_first_line_says_what_runs_a_script() {
    let world = World::new().await;
    world.script("p.py", "#!/usr/bin/env -S python3 -B\nimport sys\nprint('python', len(sys.argv))\n");
    world.script(
        "b.sh",
        "#!/bin/bash\n[[ -n $BASH_VERSION ]] && echo \"bash $(basename \"$0\") in $(basename \"$PWD\")\"\n",
    );
    for script in ["p.py", "b.sh"] {
        let mut request = world.request(script);
        request.task_token.push_str(script);
        world.submit(&request).await;
    }
    world.settled().await;
    let mut events = world.events();
    events.sort();
    assert_eq!(events, ["bash b.sh in scripts", "python 3"]);
}

#[tokio::test]
async fn scripts_that_cannot_run_fail_at_once_and_say_why() {
    let world = World::new().await;
    world.script("dir/x.sh", "true");
    let outside = world.dir.path().join("outside.sh");
    std::fs::write(&outside, "true").unwrap();
    std::os::unix::fs::symlink(&outside, world.config.scripts_dir.join("link.sh")).unwrap();
    std::os::unix::fs::symlink("nowhere", world.config.scripts_dir.join("dangling.sh")).unwrap();
    std::os::unix::fs::symlink("loop.sh", world.config.scripts_dir.join("loop.sh")).unwrap();
    std::os::unix::fs::symlink(world.dir.path(), world.config.scripts_dir.join("up")).unwrap();
    std::os::unix::fs::symlink("dir/x.sh", world.config.scripts_dir.join("inside.sh")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, world.config.scripts_dir.join("fifo.sh"), 0o600.into()).unwrap();
    world.script("dos.sh", "#!/bin/sh\r\necho x\r\n");
    world.script("nointerpreter.sh", "#!/opt/missing/bash -x\n");
    world.script("binary.sh", "\u{7f}ELF");
    world.script("empty.sh", "");
    world.script("env.sh", "#!/usr/bin/env nonesuch\n");
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(&world.script("cut", "\u{7f}ELF\u{2}\u{1}"), 0o755);
    mode(&world.script("open.sh", "true"), 0o666);
    mode(&world.script("open/x.sh", "true"), 0o644);
    mode(&world.config.scripts_dir.join("open"), 0o777);
    let secretly = world.script("unreadable.sh", "true");
    mode(&secretly, 0o000);
    let mut scripts = vec![
        "missing.sh",
        "dir",
        "dir/x.sh/y.sh",
        "link.sh",
        "up/outside.sh",
        "dangling.sh",
        "loop.sh",
        "fifo.sh",
        "dos.sh",
        "nointerpreter.sh",
        "binary.sh",
        "cut",
        "empty.sh",
        "env.sh",
        "open.sh",
        "open/x.sh",
        "inside.sh",
    ];
    // Root reads everything, so there is nothing to see as root.
    if !rustix::process::geteuid().is_root() {
        scripts.push("unreadable.sh");
    }
    let mut report = String::new();
    for script in &scripts {
        let mut request = world.request(script);
        request.task_token.push_str(script);
        request.retry = Some(rsqlflow_config::workflow::Retry {
            max_attempts: 3,
            interval_seconds: 1000,
            backoff_rate: 1.0,
            errors: None,
        });
        let before = crate::world::told(&world.aws).len();
        world.submit(&request).await;
        let told =
            world.aws.wait("the callback", |aws| crate::world::told(aws).into_iter().nth(before)).await;
        let line = match told {
            Told::Success(success) => format!("{script}: {}", success.message),
            Told::Failure(error, failure) => {
                assert_eq!((failure.attempt, failure.exit_code), (0, None));
                format!("{script}: {error}: {}", failure.message)
            }
        };
        if *script != "unreadable.sh" {
            report.push_str(
                &line
                    .replace(&world.dir.path().canonicalize().unwrap().display().to_string(), "DIR")
                    .replace(&world.config.path, "PATH")
                    .replace(&format!("uid {}", rustix::process::geteuid().as_raw()), "uid OWN"),
            );
            report.push('\n');
        }
    }
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn what_is_no_request_is_refused_without_its_values() {
    let world = World::new().await;
    let mut request = world.request("x.sh");
    request.script = "../very-secret".into();
    let error = world.agent().submit(&request.encode(), None).await.unwrap_err().to_string();
    assert!(error.contains("leaves the scripts directory") && !error.contains("very-secret"), "{error}");
    assert!(world.agent().submit("%", None).await.is_err());
    // Whoever waits for it is told, since the token could be made out.
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!((error.as_str(), failure.job_name.as_str()), ("Rsql.InvalidRequest", "x.sh"));
    assert!(failure.message.contains("leaves the scripts directory"), "{}", failure.message);
}

#[tokio::test]
async fn the_same_command_runs_once() {
    let world = World::new().await;
    let count = world.dir.path().join("count");
    world.script("job.sh", &format!("echo x >> {}", count.display()));
    let request = world.request("job.sh");
    let word = request.encode();
    let (first, second) = tokio::join!(world.agent().submit(&word, None), world.agent().submit(&word, None));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.job_id, second.job_id);
    assert_ne!(first.duplicate, second.duplicate);
    world.settled().await;
    assert!(world.submit(&request).await.duplicate);
    world.settled().await;
    assert_eq!(std::fs::read_to_string(count).unwrap(), "x\n");
    assert_eq!(crate::world::told(&world.aws).len(), 1);
}

#[tokio::test]
async fn a_script_that_is_gone_when_its_turn_comes_fails_clearly() {
    let world = World::new().await;
    let path = world.script("job.sh", "rm \"$0\"; exit 1");
    let mut request = world.request("job.sh");
    let retry = serde_json::json!({"max_attempts": 2, "interval_seconds": 0});
    request.retry = serde_json::from_value(retry).unwrap();
    world.submit(&request).await;
    let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
    assert!(!path.exists());
    assert_eq!(error, "Rsql.ScriptNotFound");
    assert!(failure.message.starts_with("script job.sh does not exist in "), "{}", failure.message);
}

#[tokio::test]
async fn strict_modes_can_be_turned_off() {
    let mut world = World::stopped();
    world.config.strict_modes = false;
    world.start().await;
    let path = world.script("job.sh", "true");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    world.submit(&world.request("job.sh")).await;
    assert!(matches!(world.told().await, Told::Success(_)));
}
