//! Probes of actions: every one that the agent, the trigger or the command calls, with what is relied on.

mod schedules;

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use rsqlflow_tests::peers::provision::SECRET;
use serde_json::json;

use super::{Answer, Ask, Probe};
use schedules::{create_schedule, delete_schedule, get_schedule, list_schedules, update_schedule};

/// The code of an error, or that there was no answer.
pub(super) fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let code = error.as_service_error().and_then(|error| error.code());
    code.map_or_else(|| "no answer that the SDK understands".into(), |code| format!("`{code}`"))
}

/// Expects an error code.
fn refused<T, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>, expected: &[&str]) -> Answer {
    match result {
        Ok(_) => Err(format!("accepts what should be {}", expected.join(" or "))),
        Err(error) => {
            let found = code(&error);
            let known = expected.iter().any(|expected| found == format!("`{expected}`"));
            if known { Ok(()) } else { Err(format!("answers {found} for {}", expected.join(" or "))) }
        }
    }
}

fn done<T, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> Result<T, String> {
    result.map_err(|error| format!("answers {}", code(&error)))
}

fn expect(holds: bool, otherwise: &str) -> Answer {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// Makes a probe of a function.
macro_rules! probe {
    ($about:literal, $expects:literal, $documented:literal, $ask:ident) => {
        Probe {
            about: $about,
            expects: $expects,
            documented: $documented,
            ask: Box::new(|ask| Box::pin($ask(ask))),
        }
    };
}

pub(super) fn probes() -> Vec<Probe> {
    vec![
        probe!(
            "dynamodb:PutItem",
            "gives the old item when asked; a condition that does not hold is an error",
            "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html",
            put_item
        ),
        probe!(
            "dynamodb:GetItem",
            "reads consistently what was written; nothing where there is none",
            "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_GetItem.html",
            get_item
        ),
        probe!(
            "dynamodb:UpdateItem",
            "if_not_exists and IN in expressions; a failed condition gives the item when asked",
            "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateItem.html",
            update_item
        ),
        probe!(
            "dynamodb:Query",
            "an index by its range, backwards, page by page",
            "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html",
            query
        ),
        probe!(
            "dynamodb:Scan",
            "gives every item",
            "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html",
            scan
        ),
        probe!(
            "dynamodb:DeleteItem",
            "gives the old item when asked",
            "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DeleteItem.html",
            delete_item
        ),
        probe!(
            "states:StartExecution",
            "the same name and input is the same execution while it runs, and ExecutionAlreadyExists otherwise",
            "https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html",
            start_execution
        ),
        probe!(
            "states:DescribeExecution",
            "ExecutionDoesNotExist for a name that was never used",
            "https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html",
            describe_execution
        ),
        probe!(
            "states:StopExecution",
            "ends ABORTED with the error and the cause given",
            "https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html",
            stop_execution
        ),
        probe!(
            "states:SendTaskHeartbeat",
            "InvalidToken for what is no token",
            "https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskHeartbeat.html",
            heartbeat
        ),
        probe!(
            "states:SendTaskSuccess",
            "TaskTimedOut for a task that is over",
            "https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html",
            spent_token
        ),
        probe!(
            "states:SendTaskFailure",
            "InvalidToken for what is no token",
            "https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html",
            failure
        ),
        probe!(
            "ssm:SendCommand",
            "InvalidInstanceId for a node that is not managed",
            "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html",
            send_command
        ),
        probe!(
            "ssm:GetDocument",
            "gives back the content of CreateDocument",
            "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetDocument.html",
            get_document
        ),
        probe!(
            "logs:CreateLogStream",
            "ResourceAlreadyExistsException the second time",
            "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogStream.html",
            create_log_stream
        ),
        probe!(
            "logs:PutLogEvents",
            "events that are too old are told, the others taken",
            "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html",
            put_log_events
        ),
        probe!(
            "logs:GetLogEvents",
            "from the head in order; the same token again at the end",
            "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html",
            get_log_events
        ),
        probe!(
            "secretsmanager:GetSecretValue",
            "ResourceNotFoundException for a secret that is not there",
            "https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html",
            get_secret
        ),
        probe!(
            "scheduler:CreateSchedule",
            "ConflictException for a name that the group has",
            "https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html",
            create_schedule
        ),
        probe!(
            "scheduler:GetSchedule",
            "gives what was made; ResourceNotFoundException where there is none",
            "https://docs.aws.amazon.com/scheduler/latest/APIReference/API_GetSchedule.html",
            get_schedule
        ),
        probe!(
            "scheduler:UpdateSchedule",
            "replaces the whole: what is not given is as if it had never been",
            "https://docs.aws.amazon.com/scheduler/latest/APIReference/API_UpdateSchedule.html",
            update_schedule
        ),
        probe!(
            "scheduler:DeleteSchedule",
            "ResourceNotFoundException the second time",
            "https://docs.aws.amazon.com/scheduler/latest/APIReference/API_DeleteSchedule.html",
            delete_schedule
        ),
        probe!(
            "scheduler:ListSchedules",
            "those of a group, page by page",
            "https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ListSchedules.html",
            list_schedules
        ),
        probe!(
            "sns:Publish",
            "gives the message's id; NotFound for a topic that is not there",
            "https://docs.aws.amazon.com/sns/latest/api/API_Publish.html",
            publish
        ),
        probe!(
            "cloudformation:DescribeStacks",
            "ValidationError for a stack that is not there",
            "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html",
            describe_stacks
        ),
    ]
}

const CONFIG: &str = "rsqlflow-config";
const JOBS: &str = "rsqlflow-job-audit";
const RUNS: &str = "rsqlflow-workflow-audit";

async fn put_item(ask: &Ask) -> Answer {
    let put = || ask.dynamodb.put_item().table_name(CONFIG).item("workflow_id", text("put"));
    done(put().item("n", AttributeValue::N("1".into())).send().await)?;
    let old = done(put().return_values(ReturnValue::AllOld).send().await)?.attributes.unwrap_or_default();
    expect(old.contains_key("n"), "does not give the old item")?;
    refused(
        put().condition_expression("attribute_not_exists(workflow_id)").send().await,
        &["ConditionalCheckFailedException"],
    )
}

async fn get_item(ask: &Ask) -> Answer {
    let get = |id: &str| {
        ask.dynamodb.get_item().table_name(CONFIG).key("workflow_id", text(id)).consistent_read(true)
    };
    done(ask.dynamodb.put_item().table_name(CONFIG).item("workflow_id", text("get")).send().await)?;
    expect(done(get("get").send().await)?.item.is_some(), "does not read what was written")?;
    expect(done(get("never").send().await)?.item.is_none(), "gives an item that is not there")
}

async fn update_item(ask: &Ask) -> Answer {
    let update = |status: &str| {
        ask.dynamodb
            .update_item()
            .table_name(JOBS)
            .key("job_name", text("update"))
            .key("workflow_execution_id", text("r"))
            .update_expression("SET s = :s, began = if_not_exists(began, :s)")
            .condition_expression("attribute_not_exists(s) OR NOT s IN (:done, :failed)")
            .expression_attribute_values(":s", text(status))
            .expression_attribute_values(":done", text("done"))
            .expression_attribute_values(":failed", text("failed"))
    };
    done(update("running").send().await)?;
    let new =
        done(update("done").return_values(ReturnValue::AllNew).send().await)?.attributes.unwrap_or_default();
    expect(new.get("began") == Some(&text("running")), "if_not_exists does not keep what is there")?;
    let again = update("failed");
    let again = again.return_values_on_condition_check_failure(
        aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld,
    );
    use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
    match again.send().await.map_err(SdkError::into_service_error) {
        Err(UpdateItemError::ConditionalCheckFailedException(failed)) => {
            let kept = failed.item().and_then(|item| item.get("s")) == Some(&text("done"));
            expect(kept, "does not give the item with the error")
        }
        Err(_) => Err("answers another error than ConditionalCheckFailedException".into()),
        Ok(_) => Err("accepts what the condition forbids".into()),
    }
}

async fn query(ask: &Ask) -> Answer {
    for n in 1..=3 {
        let put =
            ask.dynamodb.put_item().table_name(RUNS).item("workflow_execution_id", text(&format!("q-{n}")));
        let put =
            put.item("workflow_id", text("query")).item("execution_start_ts", text(&format!("2026-11-2{n}")));
        done(put.send().await)?;
    }
    let (mut found, mut start, mut pages) = (Vec::new(), None::<HashMap<_, _>>, 0);
    loop {
        let ask = ask
            .dynamodb
            .query()
            .table_name(RUNS)
            .index_name("by-workflow")
            .scan_index_forward(false)
            .limit(2);
        let ask = ask
            .key_condition_expression("workflow_id = :id")
            .expression_attribute_values(":id", text("query"));
        let page = done(ask.set_exclusive_start_key(start).send().await)?;
        pages += 1;
        for item in page.items.unwrap_or_default() {
            found.push(item["workflow_execution_id"].as_s().cloned().unwrap_or_default());
        }
        start = page.last_evaluated_key.filter(|key| !key.is_empty());
        if start.is_none() || pages > 5 {
            break;
        }
    }
    expect(found == ["q-3", "q-2", "q-1"], &format!("gives {found:?}"))
}

async fn scan(ask: &Ask) -> Answer {
    for n in 1..=3 {
        let put = ask.dynamodb.put_item().table_name(JOBS).item("job_name", text(&format!("scan-{n}")));
        done(put.item("workflow_execution_id", text("s")).send().await)?;
    }
    let items = done(ask.dynamodb.scan().table_name(JOBS).send().await)?.items.unwrap_or_default();
    let ours = |item: &&HashMap<String, AttributeValue>| {
        item["job_name"].as_s().is_ok_and(|name| name.starts_with("scan-"))
    };
    expect(items.iter().filter(ours).count() == 3, "does not give every item")
}

async fn delete_item(ask: &Ask) -> Answer {
    done(ask.dynamodb.put_item().table_name(CONFIG).item("workflow_id", text("delete")).send().await)?;
    let delete = || {
        let delete = ask.dynamodb.delete_item().table_name(CONFIG).key("workflow_id", text("delete"));
        delete.return_values(ReturnValue::AllOld)
    };
    let old = done(delete().send().await)?.attributes.unwrap_or_default();
    expect(!old.is_empty(), "does not give the old item")?;
    let none = done(delete().send().await)?.attributes.unwrap_or_default();
    expect(none.is_empty(), "gives an item that is gone")
}

/// A machine that waits, and one that ends at once.
async fn machine(ask: &Ask, name: &str, waits: bool) -> Result<String, String> {
    let state = if waits {
        json!({"Type": "Wait", "Seconds": 1000, "End": true})
    } else {
        json!({"Type": "Succeed"})
    };
    let definition = json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": state}}).to_string();
    let create = ask.sfn.create_state_machine().name(name).definition(definition);
    let made = done(create.role_arn("arn:aws:iam::123456789012:role/rsqlflow-states").send().await)?;
    Ok(made.state_machine_arn)
}

async fn start_execution(ask: &Ask) -> Answer {
    let arn = machine(ask, "start", true).await?;
    let start = |input: &str| ask.sfn.start_execution().state_machine_arn(&arn).name("one").input(input);
    let first = done(start("{}").send().await)?;
    let again = done(start("{}").send().await)?;
    expect(first.execution_arn == again.execution_arn, "starts another execution")?;
    refused(start("{\"other\":1}").send().await, &["ExecutionAlreadyExists"])
}

async fn describe_execution(ask: &Ask) -> Answer {
    let arn = machine(ask, "describe", true).await?.replace(":stateMachine:", ":execution:") + ":never";
    refused(ask.sfn.describe_execution().execution_arn(arn).send().await, &["ExecutionDoesNotExist"])
}

async fn stop_execution(ask: &Ask) -> Answer {
    let arn = machine(ask, "stop", true).await?;
    let started = done(ask.sfn.start_execution().state_machine_arn(arn).send().await)?.execution_arn;
    done(
        ask.sfn.stop_execution().execution_arn(&started).error("Rsql.Cancelled").cause("by me").send().await,
    )?;
    loop {
        let look = done(ask.sfn.describe_execution().execution_arn(&started).send().await)?;
        if look.status.as_str() != "RUNNING" {
            let found =
                (look.status.as_str(), look.error().unwrap_or_default(), look.cause().unwrap_or_default());
            return expect(found == ("ABORTED", "Rsql.Cancelled", "by me"), &format!("ends {found:?}"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn heartbeat(ask: &Ask) -> Answer {
    refused(ask.sfn.send_task_heartbeat().task_token("no token").send().await, &["InvalidToken"])
}

async fn failure(ask: &Ask) -> Answer {
    refused(ask.sfn.send_task_failure().task_token("no token").send().await, &["InvalidToken"])
}

async fn spent_token(ask: &Ask) -> Answer {
    let task = json!({
        "Type": "Task", "Resource": "arn:aws:states:::aws-sdk:dynamodb:putItem.waitForTaskToken", "End": true,
        "Arguments": {"TableName": CONFIG, "Item": {"workflow_id": {"S": "spent"}, "token": {"S": "{% $states.context.Task.Token %}"}}}});
    let definition = json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": task}}).to_string();
    let create = ask.sfn.create_state_machine().name("spent").definition(definition);
    let arn = done(create.role_arn("arn:aws:iam::123456789012:role/rsqlflow-states").send().await)?
        .state_machine_arn;
    let started = done(ask.sfn.start_execution().state_machine_arn(arn).send().await)?.execution_arn;
    let token = loop {
        let item =
            done(ask.dynamodb.get_item().table_name(CONFIG).key("workflow_id", text("spent")).send().await)?
                .item;
        if let Some(token) = item.and_then(|item| item.get("token")?.as_s().ok().cloned()) {
            break token;
        }
        let look = done(ask.sfn.describe_execution().execution_arn(&started).send().await)?;
        expect(look.status.as_str() == "RUNNING", "the execution of a callback task ends by itself")?;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    done(ask.sfn.send_task_success().task_token(&token).output("{}").send().await)?;
    loop {
        let look = done(ask.sfn.describe_execution().execution_arn(&started).send().await)?;
        if look.status.as_str() != "RUNNING" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let again = ask.sfn.send_task_success().task_token(&token).output("{}").send().await;
    refused(again, &["TaskTimedOut"])
}

async fn send_command(ask: &Ask) -> Answer {
    let send =
        ask.ssm.send_command().document_name("AWS-RunShellScript").instance_ids("mi-0fedcba9876543210");
    refused(send.parameters("commands", vec!["true".into()]).send().await, &["InvalidInstanceId"])
}

async fn get_document(ask: &Ask) -> Answer {
    let document = done(ask.ssm.get_document().name("Rsqlflow-RunScript").send().await)?;
    expect(
        document.content().is_some_and(|text| text.contains("rsqlflow-agent submit")),
        "gives something else",
    )
}

const GROUP: &str = "/conformance";

/// A stream of its own for each probe.
async fn stream(ask: &Ask, name: &str) -> Answer {
    // Several probes make it.
    let _ = ask.logs.create_log_group().log_group_name(GROUP).send().await;
    done(ask.logs.create_log_stream().log_group_name(GROUP).log_stream_name(name).send().await).map(drop)
}

async fn create_log_stream(ask: &Ask) -> Answer {
    stream(ask, "twice").await?;
    let again = ask.logs.create_log_stream().log_group_name(GROUP).log_stream_name("twice").send().await;
    refused(again, &["ResourceAlreadyExistsException"])
}

fn event(ago_days: u64, message: &str) -> InputLogEvent {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let at = now - u128::from(ago_days) * 86_400_000;
    let event = InputLogEvent::builder().timestamp(i64::try_from(at).expect("a time")).message(message);
    event.build().expect("both are given")
}

async fn put_log_events(ask: &Ask) -> Answer {
    stream(ask, "old").await?;
    let put = ask.logs.put_log_events().log_group_name(GROUP).log_stream_name("old");
    let old = event(15, "too old");
    let answer = done(put.log_events(old).send().await)?;
    let told = answer.rejected_log_events_info().and_then(|info| info.too_old_log_event_end_index());
    expect(told == Some(1), "takes events of fifteen days ago without a word")
}

async fn get_log_events(ask: &Ask) -> Answer {
    stream(ask, "read").await?;
    for n in 0..3 {
        let put = ask.logs.put_log_events().log_group_name(GROUP).log_stream_name("read");
        done(put.log_events(event(0, &format!("{n}"))).send().await)?;
    }
    let (mut read, mut token) = (Vec::new(), None);
    for _ in 0..10 {
        let get = ask
            .logs
            .get_log_events()
            .log_group_name(GROUP)
            .log_stream_name("read")
            .start_from_head(true)
            .limit(2);
        let page = done(get.set_next_token(token.clone()).send().await)?;
        read.extend(page.events.unwrap_or_default().into_iter().filter_map(|event| event.message));
        if page.next_forward_token == token {
            return expect(read == ["0", "1", "2"], &format!("gives {read:?}"));
        }
        token = page.next_forward_token;
    }
    Err("always has another token".into())
}

async fn get_secret(ask: &Ask) -> Answer {
    let _ = ask.secrets.create_secret().name(SECRET).secret_string("{}").send().await;
    refused(ask.secrets.get_secret_value().secret_id("never").send().await, &["ResourceNotFoundException"])
}

async fn publish(ask: &Ask) -> Answer {
    let topic = done(ask.sns.create_topic().name("conformance").send().await)?.topic_arn.unwrap_or_default();
    let publish = |topic: &str| ask.sns.publish().topic_arn(topic).subject("s").message("m");
    let id = done(publish(&topic).send().await)?.message_id;
    expect(id.is_some_and(|id| !id.is_empty()), "gives no id")?;
    refused(publish(&format!("{topic}-never")).send().await, &["NotFound", "NotFoundException"])
}

async fn describe_stacks(ask: &Ask) -> Answer {
    refused(ask.cloudformation.describe_stacks().stack_name("never").send().await, &["ValidationError"])
}
