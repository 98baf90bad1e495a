use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::operation::get_command_invocation::GetCommandInvocationOutput;
use aws_sdk_ssm::types::CommandInvocationStatus;
use rsqlflow_local::cloud::{CloudOptions, LocalCloud};
use rsqlflow_local::ssm::{CommandHost, CommandOutcome, HostCommand, RUN_SCRIPT, RUN_SHELL_SCRIPT, Running};
use tokio::sync::mpsc;

use crate::eventually;

const HOST: &str = "mi-0123456789abcdef0";

/// A host that shows what it is given.
struct Recorder {
    commands: mpsc::UnboundedSender<HostCommand>,
    ends: bool,
}

impl CommandHost for Recorder {
    fn instance_id(&self) -> &str {
        HOST
    }

    fn run(&self, command: HostCommand) -> Running<'_> {
        Box::pin(async move {
            self.commands.send(command).unwrap();
            if !self.ends {
                std::future::pending::<()>().await;
            }
            CommandOutcome { response_code: 0, stdout: "accepted".into(), stderr: String::new() }
        })
    }
}

fn recorder(ends: bool) -> (Arc<Recorder>, mpsc::UnboundedReceiver<HostCommand>) {
    let (commands, received) = mpsc::unbounded_channel();
    (Arc::new(Recorder { commands, ends }), received)
}

async fn ended(client: &Client, command_id: &str) -> GetCommandInvocationOutput {
    eventually(|| async {
        let invocation =
            client.get_command_invocation().command_id(command_id).instance_id(HOST).send().await.unwrap();
        let open = [CommandInvocationStatus::Pending, CommandInvocationStatus::InProgress];
        (!open.contains(invocation.status().unwrap())).then_some(invocation)
    })
    .await
}

async fn send(client: &Client, document: &str, parameters: &[(&str, &str)]) -> String {
    let mut request = client.send_command().document_name(document).instance_ids(HOST);
    for (name, value) in parameters {
        request = request.parameters(*name, vec![(*value).to_owned()]);
    }
    request.send().await.unwrap().command.unwrap().command_id.unwrap()
}

#[tokio::test]
async fn a_shell_script_runs_and_its_end_is_told() {
    let fixture = super::cloud().await;
    let client = Client::new(&fixture.config);
    fixture.cloud.ssm().attach(recorder(true).0).await.unwrap();
    let id = send(&client, RUN_SHELL_SCRIPT, &[("commands", "echo out; echo err >&2; exit 7")]).await;
    let invocation = ended(&client, &id).await;
    assert_eq!(invocation.status(), Some(&CommandInvocationStatus::Failed));
    assert_eq!((invocation.response_code(), invocation.standard_output_content()), (7, Some("out\n")));
    assert_eq!(invocation.standard_error_content(), Some("err\n"));

    let listed = client.list_command_invocations().command_id(&id).details(true).send().await.unwrap();
    let plugin = &listed.command_invocations()[0].command_plugins()[0];
    assert_eq!((plugin.response_code(), plugin.status().unwrap().as_str()), (7, "Failed"));
    let shown = client.list_commands().command_id(&id).send().await.unwrap();
    assert_eq!(shown.commands()[0].parameters().unwrap()["commands"][0], "echo out; echo err >&2; exit 7");
}

