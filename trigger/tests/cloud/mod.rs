//! The AWS API on this machine, with everything the trigger needs: tables, state machines, a topic.
//!
//! The master state machine is the real one up to the point where its stages would run: there it waits, so that a test
//! decides when and how a run ends.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sfn::config::retry::RetryConfig;
use aws_sdk_sfn::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use rsqlflow_config::audit::WorkflowAudit;
use rsqlflow_config::names::ParameterNames;
use rsqlflow_config::run::RunInput;
use rsqlflow_local::clock::Clock;
use rsqlflow_local::cloud::{CloudOptions, LocalCloud};
use rsqlflow_local::stepfunctions::StepFunctions;
use rsqlflow_trigger::events::{self, Context, EventError};
use rsqlflow_trigger::{Audit, Items, Trigger, TriggerSettings};
use serde_json::{Value, json};

/// How long anything may take on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// An open cloud.
pub struct Cloud {
    /// The services.
    pub local: LocalCloud,
    _step_functions: Arc<StepFunctions>,
    _dir: tempfile::TempDir,
}

fn arn(machine: &str) -> String {
    format!("arn:aws:states:us-east-1:000000000000:stateMachine:rsqlflow-{machine}")
}

/// The topic of items that tell people.
pub const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:ops";

/// What the trigger is told of the account.
pub fn settings() -> TriggerSettings {
    TriggerSettings {
        config_table: "config".into(),
        job_audit_table: "job-audit".into(),
        workflow_audit_table: "workflow-audit".into(),
        hosts_table: "rsqlflow-hosts".into(),
        master_arn: arn("master"),
        sequential_arn: arn("sequential"),
        parallel_arn: arn("parallel"),
        host: "i-0123456789abcdef0".into(),
        secret_id: "rsqlflow/warehouse".into(),
        heartbeat_seconds: 3,
        audit_days: 30,
        parameter_names: ParameterNames::default(),
        late_records_seconds: 0,
    }
}

impl Cloud {
    /// A fresh one.
    pub async fn open() -> Self {
        let dir = tempfile::Builder::new().prefix("rsqlflow-trigger-").tempdir().unwrap();
        let local = LocalCloud::open(dir.path(), CloudOptions::default()).await.unwrap();
        let step_functions = StepFunctions::open(
            local.store().clone(),
            local.place().clone(),
            local.services().clone(),
            Clock::system(),
        )
        .await
        .unwrap();
        local.register(step_functions.clone());
        let cloud = Self { local, _step_functions: step_functions, _dir: dir };
        let tables: [(&str, &str, Option<&str>, &[Index]); 3] = [
            ("config", "workflow_id", None, &[]),
            (
                "job-audit",
                "job_name",
                Some("workflow_execution_id"),
                &[("by-run", "workflow_execution_id", None)],
            ),
            (
                "workflow-audit",
                "workflow_execution_id",
                Some("workflow_id"),
                &[
                    ("by-workflow", "workflow_id", Some("execution_start_ts")),
                    ("open-runs", "open_workflow", Some("execution_start_ts")),
                ],
            ),
        ];
        for (name, hash, range, indexes) in tables {
            cloud.dynamodb("CreateTable", table(name, hash, range, indexes)).await;
            cloud.dynamodb("DescribeTable", json!({ "TableName": name })).await;
        }
        let machine = json!({ "name": "rsqlflow-master", "definition": held().to_string(),
            "roleArn": "arn:aws:iam::000000000000:role/test" });
        cloud.sfn("CreateStateMachine", machine).await;
        cloud.call("SNS", "CreateTopic", json!({ "Name": "ops" })).await;
        cloud
    }

    async fn call(&self, prefix: &str, action: &str, body: Value) -> Value {
        let services = self.local.services();
        let service =
            services.by_target_prefix(prefix).or_else(|| services.by_sdk_name(&prefix.to_lowercase()));
        service.unwrap().call(action, body).await.unwrap()
    }

    /// One call of DynamoDB.
    pub async fn dynamodb(&self, action: &str, body: Value) -> Value {
        self.call("DynamoDB_20120810", action, body).await
    }

    /// One call of Step Functions.
    pub async fn sfn(&self, action: &str, body: Value) -> Value {
        self.call("AWSStepFunctions", action, body).await
    }

    /// What SDK clients are made from; retries are left to the test.
    pub fn sdk(&self, http: SharedHttpClient) -> SdkConfig {
        let key = self.local.credentials();
        let key = Credentials::new(&key.access_key_id, &key.secret_access_key, None, None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(key))
            .retry_config(RetryConfig::disabled())
            .http_client(http)
            .build()
    }

    /// A trigger whose calls go through `http`.
    pub fn trigger_on(&self, http: SharedHttpClient) -> Trigger {
        self.trigger_with(http, settings())
    }

