//! `backend = "aws"`: the same commands by way of the SDK's own configuration, without the data directory.
//!
//! The account is an `rsqlflow up` on another directory, reached as `AWS_ENDPOINT_URL`; refusals that it does not make
//! come from an endpoint that gives one answer.

use std::process::Command;
use std::time::SystemTime;

use rsqlflow_tests::answers::always;
use rsqlflow_tests::aws::aws;
use rsqlflow_tests::endpoint::Endpoint;
use rsqlflow_tests::site::{Ran, Site, run};
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::json;

/// Someone who has settings, keys and nothing else.
struct Operator {
    site: Site,
    endpoint: Endpoint,
}

impl Operator {
    fn new(endpoint: Endpoint) -> Self {
        let site = Site::new();
        let arn = |name: &str| format!("arn:aws:states:us-east-1:000000000000:stateMachine:rsqlflow-{name}");
        site.file(
            "rsqlflow.toml",
            &format!(
                "backend = 'aws'\nheartbeat_seconds = 3\naudit_days = 7\n[state_machines]\nmaster = '{}'\nsequential = '{}'\nparallel = '{}'\n",
                arn("master"),
                arn("sequential"),
                arn("parallel")
            ),
        );
        Self { site, endpoint }
    }

    /// Somewhere else, with keys that are as good as any.
    fn at(url: &str) -> Self {
        Self::new(Endpoint {
            url: url.into(),
            region: "us-east-1".into(),
            access_key_id: "AKIAEXAMPLE".into(),
            secret_access_key: "secret".into(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.site.command(arguments);
        command
            .envs(self.endpoint.environment())
            .env("AWS_CONFIG_FILE", self.site.path("aws-config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.site.path("aws-credentials"))
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    fn rsqlflow(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }
}

#[test]
fn a_run_from_its_item_to_its_logs_and_one_that_is_cancelled() {
    let account = Site::new();
    account.settings("heartbeat_seconds = 3\naudit_days = 7\n[agent]\ngrace_seconds = 1\n");
    account.script("hello.sh", "#!/bin/sh\necho \"hello $who\"\n");
    account.script("slow.sh", "#!/bin/sh\necho waiting\nsleep 600\n");
    account.script("wrong.sh", "#!/bin/sh\necho oops >&2\nexit 7\n");
    let up = Up::start(&account);
    let operator = Operator::new(up.endpoint());
    let put = |id: &str, scripts: serde_json::Value| {
        let item = json!({
            "workflow_id": id,
            "host": "i-rsqlflow",
            "workflow_stages": [{"execution_type": "parallel", "execution_flag": "y", "scripts": scripts}],
        });
        let file = operator.site.file(&format!("{id}.json"), &item.to_string());
        operator.rsqlflow(&["config", "put", file.to_str().unwrap()]).expect(0)
    };
    put("hello", json!(["hello.sh"]));
    let told = put("night", json!(["slow.sh", "wrong.sh"])).stderr;
    assert!(
        told.contains("backend: aws (account 000000000000, us-east-1, keys of the environment)"),
        "{told}"
    );
    let listed = operator.rsqlflow(&["config", "list"]).expect(0).stdout;
    assert!(listed.contains("hello") && listed.contains("night"), "{listed}");

    let ran = operator.rsqlflow(&["run", "hello", "--id", "h-1", "--param", "who=world", "--wait"]).expect(0);
    assert!(ran.stderr.contains("hello.sh"), "{}", ran.stderr);
    assert_eq!(operator.rsqlflow(&["logs", "h-1"]).expect(0).stdout, "hello world\n");
    let status = operator.rsqlflow(&["status", "h-1", "--json"]).expect(0).json();
    assert_eq!(
        (&status["execution_status"], &status["jobs"][0]["exit_code"]),
        (&"completed".into(), &0.into())
    );

    // Both records may go after a week; those who read them see nothing of that.
    assert!(status.get("expires_at").is_none());
    let day = 86_400;
    for table in ["workflow-audit", "job-audit"] {
        let item = &aws(&up, &format!("dynamodb scan --table-name rsqlflow-{table}"))["Items"][0];
        let time: u64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!((now + 6 * day..=now + 7 * day).contains(&time), "{table}: {item}");
    }

    // Started without waiting, it goes on without this command.
    let started = operator.rsqlflow(&["run", "night", "--id", "n-1"]).expect(0);
    assert_eq!(started.stdout, "n-1\n");
    wait_for("one job to fail and the other to run", || {
        let status = operator.rsqlflow(&["status", "n-1", "--json"]).expect(0).json();
        let jobs = status["jobs"].as_array()?;
        let is = |name: &str, state: &str| {
            jobs.iter().any(|job| job["job_name"] == name && job["execution_status"] == state)
        };
        (is("wrong.sh", "failed") && is("slow.sh", "running")).then_some(())
    });
    operator.rsqlflow(&["cancel", "n-1", "--yes"]).expect(0);
    wait_for("the slow script to be told", || {
        let status = operator.rsqlflow(&["status", "n-1", "--json"]).expect(0).json();
        let jobs = status["jobs"].as_array()?;
        jobs.iter().all(|job| job["execution_status"] != "running").then_some(())
    });
    let runs = operator.rsqlflow(&["runs"]).expect(0).stdout;
    assert!(runs.contains("n-1") && runs.contains("cancelled") && runs.contains("completed"), "{runs}");

    let env = operator.rsqlflow(&["env"]).expect(0);
    assert!(
        env.stdout.contains("export AWS_REGION='us-east-1'") && !env.stdout.contains("PGPASSWORD"),
        "{env:?}"
    );
    operator.rsqlflow(&["up"]).expect(2);
    assert!(!operator.site.data_dir().exists(), "nothing is embedded here");

    // Keys of a process that a profile names, which win over those of the environment.
    let keys = json!({
        "Version": 1,
        "AccessKeyId": operator.endpoint.access_key_id,
        "SecretAccessKey": operator.endpoint.secret_access_key,
    });
    let keys = operator.site.file("keys.json", &keys.to_string());
    operator.site.file("aws-config", &format!("[profile p]\ncredential_process = cat {}\n", keys.display()));
    let mut by_profile = operator.command(&["config", "list"]);
    by_profile.env("AWS_ACCESS_KEY_ID", "AKIAOTHER").env("RSQLFLOW_PROFILE", "p");
    assert!(run(&mut by_profile).expect(0).stdout.contains("night"));

    // Keys that nobody knows.
    let mut stranger = Operator::new(up.endpoint());
    stranger.endpoint.access_key_id = "AKIASTRANGER".into();
    let told = stranger.rsqlflow(&["config", "list"]).expect(1).stderr;
    assert!(told.contains("AWS does not know the keys: keys of the environment"), "{told}");
    up.stop();
}

#[test]
fn refusals_name_the_profile_the_action_and_what_to_type() {
    let refusing = |kind: &str, message: &str| {
        let body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": message});
        Operator::at(&always(400, "application/x-amz-json-1.0", body.to_string()))
    };
    let list = |operator: &Operator| operator.rsqlflow(&["config", "list"]);

    let expired = refusing("ExpiredTokenException", "The security token included in the request is expired");
    let profiles =
        "[profile prod]\naws_access_key_id = AKIAPROD\naws_secret_access_key = s\nregion = us-east-1\n";
    expired.site.file("aws-config", profiles);
    let told = run(expired.command(&["config", "list"]).env("RSQLFLOW_PROFILE", "prod")).expect(1).stderr;
    assert!(told.contains("the credentials of profile prod have expired"), "{told}");
    assert!(told.contains("aws configure --profile prod") && !told.contains("sso login"), "{told}");
    let told = list(&expired).expect(1).stderr;
    assert!(told.contains("AWS_SESSION_TOKEN"), "{told}");
    let told = run(expired.command(&["config", "list"]).env("RSQLFLOW_PROFILE", "prdo")).expect(2).stderr;
    assert!(told.contains("there is no profile prdo"), "{told}");

    let denied = refusing(
        "AccessDeniedException",
        "User: arn:aws:iam::123456789012:user/maria is not authorized to perform: dynamodb:Scan on resource: \
         arn:aws:dynamodb:us-east-1:123456789012:table/rsqlflow-config because no identity-based policy allows it",
    );
    let told = list(&denied).expect(1).stderr;
    assert!(
        told.contains("user/maria") && told.contains("may not dynamodb:Scan on arn:aws:dynamodb"),
        "{told}"
    );
    assert!(told.contains("OperatorPolicy"), "{told}");

    // A network that wants a login first, and a proxy in trouble.
    for status in [200, 403, 502] {
        let portal = Operator::at(&always(status, "text/html", "<html>Log in</html>".into()));
        let told = list(&portal).expect(3).stderr;
        assert!(
            told.contains(&format!("something other than AWS answered at {}", portal.endpoint.url)),
            "{told}"
        );
        assert!(told.contains("HTTPS_PROXY") && !told.contains("unexpected token"), "{told}");
    }

    // Nobody listens on a port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Operator::at(&format!("http://127.0.0.1:{port}"));
    let told = list(&nobody).expect(3).stderr;
    assert!(told.contains("AWS was not reached"), "{told}");

    let told = run(nobody.command(&["run", "w"]).env("RSQLFLOW_REGION", "eu-west-1")).expect(2).stderr;
    assert!(told.contains("the Region is eu-west-1, and state_machines.master is in us-east-1"), "{told}");

    nobody.site.file("rsqlflow.toml", "backend = 'aws'\n");
    let told = list(&nobody).expect(2).stderr;
    assert!(told.contains("state_machines.master") && told.contains("rsqlflow init --stack NAME"), "{told}");
    let mut keyless = nobody.command(&["init", "--stack", "s"]);
    keyless
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("HOME", nobody.site.path(""));
    let told = run(&mut keyless).expect(1).stderr;
    assert!(told.contains("there are no AWS credentials"), "{told}");
}

#[test]
fn nothing_is_changed_with_the_keys_of_another_account_than_the_settings_mean() {
    let account = Site::new();
    let up = Up::start(&account);
    let operator = Operator::new(up.endpoint());
    let right = std::fs::read_to_string(operator.site.path("rsqlflow.toml")).unwrap();
    let item = operator.site.file(
        "w.yaml",
        "workflow_id: w\nhost: i-rsqlflow\nworkflow_stages:\n- {execution_type: parallel, scripts: [a.sh]}\n",
    );
    let item = item.to_str().unwrap();
    operator.site.file("rsqlflow.toml", &right.replace("000000000000", "111122223333"));
    for command in [
        &["config", "put", item][..],
        &["config", "delete", "w", "--yes"],
        &["run", "w"],
        &["cancel", "w-1", "--yes"],
    ] {
        let told = operator.rsqlflow(command).expect(2).stderr;
        for text in [
            "the settings are of account 111122223333, and the credentials (keys of the environment) of account 000000000000",
            "nothing was changed",
            "next: set profile in rsqlflow.toml",
        ] {
            assert!(told.contains(text), "{command:?}: `{text}` is not in\n{told}");
        }
    }
    let listed = operator.rsqlflow(&["config", "list", "--json"]).expect(0).json();
    assert_eq!(listed, json!([]));

    operator.site.file("rsqlflow.toml", &right.replacen("000000000000", "111122223333", 1));
    let told = operator.rsqlflow(&["config", "put", item]).expect(2).stderr;
    assert!(
        told.contains("the settings mix two accounts: state_machines.master is in 111122223333"),
        "{told}"
    );

    // A network that has no way to STS, and the way out.
    operator.site.file("rsqlflow.toml", &right);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let without_sts = |check: &str| {
        let mut command = operator.command(&["config", "put", item]);
        command.env("AWS_ENDPOINT_URL_STS", format!("http://127.0.0.1:{port}"));
        run(command.env("RSQLFLOW_CHECK_ACCOUNT", check))
    };
    let told = without_sts("true").expect(3).stderr;
    assert!(told.contains("asking STS for the account of these credentials: AWS was not reached"), "{told}");
    assert!(told.contains("check_account = false"), "{told}");
    let told = without_sts("false").expect(0);
    assert!(told.stderr.contains("backend: aws (account 000000000000, not checked, us-east-1"), "{told:?}");
    assert_eq!(told.stdout, "w: created\n");
    up.stop();
}

/// What DescribeStacks answers for a stack with these outputs.
fn stack(status: &str, outputs: &[(String, String)]) -> String {
    let members: String = outputs
        .iter()
        .map(|(key, value)| {
            format!("<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>")
        })
        .collect();
    format!(
        "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><DescribeStacksResult>\
         <Stacks><member><StackName>prod</StackName><CreationTime>2026-11-21T00:00:00Z</CreationTime>\
         <StackStatus>{status}</StackStatus><Outputs>{members}</Outputs></member></Stacks></DescribeStacksResult>\
         </DescribeStacksResponse>"
    )
}

#[test]
fn the_settings_come_from_the_stack_and_never_go_over_a_file_unseen() {
    // Every output that the template has, with a value that says which it is.
    let template = Site::new().rsqlflow(&["template", "--output", "json"]).expect(0).json();
    let mut outputs: Vec<(String, String)> = template["Outputs"]
        .as_object()
        .unwrap()
        .keys()
        .map(|name| match name.as_str() {
            "Region" => (name.clone(), "eu-west-1".into()),
            "DefaultHost" => (name.clone(), "i-0123456789abcdef0".into()),
            "HeartbeatSeconds" | "GraceSeconds" | "AuditDays" => (name.clone(), "45".into()),
            "MasterArn" | "SequentialArn" | "ParallelArn" => {
                (name.clone(), format!("arn:aws:states:eu-west-1:123456789012:stateMachine:{name}"))
            }
            _ => (name.clone(), format!("the-{name}")),
        })
        .collect();
    let server = |status: &str, outputs: &[(String, String)]| always(200, "text/xml", stack(status, outputs));
    let init = ["init", "--stack", "prod", "--region", "eu-west-1"];

    let operator = Operator::at(&server("UPDATE_COMPLETE", &outputs));
    std::fs::remove_file(operator.site.path("rsqlflow.toml")).unwrap();
    operator.rsqlflow(&init).expect(0);
    let written = std::fs::read_to_string(operator.site.path("rsqlflow.toml")).unwrap();
    for line in ["backend = \"aws\"", "heartbeat_seconds = 45", "workflow_audit = \"the-WorkflowAuditTable\""]
    {
        assert!(written.contains(line), "{line} is not in\n{written}");
    }
    let again = operator.rsqlflow(&init).expect(0);
    assert!(again.stdout.is_empty() && again.stderr.contains("says so already"), "{again:?}");

    // One that is named is made, wherever the command is typed, and is not laid over the one that is there.
    let elsewhere = operator.site.path("new.toml");
    let named = [&["--settings", elsewhere.to_str().unwrap()], &init[..]].concat();
    let told = operator.rsqlflow(&[&named[..], &["--json"]].concat()).expect(0).json();
    assert_eq!(told, json!({"file": elsewhere.to_str().unwrap(), "action": "created"}));
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), written);

    // A file of somebody's own: shown, left; then changed where the stack says otherwise, and nowhere else.
    let own = written.replace("the-ConfigTable", "mine").replace("region =", "# ours\nregion =");
    operator.site.file("rsqlflow.toml", &own);
    let shown = operator.rsqlflow(&init).expect(1);
    assert!(shown.stdout.contains("- config = \"mine\"") && shown.stderr.contains("--force"), "{shown:?}");
    assert_eq!(std::fs::read_to_string(operator.site.path("rsqlflow.toml")).unwrap(), own);
    operator.rsqlflow(&[&init[..], &["--force"]].concat()).expect(0);
    let changed = std::fs::read_to_string(operator.site.path("rsqlflow.toml")).unwrap();
    assert_eq!(changed, own.replace("mine", "the-ConfigTable"));

    // What host says may be which host this is; it is the owner's. Where it differs, that is told.
    let host = "host = \"i-0123456789abcdef0\"\n";
    assert!(changed.contains(host), "{changed}");
    for (file, says) in [
        (changed.replace(host, "host = \"i-0fedcba9876543210\"\n"), "says i-0fedcba9876543210"),
        (changed.replace(host, ""), "has none"),
    ] {
        operator.site.file("rsqlflow.toml", &file);
        let told = operator.rsqlflow(&[&init[..], &["--force"]].concat()).expect(0).stderr;
        let differs = format!("rsqlflow.toml {says}, and the stack's DefaultHost is i-0123456789abcdef0");
        assert!(told.contains(&differs), "{told}");
        assert_eq!(std::fs::read_to_string(operator.site.path("rsqlflow.toml")).unwrap(), file);
    }

    // A stack that is not ours, or not there yet.
    outputs.retain(|(name, _)| name != "MasterArn");
    let told = Operator::at(&server("CREATE_COMPLETE", &outputs)).rsqlflow(&init).expect(1).stderr;
    assert!(told.contains("has no output MasterArn") && told.contains("rsqlflow template"), "{told}");
    let told = Operator::at(&server("ROLLBACK_COMPLETE", &[])).rsqlflow(&init).expect(1).stderr;
    assert!(told.contains("ROLLBACK_COMPLETE"), "{told}");
    let missing = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id prod \
                   does not exist</Message></Error></ErrorResponse>";
    let told = Operator::at(&always(400, "text/xml", missing.into())).rsqlflow(&init).expect(2).stderr;
    assert!(told.contains("there is no stack `prod` in eu-west-1"), "{told}");
}