#[tokio::test]
async fn a_request_reaches_the_host_and_nobody_else() {
    let fixture = super::cloud().await;
    let client = Client::new(&fixture.config);
    let (host, mut received) = recorder(true);
    fixture.cloud.ssm().attach(host).await.unwrap();
    let flushes = fixture.cloud.store().flushes();
    let id = send(&client, RUN_SCRIPT, &[("request", "dG9rZW4")]).await;
    let command = received.recv().await.unwrap();
    assert_eq!(command.parameters["request"], ["dG9rZW4"]);
    assert!(!format!("{command:?}").contains("dG9rZW4"));
    let invocation = ended(&client, &id).await;
    assert_eq!(invocation.standard_output_content(), Some("accepted"));
    let listed = client.list_commands().send().await.unwrap();
    assert_eq!(listed.commands()[0].parameters().unwrap()["request"], ["[hidden]"]);
    assert_eq!(fixture.cloud.store().flushes(), flushes, "a job's command must not cost a disk flush");
    let kept: i64 = fixture
        .cloud
        .store()
        .read(|tx| {
            tx.query_row("select count(*) from ssm_invocations where payload is not null", [], |r| r.get(0))
        })
        .await
        .unwrap();
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn what_is_pending_is_delivered_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let id = {
        let cloud = LocalCloud::open(dir.path(), CloudOptions::default()).await.unwrap();
        let client = Client::new(&super::config(&cloud).await);
        // One command is with the host when the process ends, one waits for the host.
        let (host, mut received) = recorder(false);
        cloud.ssm().attach(host).await.unwrap();
        let running = send(&client, RUN_SCRIPT, &[("request", "one")]).await;
        received.recv().await.unwrap();
        let now =
            client.get_command_invocation().command_id(&running).instance_id(HOST).send().await.unwrap();
        assert_eq!(now.status(), Some(&CommandInvocationStatus::InProgress));
        cloud.ssm().detach(HOST);
        [running, send(&client, RUN_SCRIPT, &[("request", "two")]).await]
    };
    let cloud = LocalCloud::open(dir.path(), CloudOptions::default()).await.unwrap();
    let client = Client::new(&super::config(&cloud).await);
    let (host, mut received) = recorder(true);
    cloud.ssm().attach(host).await.unwrap();
    let mut requests = Vec::new();
    for _ in 0..2 {
        requests.push(received.recv().await.unwrap().parameters["request"][0].clone());
    }
    requests.sort();
    assert_eq!(requests, ["one", "two"]);
    for id in &id {
        assert_eq!(ended(&client, id).await.status(), Some(&CommandInvocationStatus::Success));
    }
}