    /// A trigger that gives hosts so long for the records of jobs.
    pub fn patient_trigger(&self, late_records_seconds: u32) -> Trigger {
        let settings = TriggerSettings { late_records_seconds, ..settings() };
        self.trigger_with(SharedHttpClient::new(self.local.connector()), settings)
    }

    /// A trigger with other settings.
    pub fn trigger_with(&self, http: SharedHttpClient, settings: TriggerSettings) -> Trigger {
        let sdk = self.sdk(http);
        Trigger::new(aws_sdk_dynamodb::Client::new(&sdk), aws_sdk_sfn::Client::new(&sdk), settings)
            .notifying(aws_sdk_sns::Client::new(&sdk))
    }

    /// A trigger.
    pub fn trigger(&self) -> Trigger {
        self.trigger_on(SharedHttpClient::new(self.local.connector()))
    }

    /// The audit trail.
    pub fn audit(&self) -> Audit {
        let sdk = self.sdk(SharedHttpClient::new(self.local.connector()));
        Audit::new(aws_sdk_dynamodb::Client::new(&sdk), "workflow-audit", "job-audit")
    }

    /// Handles an event.
    pub async fn handle(&self, event: Value) -> Result<Value, EventError> {
        events::handle(&self.trigger(), event, &request("r-1")).await
    }

    /// Stores the item of a workflow with one script.
    pub async fn item(&self, id: &str, overlap: &str) {
        let item = json!({ "TableName": "config", "Item": {
            "workflow_id": { "S": id },
            "overlap": { "S": overlap },
            "notify": { "M": { "topic_arn": { "S": TOPIC } } },
            "workflow_stages": { "L": [{ "M": {
                "execution_type": { "S": "sequential" }, "scripts": { "L": [{ "S": "a.sh" }] } } }] } } });
        self.dynamodb("PutItem", item).await;
    }

    /// Stores an item.
    pub async fn put(&self, item: &str) {
        let workflow = rsqlflow_config::validate::workflow_from_text(item).unwrap();
        let sdk = self.sdk(SharedHttpClient::new(self.local.connector()));
        Items::new(aws_sdk_dynamodb::Client::new(&sdk), "config").put(&workflow).await.unwrap();
    }

    /// Records a run that has just been started by a person, and has no execution.
    pub async fn record(&self, run: &str, status: &str) {
        let record = json!({ "TableName": "workflow-audit", "Item": {
            "workflow_execution_id": { "S": run }, "workflow_id": { "S": "w" }, "open_workflow": { "S": "w" },
            "execution_status": { "S": status }, "execution_start_ts": { "S": rsqlflow_config::time::now() },
            "started_by": { "S": "cli:maria" } } });
        self.dynamodb("PutItem", record).await;
    }

    /// Records a job as its host does.
    pub async fn job(&self, name: &str, run: &str, status: &str) {
        let item = json!({ "TableName": "job-audit", "Item": {
            "job_name": { "S": name }, "workflow_execution_id": { "S": run }, "workflow_id": { "S": "w" },
            "execution_status": { "S": status }, "execution_start_ts": { "S": "2026-11-21T01:00:01.000Z" },
            "instance_id": { "S": "i-gone" }, "attempt": { "N": "1" } } });
        self.dynamodb("PutItem", item).await;
    }

    /// What the execution of a run was given.
    pub async fn input_of(&self, run: &str) -> RunInput {
        let described = self.sfn("DescribeExecution", json!({ "executionArn": execution_arn(run) })).await;
        serde_json::from_str(described["input"].as_str().unwrap()).unwrap()
    }

    /// A run's record.
    pub async fn run(&self, run: &str) -> WorkflowAudit {
        self.audit().run(run).await.unwrap().unwrap_or_else(|| panic!("there is no record of {run}"))
    }

