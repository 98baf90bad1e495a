//! The template, deployed by `aws cloudformation deploy`: what it makes runs a workflow, and it can be changed in place.
//!
//! On MiniStack the stack's outputs become the settings, and the state machines, tables, log group and document that it
//! made carry a run. moto makes what it knows of a template, gives no outputs and executes no state machine that was made
//! this way; there it is only deployed and changed.

use std::process::Command;

use rsqlflow_tests::bridge::Bridge;
use rsqlflow_tests::daemon::Daemon;
use rsqlflow_tests::endpoint::Endpoint;
use rsqlflow_tests::peers::{Kind, NODE, Peer};
use rsqlflow_tests::site::{Ran, Site, run};
use serde_json::json;

/// A site whose operator reaches the endpoint.
struct Operator<'a> {
    site: &'a Site,
    endpoint: Endpoint,
}

impl Operator<'_> {
    fn environment(&self, command: &mut Command) -> Ran {
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("AWS_PAGER", "").env("AWS_DEFAULT_REGION", &self.endpoint.region);
        run(command.envs(self.endpoint.environment()))
    }

    fn rsqlflow(&self, arguments: &[&str]) -> Ran {
        self.environment(&mut self.site.command(arguments))
    }

    fn aws(&self, arguments: &str) -> Ran {
        let mut aws = Command::new("sh");
        aws.args(["-c", &format!("aws {arguments}")]).current_dir(self.site.path(""));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            aws.env_remove(name);
        }
        self.environment(&mut aws).expect(0)
    }

    /// Makes or changes the stack; over 51,200 bytes a template goes by way of a bucket.
    fn deploy(&self, parameters: &str) {
        self.aws(&format!(
            "cloudformation deploy --stack-name rsqlflow --template-file stack.yaml --s3-bucket artifacts \
             --capabilities CAPABILITY_NAMED_IAM --parameter-overrides TriggerBucket=artifacts DefaultHost={NODE} {parameters}"
        ));
    }

    fn retention(&self) -> String {
        let asked = "logs describe-log-groups --log-group-name-prefix /ops/rsql-logs --output text \
                     --query 'logGroups[0].retentionInDays'";
        self.aws(asked).stdout.trim().to_owned()
    }
}

/// Deploys the template.
fn deployed<'a>(site: &'a Site, endpoint: Endpoint) -> Operator<'a> {
    let operator = Operator { site, endpoint };
    let template = operator.rsqlflow(&["template"]).expect(0).stdout;
    site.file("stack.yaml", &template);
    site.file("function.zip", "not looked into");
    operator.aws("s3 mb s3://artifacts");
    operator.aws("s3 cp function.zip s3://artifacts/rsqlflow-trigger.zip");
    operator.deploy("");
    operator
}

#[test]
fn what_the_template_makes_runs_a_workflow() {
    let site = Site::new();
    std::fs::remove_file(site.path("rsqlflow.toml")).unwrap();
    let peer = Peer::start(&site, Kind::MiniStack);
    let operator = deployed(&site, peer.endpoint().clone());
    operator.rsqlflow(&["init", "--stack", "rsqlflow"]).expect(0);
    let settings = std::fs::read_to_string(site.path("rsqlflow.toml")).expect("init writes it");
    assert!(settings.contains(NODE), "{settings}");
    // The zip file holds no function that could start runs; the rest is the host's own.
    let (operate, settings): (Vec<&str>, Vec<&str>) =
        settings.lines().partition(|line| line.starts_with("operate_arn"));
    assert!(
        operate.len() == 1 && operate[0].ends_with(":function:rsqlflow-trigger:operate\""),
        "{operate:?}"
    );
    site.file("rsqlflow.toml", &format!("scripts_dir = \"scripts\"\n{}\n", settings.join("\n")));
    site.script("ok.sh", "#!/bin/sh\necho here\n");
    let daemon = Daemon::start(&site, peer.endpoint());
    let _bridge = Bridge::start(&site, peer.endpoint(), 1);
    let item = json!({"workflow_id": "first", "schedule": "cron(30 2 * * ? *)", "workflow_stages": [
        {"execution_flag": "y", "execution_type": "sequential", "scripts": ["ok.sh"]},
        {"execution_flag": "y", "execution_type": "parallel", "scripts": [{"script": "ok.sh", "job_name": "beside"}]}]});
    let file = site.file("item.json", &item.to_string());
    operator.rsqlflow(&["config", "put", file.to_str().unwrap()]).expect(0);
    operator.rsqlflow(&["schedule", "list"]).expect(0);
    operator.rsqlflow(&["run", "first", "--id", "f-1", "--wait"]).expect(0);
    rsqlflow_tests::wait_for("every job to be settled", || daemon.jobs().is_empty().then_some(()));
    assert_eq!(peer.endpoint().log_stream("f-1/ok.sh/1").unwrap_or_default(), ["here"]);

    assert_eq!(operator.retention(), "90");
    operator.deploy("LogRetentionDays=30");
    assert_eq!(operator.retention(), "30");
    // What was recorded is still there.
    operator.rsqlflow(&["status", "f-1"]).expect(0);
}

#[test]
fn moto_takes_the_template_and_its_changes() {
    let site = Site::new();
    let peer = Peer::start(&site, Kind::Moto);
    // A bucket in a template's address is only found behind this name.
    let endpoint = peer.endpoint().at(&peer.endpoint().url.replace("127.0.0.1", "localhost"));
    let operator = deployed(&site, endpoint);
    let tables = operator.aws("dynamodb list-tables --output text --query TableNames").stdout;
    let mut tables: Vec<&str> = tables.split_whitespace().collect();
    tables.sort_unstable();
    assert_eq!(
        tables,
        ["rsqlflow-config", "rsqlflow-hosts", "rsqlflow-job-audit", "rsqlflow-workflow-audit"]
    );
    assert_eq!(operator.retention(), "90");
    operator.deploy("LogRetentionDays=30");
    operator.aws("ssm get-document --name Rsqlflow-RunScript");
}