#[tokio::test]
async fn cancel_and_execution_timeout_kill_the_whole_group() {
    let fixture = super::cloud().await;
    let client = Client::new(&fixture.config);
    fixture.cloud.ssm().attach(recorder(true).0).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    for cancel in [true, false] {
        let pid_file = dir.path().join(format!("pid-{cancel}"));
        let script =
            format!("sh -c 'echo $$ > {0}.new && mv {0}.new {0}; sleep 600' ; true", pid_file.display());
        let limit = if cancel { "600" } else { "1" };
        let id = send(&client, RUN_SHELL_SCRIPT, &[("commands", &script), ("executionTimeout", limit)]).await;
        let pid = eventually(|| async { std::fs::read_to_string(&pid_file).ok() }).await;
        if cancel {
            client.cancel_command().command_id(&id).send().await.unwrap();
        }
        let invocation = ended(&client, &id).await;
        let expected = if cancel { "Cancelled" } else { "ExecutionTimedOut" };
        assert_eq!(invocation.status_details(), Some(expected));
        let process = std::path::PathBuf::from(format!("/proc/{}/stat", pid.trim()));
        eventually(|| async {
            // Gone, or waiting for its parent's parent to notice.
            let stat = std::fs::read_to_string(&process).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn commands_nobody_fetches_time_out() {
    let dir = tempfile::tempdir().unwrap();
    let time = Arc::new(std::sync::atomic::AtomicI64::new(1_700_000_000_000));
    let clock = rsqlflow_local::clock::Clock::from_fn({
        let time = time.clone();
        move || time.load(std::sync::atomic::Ordering::SeqCst)
    });
    let cloud =
        LocalCloud::open(dir.path(), CloudOptions { clock, ..CloudOptions::default() }).await.unwrap();
    let client = Client::new(&super::config(&cloud).await);
    cloud.ssm().register(HOST).await.unwrap();
    let id = send(&client, RUN_SCRIPT, &[("request", "late")]).await;
    let status = || async {
        let got = client.get_command_invocation().command_id(&id).instance_id(HOST).send().await.unwrap();
        got.status_details.unwrap()
    };
    assert_eq!(status().await, "Pending");
    time.fetch_add(3_600_001, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(status().await, "DeliveryTimedOut");
    let (host, mut received) = recorder(true);
    cloud.ssm().attach(host).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), received.recv()).await.is_err());
}

#[tokio::test]
async fn wrong_requests_get_awss_errors() {
    let fixture = super::cloud().await;
    let client = Client::new(&fixture.config);
    let send = |id: &'static str, document: &'static str, parameter: &'static str| {
        client
            .send_command()
            .instance_ids(id)
            .document_name(document)
            .parameters(parameter, vec!["x".to_owned()])
            .send()
    };
    let code = |error: &dyn ProvideErrorMetadata| error.code().unwrap().to_owned();
    assert_eq!(code(&send(HOST, RUN_SCRIPT, "request").await.unwrap_err()), "InvalidInstanceId");
    assert_eq!(code(&send("local", RUN_SCRIPT, "request").await.unwrap_err()), "ValidationException");
    fixture.cloud.ssm().register(HOST).await.unwrap();
    assert_eq!(code(&send(HOST, "None-Such", "request").await.unwrap_err()), "InvalidDocument");
    assert_eq!(code(&send(HOST, RUN_SCRIPT, "other").await.unwrap_err()), "InvalidParameters");
    let unknown = uuid::Uuid::new_v4().to_string();
    let error = client.get_command_invocation().command_id(&unknown).instance_id(HOST).send().await;
    assert_eq!(code(&error.unwrap_err()), "InvocationDoesNotExist");
    let error = client.cancel_command().command_id(&unknown).send().await;
    assert_eq!(code(&error.unwrap_err()), "InvalidCommandId");
}

#[tokio::test]
async fn a_document_and_its_parameters_have_one_limit() {
    let fixture = super::cloud().await;
    let client = Client::new(&fixture.config);
    fixture.cloud.ssm().register(HOST).await.unwrap();
    let longest = "x".repeat(rsqlflow_config::job::SENT_MAX);
    send(&client, RUN_SCRIPT, &[("request", &longest)]).await;
    let send = client.send_command().instance_ids(HOST).document_name(RUN_SCRIPT);
    let refused = send.parameters("request", vec!["x".repeat(64 * 1024)]).send().await.unwrap_err();
    assert_eq!(refused.code(), Some("MaxDocumentSizeExceeded"));
}

#[tokio::test]
async fn documents_have_versions() {
    let fixture = super::cloud().await;
    let client = Client::new(&fixture.config);
    let content = |text: &str| {
        format!(
            r#"{{"schemaVersion":"2.2","description":"{text}","mainSteps":[{{"action":"aws:runShellScript"}}]}}"#
        )
    };
    client.create_document().name("Mine").content(content("one")).send().await.unwrap();
    let again = client.create_document().name("Mine").content(content("one")).send().await.unwrap_err();
    assert_eq!(again.code(), Some("DocumentAlreadyExists"));
    let updated = client.update_document().name("Mine").content(content("two")).send().await.unwrap();
    assert_eq!(updated.document_description().unwrap().document_version(), Some("2"));
    let default = client.get_document().name("Mine").send().await.unwrap();
    assert_eq!(default.content(), Some(content("one").as_str()));
    client.update_document_default_version().name("Mine").document_version("2").send().await.unwrap();
    let described = client.describe_document().name("Mine").send().await.unwrap().document.unwrap();
    assert_eq!((described.default_version(), described.description()), (Some("2"), Some("two")));
    assert_eq!(client.list_documents().send().await.unwrap().document_identifiers().len(), 3);
    client.delete_document().name("Mine").send().await.unwrap();
    let gone = client.get_document().name("Mine").send().await.unwrap_err();
    assert_eq!(gone.code(), Some("InvalidDocument"));
    let bad = client.create_document().name("Bad").content("{}").send().await.unwrap_err();
    assert_eq!(bad.code(), Some("InvalidDocumentContent"));
}