    /// Runs with an execution that is under way.
    pub async fn running(&self) -> Vec<String> {
        let body = json!({ "stateMachineArn": arn("master"), "statusFilter": "RUNNING" });
        let listed = self.sfn("ListExecutions", body).await;
        let names =
            listed["executions"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap().into());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Every execution there has been, of this run.
    pub async fn status_of(&self, run: &str) -> Option<String> {
        let service = self.local.services().by_target_prefix("AWSStepFunctions").unwrap();
        let described =
            service.call("DescribeExecution", json!({ "executionArn": execution_arn(run) })).await;
        Some(described.ok()?["status"].as_str().unwrap().into())
    }

    /// Waits until the state machine has recorded that the run is under way.
    pub async fn recorded_running(&self, run: &str) {
        let start = Instant::now();
        while self.run(run).await.execution_status.as_str() != "running" {
            assert!(
                start.elapsed() < DEADLINE,
                "{run} is not recorded as running: {:?}",
                self.run(run).await
            );
            tokio::task::yield_now().await;
        }
    }

    /// Ends a run from outside; no event is sent.
    pub async fn stop(&self, run: &str) {
        self.sfn("StopExecution", json!({ "executionArn": execution_arn(run) })).await;
    }

    /// Ends a run as the state machine does: the record first. No event is sent.
    pub async fn complete(&self, run: &str) {
        self.recorded_running(run).await;
        self.complete_record(run).await;
        self.stop(run).await;
    }

    /// Records a run as completed.
    pub async fn complete_record(&self, run: &str) {
        self.record_says(run, "execution_status", "completed").await;
    }

    /// Makes a run's record as old as that.
    pub async fn record_is_from(&self, run: &str, time: &str) {
        self.record_says(run, "execution_start_ts", time).await;
    }

    async fn record_says(&self, run: &str, attribute: &str, text: &str) {
        let workflow = self.run(run).await.workflow_id;
        let update = json!({ "TableName": "workflow-audit",
            "Key": { "workflow_execution_id": { "S": run }, "workflow_id": { "S": workflow } },
            "UpdateExpression": format!("SET {attribute} = :t"),
            "ExpressionAttributeValues": { ":t": { "S": text } } });
        self.dynamodb("UpdateItem", update).await;
    }

    /// What people were told.
    pub async fn told(&self) -> Vec<String> {
        let messages = self.local.sns().messages(Some(TOPIC), 100).await.unwrap();
        messages
            .into_iter()
            .rev()
            .map(|m| format!("{}\n{}", m.subject.unwrap_or_default(), m.message))
            .collect()
    }
}

/// The execution of a run.
pub fn execution_arn(run: &str) -> String {
    format!("arn:aws:states:us-east-1:000000000000:execution:rsqlflow-master:{run}")
}

/// A request.
pub fn request(id: &str) -> Context {
    Context { request_id: id.into(), ..Context::default() }
}

/// The event of a schedule at that hour.
pub fn due(workflow: &str, hour: u32) -> Value {
    let scheduled_time = format!("2026-11-21T{hour:02}:00:00Z");
    json!({ "source": "rsqlflow.schedule", "workflow_id": workflow, "scheduled_time": scheduled_time })
}

/// The run of a schedule at that hour.
pub fn run_at(workflow: &str, hour: u32) -> String {
    format!("{workflow}-20261121T{hour:02}0000Z")
}

/// The event of an execution's end.
pub fn ended(run: &str, status: &str) -> Value {
    json!({ "version": "0", "source": "aws.states", "detail-type": "Step Functions Execution Status Change",
        "region": "us-east-1", "detail": { "executionArn": execution_arn(run), "stateMachineArn": arn("master"),
            "name": run, "status": status, "startDate": 1, "stopDate": 2, "error": null, "cause": null } })
}

fn held() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("statemachines/master.asl.json"));
    let text = file.filter_map(|path| std::fs::read_to_string(path).ok()).next().unwrap();
    let mut machine: Value = serde_json::from_str(&text).unwrap();
    let states = machine["States"].as_object_mut().unwrap();
    states.retain(|name, _| ["Prepare", "RecordRunning", "AlreadyClosed"].contains(&name.as_str()));
    states.insert("NextStage".into(), json!({ "Type": "Wait", "Seconds": 86_400, "End": true }));
    machine
}

type Index = (&'static str, &'static str, Option<&'static str>);

fn table(name: &str, hash: &str, range: Option<&str>, indexes: &[Index]) -> Value {
    let keys = |hash: &str, range: Option<&str>| {
        let mut keys = vec![json!({ "AttributeName": hash, "KeyType": "HASH" })];
        keys.extend(range.map(|range| json!({ "AttributeName": range, "KeyType": "RANGE" })));
        keys
    };
    let mut names = vec![Some(hash), range];
    names.extend(indexes.iter().flat_map(|(_, hash, range)| [Some(*hash), *range]));
    let mut names: Vec<&str> = names.into_iter().flatten().collect();
    names.sort_unstable();
    names.dedup();
    let mut table = json!({
        "TableName": name, "BillingMode": "PAY_PER_REQUEST", "KeySchema": keys(hash, range),
        "AttributeDefinitions": names.iter()
            .map(|name| json!({ "AttributeName": name, "AttributeType": "S" })).collect::<Vec<_>>(),
    });
    if !indexes.is_empty() {
        table["GlobalSecondaryIndexes"] = indexes
            .iter()
            .map(|(name, hash, range)| {
                let projection = if *name == "open-runs" { "KEYS_ONLY" } else { "ALL" };
                json!({ "IndexName": name, "KeySchema": keys(hash, *range),
                    "Projection": { "ProjectionType": projection } })
            })
            .collect();
    }
    table
}
