//! Credentials reach scripts; tokens and passwords reach nobody else.

use std::process::Command;

use rsqlflow_agent::SecretRules;

use crate::fake_aws::{Answer, FakeAws, PASSWORD};
use crate::world::{TOKEN, Told, World, until};

#[tokio::test]
async fn scripts_get_their_credentials_by_sourcing() {
    for shell in ["/bin/sh", "/bin/bash", "/bin/bash -eux"] {
        let world = World::new().await;
        let seen = world.dir.path().join("seen");
        let text = format!(
            "#!{shell}\n. \"$1/get_redshift_creds.sh\" \"$2\"\n(set +x; printf '%s|' \"$HOST\" \"$PORT\" \"$USER\" \"$PASSWORD\" \"$DB\" > {0})\n\
             sh -c 'printf \"%s|%s\" \"$RSPASSWORD\" \"$RSPORT\"' >> {0}\n(set +x; echo \"password: $PASSWORD\"; echo \"at the end $RSPASSWORD\")\n",
            seen.display()
        );
        let told = world.run(&text).await;
        assert!(matches!(told, Told::Success(_)), "{told:?}");
        let seen = std::fs::read_to_string(&seen).unwrap();
        assert_eq!(seen, format!("warehouse.test|5439|etl|{PASSWORD}|dev|{PASSWORD}|5439"));
        world.settled().await;
        let events = world.events();
        assert!(events.contains(&"password: ********".to_owned()), "{events:?}");
        let everything = format!(
            "{:?}",
            world.aws.all_calls().iter().map(|call| call.body.to_string()).collect::<Vec<_>>()
        );
        assert!(!everything.contains("s3cr3t"), "{events:?}");
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_fails_the_script_clearly() {
    let world = World::new().await;
    world.aws.always("GetSecretValue", Answer::Error("ResourceNotFoundException", 400));
    let told = world.run(". \"$1/get_redshift_creds.sh\" \"$2\"\necho not reached").await;
    let Told::Failure(_, failure) = told else { panic!("succeeded") };
    assert!(failure.message.contains("does not give secret warehouse"), "{}", failure.message);
    world.settled().await;
    assert!(!world.events().contains(&"not reached".to_owned()));
}

#[tokio::test]
async fn credentials_are_given_to_the_scripts_of_a_job_alone() {
    let world = World::new().await;
    let socket = world.agent().socket().to_owned();
    let go = world.dir.path().join("go");
    world.script("job.sh", &format!("while ! [ -e {} ]; do sleep 0.05; done", go.display()));
    let job = world.submit(&world.request("job.sh")).await;
    // Not even with the job's own environment.
    let mut ask = Command::new(env!("CARGO_BIN_EXE_rsqlflow-agent"));
    ask.args(["credentials", "warehouse"])
        .env("RSQLFLOW_AGENT_SOCKET", &socket)
        .env("RSQLFLOW_JOB_ID", job.job_id);
    let refused = tokio::task::spawn_blocking(move || ask.output().unwrap()).await.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8_lossy(&refused.stderr), @"rsqlflow-agent: only the scripts of running jobs are given credentials, and this is no process of one");
    std::fs::write(go, "").unwrap();
    world.settled().await;
    assert!(world.aws.calls("GetSecretValue").is_empty());
}

#[tokio::test]
async fn a_job_is_given_its_own_secret_and_no_other_s() {
    let mut world = World::stopped();
    world.config.environment.insert("TMPDIR".into(), world.dir.path().display().to_string());
    world.start().await;
    let go = world.dir.path().join("go");
    world.script("other.sh", &format!("while ! [ -e {} ]; do sleep 0.05; done", go.display()));
    let mut other = world.request("other.sh");
    other.task_token.push_str("-other");
    other.secret_id = "other".into();
    let other = world.submit(&other).await;
    let arn = "arn:aws:secretsmanager:us-east-1:1:secret:warehouse-AbCdEf";
    world.script(
        "job.sh",
        &format!(
            "export RSQLFLOW_JOB_ID={}\n\
             rsqlflow-agent credentials other && exit 1\n\
             . \"$1/get_redshift_creds.sh\" \"$2\"\n\
             rsqlflow-agent credentials {arn} > $TMPDIR/given || exit 2\n\
             # Whatever sessions and parents it has by then.\n\
             (setsid sh -c 'rsqlflow-agent credentials warehouse > $TMPDIR/late; echo $? > $TMPDIR/code' &)\n\
             until [ -s $TMPDIR/code ]; do sleep 0.05; done; cat $TMPDIR/code $TMPDIR/late; exit 7",
            other.job_id
        ),
    );
    world.submit(&world.request("job.sh")).await;
    let Told::Failure(_, failure) = world.told().await else { panic!("succeeded") };
    assert_eq!(failure.exit_code, Some(7), "{}", failure.message);
    // Only the job that asked may show the password.
    let handed_out = |job: &str| world.config.data_dir.join("jobs").join(job).join("handed-out").exists();
    assert!(!handed_out(&other.job_id));
    std::fs::write(go, "").unwrap();
    world.settled().await;
    assert!(world.aws.calls("GetSecretValue").iter().all(|call| call["SecretId"] == "warehouse"));
    insta::assert_snapshot!(world.events().join("\n"));
}

fn rules(workflow: &str, secret: &str) -> SecretRules {
    let more = [(workflow.to_owned(), vec![secret.to_owned()])].into();
    SecretRules::Listed { common: "rsqlflow/warehouse".into(), more }
}

#[tokio::test]
async fn a_secret_that_is_not_the_workflow_s_is_refused_before_the_script_starts() {
    for (workflow, runs) in [("other", false), ("night*", true)] {
        let mut world = World::stopped();
        world.config.secrets = rules(workflow, "warehouse");
        world.start().await;
        let seen = world.dir.path().join("seen");
        let told = world.run(&format!("touch {}", seen.display())).await;
        assert_eq!((matches!(told, Told::Success(_)), seen.exists()), (runs, runs), "{told:?}");
        if let Told::Failure(error, failure) = told {
            assert_eq!(error, "Rsql.NotStarted");
            assert!(failure.message.contains("workflow nightly may not use secret warehouse"), "{failure:?}");
        }
        world.settled().await;
        assert!(world.aws.calls("GetSecretValue").is_empty());
    }
}

#[tokio::test]
async fn a_secret_is_judged_by_its_own_name_when_it_is_handed_out() {
    let mut world = World::stopped();
    world.config.secrets = rules("nightly", "warehouse");
    world.start().await;
    // The service's answer is that of a secret x.
    let told = world.run(". \"$1/get_redshift_creds.sh\" \"$2\"\necho \"$PASSWORD\"").await;
    let Told::Failure(_, failure) = told else { panic!("succeeded") };
    assert!(failure.message.contains("workflow nightly may not use secret x"), "{}", failure.message);
}

#[tokio::test]
async fn tokens_and_passwords_show_nowhere() {
    let world = World::new().await;
    let go = world.dir.path().join("go");
    let ready = world.dir.path().join("ready");
    let text = format!(
        ". \"$1/get_redshift_creds.sh\" \"$2\"\nenv; set; echo x > {}\nwhile ! [ -e {} ]; do sleep 0.05; done\nexit 7",
        ready.display(),
        go.display()
    );
    world.script("job.sh", &text);
    // By the command line, as Systems Manager does.
    let request = world.dir.path().join("request");
    std::fs::write(&request, world.request("job.sh").encode()).unwrap();
    let mut submit = Command::new(env!("CARGO_BIN_EXE_rsqlflow-agent"));
    submit
        .arg("submit")
        .env("RSQLFLOW_AGENT_SOCKET", world.agent().socket())
        .stdin(std::fs::File::open(request).unwrap());
    let submitted = tokio::task::spawn_blocking(move || submit.output().unwrap()).await.unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    until("the script", || ready.exists().then_some(())).await;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        assert!(!command.contains(TOKEN) && !command.contains(PASSWORD), "{command}");
    }
    std::fs::write(go, "").unwrap();
    let Told::Failure(..) = world.told().await else { panic!("succeeded") };
    world.settled().await;
    for call in world.aws.all_calls() {
        let mut body = call.body;
        if call.action.starts_with("SendTask") {
            body["taskToken"].take();
        }
        let text = body.to_string();
        assert!(!text.contains(TOKEN) && !text.contains("s3cr3t"), "{}: {text}", call.action);
    }
    // On disk the token is only in the journal, and with the job settled no longer there either.
    let journal = world.config.data_dir.join("journal.db");
    let database = rusqlite::Connection::open(&journal).unwrap();
    until("the request to be forgotten", || {
        let kept: u32 = database
            .query_row("select count(*) from jobs where request is not null", [], |row| row.get(0))
            .unwrap();
        (kept == 0).then_some(())
    })
    .await;
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(journal).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_sql_file_is_run_by_rsql_with_its_credentials_and_variables() {
    let mut world = World::stopped();
    let bin = world.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(
        bin.join("rsql"),
        "#!/bin/sh\nfor value in \"$@\"; do echo \"[$value]\"; done\n[ -n \"$RSPASSWORD\" ] && echo with password\necho \"$RSQL_VARIABLES\"\n",
    )
    .unwrap();
    std::fs::set_permissions(bin.join("rsql"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.config.path = format!("{}:{}", bin.display(), world.config.path);
    world.start().await;
    world.script("load.sql", "select 1;");
    let mut request = world.request("load.sql");
    request.parameters.insert("region".into(), "eu west".into());
    request.arguments.push("first".into());
    world.submit(&request).await;
    assert!(matches!(world.told().await, Told::Success(_)));
    world.settled().await;
    let scripts = world.config.scripts_dir.canonicalize().unwrap().display().to_string();
    insta::assert_snapshot!(world.events().join(" ").replace(&scripts, "SCRIPTS"), @"[-h] [warehouse.test] [-p] [5439] [-U] [etl] [-d] [dev] [-v] [1=first] [-f] [SCRIPTS/load.sql] with password WORKFLOW_ID,WORKFLOW_EXECUTION_ID,JOB_NAME,ATTEMPT,region");
}

/// A script that fetches its credentials and prints the password once it is let go, both while no agent is there.
async fn printed_without_an_agent() -> World {
    let mut world = World::new().await;
    let (ready, go, done) =
        (world.dir.path().join("ready"), world.dir.path().join("go"), world.dir.path().join("done"));
    world.script(
        "job.sh",
        &format!(
            ". \"$1/get_redshift_creds.sh\" \"$2\"\ntouch {}\nwhile ! [ -e {} ]; do sleep 0.05; done\n\
             echo \"it is $PASSWORD\"; touch {}",
            ready.display(),
            go.display(),
            done.display()
        ),
    );
    world.submit(&world.request("job.sh")).await;
    until("the script", || ready.exists().then_some(())).await;
    world.kill();
    std::fs::write(go, "").unwrap();
    until("its output", || done.exists().then_some(())).await;
    world
}

#[tokio::test]
async fn a_log_waits_until_the_password_in_it_is_known() {
    let mut world = printed_without_an_agent().await;
    world.aws.always("GetSecretValue", Answer::Error("AccessDeniedException", 400));
    world.start().await;
    world.told().await;
    // Asked again, and not shipped because the answer was the same.
    world.aws.call("GetSecretValue", 4).await;
    assert!(world.events().is_empty());
    assert_eq!(world.agent().jobs().await[0].waits_for.as_deref(), Some("logs"));
    // It was rotated meanwhile: the password in use masks nothing, and the one that was handed out is asked for.
    world.aws.next("GetSecretValue", FakeAws::secret("v2", "another-password"));
    world.aws.always("GetSecretValue", FakeAws::secret("v1", PASSWORD));
    world.settled().await;
    assert_eq!(world.events(), ["it is ********"]);
    assert_eq!(world.aws.calls("GetSecretValue").last().unwrap()["VersionId"], "v1");
}

#[tokio::test]
async fn output_that_can_never_be_masked_is_not_shipped() {
    let mut world = printed_without_an_agent().await;
    world.aws.always("GetSecretValue", Answer::Error("ResourceNotFoundException", 400));
    world.start().await;
    world.settled().await;
    let events = world.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(
        events[0].contains("bytes are not shipped (they may show the password of secret warehouse"),
        "{events:?}"
    );
}

#[tokio::test]
async fn output_of_a_job_that_was_given_no_secret_waits_for_none() {
    let mut world = World::new().await;
    world.aws.always("PutLogEvents", Answer::Silence);
    world.script("job.sh", "echo line");
    world.submit(&world.request("job.sh")).await;
    world.aws.call("PutLogEvents", 1).await;
    world.kill();
    world.aws.always("PutLogEvents", Answer::Ok(serde_json::json!({})));
    world.aws.always("GetSecretValue", Answer::Error("AccessDeniedException", 400));
    world.start().await;
    world.settled().await;
    assert_eq!(world.events(), ["line"]);
}

#[tokio::test]
async fn no_half_of_a_password_is_shipped_where_the_log_is_cut() {
    let mut world = World::stopped();
    world.config.log_limit_bytes = 40;
    world.start().await;
    world.run(". \"$1/get_redshift_creds.sh\" \"$2\"\nprintf '%030d%s\\n' 0 \"$PASSWORD\"").await;
    world.settled().await;
    let events = world.events();
    assert_eq!(events[0], format!("{} … [rsqlflow: the line goes on]", "0".repeat(30)));
    assert!(
        events[1].starts_with("[rsqlflow: 15 more bytes are not shipped (log_limit_bytes)"),
        "{events:?}"
    );
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn a_failure_that_the_next_agent_tells_has_no_password_in_it() {
    for known in [true, false] {
        let mut world = World::new().await;
        let (ready, go) = (world.dir.path().join("ready"), world.dir.path().join("go"));
        world.script(
            "job.sh",
            &format!(
                ". \"$1/get_redshift_creds.sh\" \"$2\"\ntouch {}\nwhile ! [ -e {} ]; do sleep 0.01; done\n\
                 echo \"with $PASSWORD\"; exit 7",
                ready.display(),
                go.display()
            ),
        );
        world.submit(&world.request("job.sh")).await;
        until("the script", || ready.exists().then_some(())).await;
        world.kill();
        std::fs::write(&go, "").unwrap();
        if !known {
            world.aws.always("GetSecretValue", Answer::Error("AccessDeniedException", 400));
        }
        world.start().await;
        let Told::Failure(_, failure) = world.told().await else { panic!("succeeded") };
        assert_eq!(failure.exit_code, Some(7));
        assert!(!failure.message.contains(PASSWORD), "{}", failure.message);
        assert_eq!(failure.message.contains("with ********"), known, "{}", failure.message);
        if !known {
            assert!(failure.message.contains("what it printed is in its log"), "{}", failure.message);
        }
        assert!(!world.final_audit().await["error_message"].to_string().contains(PASSWORD));
    }
}
