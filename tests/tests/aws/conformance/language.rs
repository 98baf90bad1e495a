//! Probes of the States Language: small machines, each with the one feature, and how their executions must end.

use serde_json::{Value, json};

use super::{Answer, Ask, Asked, Probe};

/// How an execution must end.
enum Ends {
    /// Succeeded, with this output.
    With(Value),
    /// Failed, with this error, and something in its cause.
    Failed(&'static str, &'static str),
}

/// What the test does while it runs.
#[derive(Clone, Copy)]
enum Meanwhile {
    Nothing,
    /// The callback of the task whose token the table has, after which the token is spent.
    Succeed,
    Fail,
}

/// Where a task leaves its token.
const TABLE: &str = "rsqlflow-config";
const ROLE: &str = "arn:aws:iam::123456789012:role/rsqlflow-states";
const DOCS: &str = "https://docs.aws.amazon.com/step-functions/latest/dg/";

struct Machine {
    about: &'static str,
    expects: &'static str,
    /// Below [`DOCS`].
    page: &'static str,
    states: Value,
    ends: Ends,
    meanwhile: Meanwhile,
}

fn machine(
    about: &'static str,
    expects: &'static str,
    page: &'static str,
    states: Value,
    ends: Ends,
) -> Machine {
    Machine { about, expects, page, states, ends, meanwhile: Meanwhile::Nothing }
}

/// A machine of one task that hands its token over by the table.
fn callback(
    about: &'static str,
    expects: &'static str,
    meanwhile: Meanwhile,
    more: Value,
    ends: Ends,
) -> Machine {
    let mut task = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:dynamodb:putItem.waitForTaskToken",
        "Arguments": {"TableName": TABLE, "Item": {
            "workflow_id": {"S": "{% $states.context.Execution.Name %}"},
            "token": {"S": "{% $states.context.Task.Token %}"}}},
        "End": true
    });
    for (name, value) in more.as_object().expect("fields") {
        task[name] = value.clone();
    }
    Machine { meanwhile, ..machine(about, expects, "connect-to-resource.html", json!({"A": task}), ends) }
}

fn machines() -> Vec<Machine> {
    let pass = |output: &str| json!({"A": {"Type": "Pass", "Output": output, "End": true}});
    let child = |comes: Value| {
        json!({"A": {
        "Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Arguments": {"StateMachineArn": "{% $states.input.child %}", "Name": "{% $states.context.Execution.Name & '-child' %}",
                      "Input": comes},
        "Output": "{% {'status': $states.result.Status, 'sum': $states.result.Output.sum} %}",
        "Catch": [{"ErrorEquals": ["States.ALL"], "Output":
            "{% ( $cause := $parse($states.errorOutput.Cause); {'error': $states.errorOutput.Error, 'of': $cause.Error, 'why': $cause.Cause, 'status': $cause.Status} ) %}",
            "Next": "B"}],
        "End": true}, "B": {"Type": "Succeed"}})
    };
    let item = |condition: &str| {
        json!({
        "TableName": TABLE, "Key": {"workflow_id": {"S": "{% 'probe-' & $states.context.Execution.Name %}"}},
        "UpdateExpression": "SET n = :n", "ConditionExpression": condition,
        "ExpressionAttributeValues": {":n": {"N": "1"}}})
    };
    vec![
        machine(
            "Pass, Assign, Output",
            "variables are set for later states, Output is what goes on",
            "workflow-variables.html",
            json!({"A": {"Type": "Pass", "Assign": {"x": "{% $states.input.n + 1 %}"}, "Output": "{% {'was': $states.input.n} %}", "Next": "B"},
                   "B": {"Type": "Pass", "Output": "{% {'x': $x, 'was': $states.input.was} %}", "End": true}}),
            Ends::With(json!({"x": 3, "was": 2})),
        ),
        machine(
            "Assign",
            "all its expressions see the values of before it",
            "workflow-variables.html",
            json!({"A": {"Type": "Pass", "Assign": {"x": 1, "y": 2}, "Next": "B"},
                   "B": {"Type": "Pass", "Assign": {"x": "{% $y %}", "y": "{% $x %}"}, "Next": "C"},
                   "C": {"Type": "Pass", "Output": "{% [$x, $y] %}", "End": true}}),
            Ends::With(json!([2, 1])),
        ),
        machine(
            "Texts in variables",
            "quotes, lines and letters beyond 16 bits stay as they are",
            "workflow-variables.html",
            json!({"A": {"Type": "Pass", "Assign": {"t": "{% $states.input.text %}"}, "Next": "B"},
                   "B": {"Type": "Pass", "Output": "{% {'t': $t} %}", "End": true}}),
            Ends::With(json!({"t": "it's \"so\"\n😀"})),
        ),
        machine(
            "Choice",
            "the first condition that holds decides",
            "state-choice.html",
            json!({"A": {"Type": "Choice", "Choices": [
                    {"Condition": "{% $states.input.n > 2 %}", "Next": "B"}, {"Condition": "{% $states.input.n = 2 %}", "Next": "C"}], "Default": "B"},
                   "B": {"Type": "Fail"}, "C": {"Type": "Pass", "Output": "{% {'taken': 'second'} %}", "End": true}}),
            Ends::With(json!({"taken": "second"})),
        ),
        machine(
            "Choice, Default",
            "where no rule holds, Assign and Output are the state's own",
            "state-choice.html",
            json!({"A": {"Type": "Choice", "Choices": [{"Condition": "{% false %}", "Next": "C"}], "Default": "B",
                         "Assign": {"x": 7}, "Output": "{% {'n': $states.input.n} %}"},
                   "B": {"Type": "Pass", "Output": "{% {'x': $x, 'was': $states.input} %}", "End": true}, "C": {"Type": "Fail"}}),
            Ends::With(json!({"x": 7, "was": {"n": 2}})),
        ),
        machine(
            "Succeed",
            "Output is the execution's, as JSON",
            "state-succeed.html",
            json!({"A": {"Type": "Succeed", "Output": "{% {'n': $states.input.n} %}"}}),
            Ends::With(json!({"n": 2})),
        ),
        machine(
            "Fail",
            "Error and Cause may be expressions",
            "state-fail.html",
            json!({"A": {"Type": "Fail", "Error": "{% 'Rsql.' & 'Own' %}", "Cause": "{% $string({'n': $states.input.n}) %}"}}),
            Ends::Failed("Rsql.Own", "{\"n\":2}"),
        ),
        machine(
            "An undefined value",
            "is States.QueryEvaluationError",
            "transforming-data.html",
            pass("{% $states.input.nothing %}"),
            Ends::Failed("States.QueryEvaluationError", ""),
        ),
        machine(
            "$parse, $base64encode, $encodeUrlComponent",
            "texts become values and travel",
            "transforming-data.html",
            pass("{% [$parse('{\"a\":[1,null]}').a[0], $base64encode('ab?'), $encodeUrlComponent('ä b')] %}"),
            Ends::With(json!([1, "YWI/", "%C3%A4%20b"])),
        ),
        machine(
            "$sift, $merge, $append, $pad, $exists",
            "as in JSONata",
            "transforming-data.html",
            pass(
                "{% {'s': $sift({'a': 1, 'b': 2}, function($v, $k) { $k != 'a' }), 'm': $merge([{'a': 1}, {'a': 2}]), 'p': $pad('7', -3, '0'), 'l': $count($append([1], [2])), 'e': $exists($states.input.nothing)} %}",
            ),
            Ends::With(json!({"s": {"b": 2}, "m": {"a": 2}, "p": "007", "l": 2, "e": false})),
        ),
        machine(
            "Map",
            "results in the order of the items; MaxConcurrency may be an expression",
            "state-map-inline.html",
            json!({"A": {"Type": "Map", "Items": "{% $states.input.items %}", "MaxConcurrency": "{% $states.input.n %}", "ItemProcessor": {
                "ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "I",
                "States": {"I": {"Type": "Pass", "Output": "{% $states.input * 10 %}", "End": true}}}, "End": true}}),
            Ends::With(json!([30, 10, 20])),
        ),
        machine(
            "Variables in a Map",
            "iterations read outer ones and keep their own",
            "workflow-variables.html",
            json!({"A": {"Type": "Pass", "Assign": {"x": 5}, "Output": "{% [1, 2] %}", "Next": "B"},
                   "B": {"Type": "Map", "Items": "{% $states.input %}", "ItemProcessor": {"StartAt": "I", "States": {
                       "I": {"Type": "Pass", "Assign": {"own": "{% $states.input + $x %}"}, "Next": "J"},
                       "J": {"Type": "Pass", "Output": "{% $own %}", "End": true}}}, "End": true}}),
            Ends::With(json!([6, 7])),
        ),
        machine(
            "A Map whose iteration fails",
            "fails at once, and starts no more of them",
            "state-map-inline.html",
            json!({"A": {"Type": "Map", "Items": "{% $states.input.items %}", "MaxConcurrency": 1, "ItemProcessor": {"StartAt": "I", "States": {
                       "I": {"Type": "Choice", "Choices": [{"Condition": "{% $states.input = 3 %}", "Next": "F"}], "Default": "W"},
                       "F": {"Type": "Fail", "Error": "Rsql.First"},
                       "W": {"Type": "Task", "Resource": "arn:aws:states:::dynamodb:putItem", "End": true,
                             "Arguments": {"TableName": TABLE, "Item": {"workflow_id": {"S": "{% 'ran-' & $states.context.Execution.Name %}"}}}}}},
                   "Catch": [{"ErrorEquals": ["Rsql.First"], "Next": "B"}], "End": true},
                   "B": {"Type": "Task", "Resource": "arn:aws:states:::dynamodb:getItem",
                         "Arguments": {"TableName": TABLE, "Key": {"workflow_id": {"S": "{% 'ran-' & $states.context.Execution.Name %}"}}},
                         "Output": "{% {'others': $exists($states.result.Item)} %}", "End": true}}),
            Ends::With(json!({"others": false})),
        ),
        machine(
            "dynamodb:updateItem",
            "a condition that does not hold is DynamoDB.ConditionalCheckFailedException",
            "connect-ddb.html",
            json!({"A": {"Type": "Task", "Resource": "arn:aws:states:::dynamodb:updateItem", "Arguments": item("attribute_not_exists(n)"), "Next": "B"},
                   "B": {"Type": "Task", "Resource": "arn:aws:states:::dynamodb:updateItem", "Arguments": item("attribute_not_exists(n)"),
                         "Catch": [{"ErrorEquals": ["DynamoDB.ConditionalCheckFailedException"], "Output": "{% {'caught': true} %}", "Next": "C"}], "End": true},
                   "C": {"Type": "Succeed"}}),
            Ends::With(json!({"caught": true})),
        ),
        machine(
            "aws-sdk:dynamodb:scan",
            "filters; numbers and texts are typed as in the API",
            "supported-services-awssdk.html",
            json!({"A": {"Type": "Task", "Resource": "arn:aws:states:::dynamodb:putItem", "Next": "B", "Arguments": {
                       "TableName": "rsqlflow-hosts", "Item": {"instance_id": {"S": "mi-probe"}, "seen_at": {"N": "100"}, "tags": {"S": " a b "}}}},
                   "B": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:dynamodb:scan", "Arguments": {
                       "TableName": "rsqlflow-hosts", "FilterExpression": "seen_at > :since AND instance_id = :id",
                       "ExpressionAttributeValues": {":since": {"N": "99"}, ":id": {"S": "mi-probe"}}},
                       "Output": "{% {'ids': [$states.result.Items[$contains(tags.S, ' b ')].instance_id.S]} %}", "End": true}}),
            Ends::With(json!({"ids": ["mi-probe"]})),
        ),
        machine(
            "sns:publish",
            "takes a topic, a subject and a message, and gives the message's id",
            "connect-sns.html",
            json!({"A": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sns:createTopic", "Arguments": {"Name": "conformance"},
                         "Assign": {"topic": "{% $states.result.TopicArn %}"}, "Next": "B"},
                   "B": {"Type": "Task", "Resource": "arn:aws:states:::sns:publish",
                         "Arguments": {"TopicArn": "{% $topic %}", "Subject": "of it", "Message": "text"},
                         "Output": "{% {'id': $exists($states.result.MessageId)} %}", "End": true}}),
            Ends::With(json!({"id": true})),
        ),
        machine(
            "aws-sdk:sfn:stopExecution",
            "errors are named after the SDK's classes",
            "supported-services-awssdk.html",
            json!({"A": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sfn:stopExecution",
                         "Arguments": {"ExecutionArn": "{% $replace($states.context.Execution.Id, $states.context.Execution.Name, 'none') %}"},
                         "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "{% {'error': $states.errorOutput.Error} %}", "Next": "B"}], "End": true},
                   "B": {"Type": "Succeed"}}),
            Ends::With(json!({"error": "Sfn.ExecutionDoesNotExistException"})),
        ),
        machine(
            "Retry",
            "MaxAttempts tries more, then Catch",
            "concepts-error-handling.html",
            json!({"A": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:dynamodb:updateItem",
                         "Arguments": {"TableName": TABLE, "Key": {"workflow_id": {"S": "{% 'retry-' & $states.context.Execution.Name & $string($states.context.State.RetryCount) %}"}},
                                       "UpdateExpression": "SET n = :n", "ConditionExpression": "attribute_exists(n)", "ExpressionAttributeValues": {":n": {"N": "1"}}},
                         "Retry": [{"ErrorEquals": ["DynamoDb.ConditionalCheckFailedException"], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1, "JitterStrategy": "FULL"}],
                         "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "{% $states.context.State.RetryCount %}", "Next": "B"}], "End": true},
                   "B": {"Type": "Succeed"}}),
            Ends::With(json!(2)),
        ),
        machine(
            "states:startExecution.sync:2",
            "gives the child's output as a value",
            "connect-stepfunctions.html",
            child(json!({"a": 1, "b": 2})),
            Ends::With(json!({"status": "SUCCEEDED", "sum": 3})),
        ),
        machine(
            "A child that fails",
            "is States.TaskFailed; its description is the cause, as JSON",
            "connect-stepfunctions.html",
            child(json!({"a": 0, "b": 0})),
            Ends::With(
                json!({"error": "States.TaskFailed", "of": "Rsql.Zero", "why": "nothing", "status": "FAILED"}),
            ),
        ),
        callback(
            "waitForTaskToken, SendTaskSuccess",
            "the output is the task's result",
            Meanwhile::Succeed,
            json!({}),
            Ends::With(json!({"said": "it's \"done\" 😀"})),
        ),
        callback(
            "waitForTaskToken, SendTaskFailure",
            "error and cause are the task's",
            Meanwhile::Fail,
            json!({}),
            Ends::Failed("Rsql.ExitCode", "{\"exit_code\":21}"),
        ),
        callback(
            "TimeoutSeconds",
            "may be an expression; a task that is late is States.Timeout",
            Meanwhile::Nothing,
            json!({"TimeoutSeconds": "{% $states.input.n %}"}),
            Ends::Failed("States.Timeout", ""),
        ),
        callback(
            "HeartbeatSeconds",
            "may be an expression; a silent task is States.HeartbeatTimeout",
            Meanwhile::Nothing,
            json!({"HeartbeatSeconds": "{% $states.input.n %}", "TimeoutSeconds": 6}),
            Ends::Failed("States.HeartbeatTimeout", ""),
        ),
    ]
}

pub(super) fn probes() -> Vec<Probe> {
    machines()
        .into_iter()
        .enumerate()
        .map(|(number, machine)| {
            let documented: &'static str = Box::leak(format!("{DOCS}{}", machine.page).into_boxed_str());
            let (about, expects) = (machine.about, machine.expects);
            let machine = std::rc::Rc::new(machine);
            let ask: Box<dyn for<'a> Fn(&'a Ask) -> Asked<'a>> = Box::new(move |ask| {
                let machine = std::rc::Rc::clone(&machine);
                Box::pin(async move { play(ask, number, &machine).await })
            });
            Probe { about, expects, documented, ask }
        })
        .collect()
}

/// A machine's ARN, whether it is made now or was before.
async fn make(ask: &Ask, name: &str, states: &Value) -> Result<String, String> {
    let definition = json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": states});
    let create = ask.sfn.create_state_machine().name(name).definition(definition.to_string()).role_arn(ROLE);
    let made = create
        .send()
        .await
        .map_err(|error| format!("CreateStateMachine: {}", super::actions::code(&error)))?;
    Ok(made.state_machine_arn)
}

async fn play(ask: &Ask, number: usize, machine: &Machine) -> Answer {
    let name = format!("probe-{number}");
    let adds = json!({
        "A": {"Type": "Choice", "Choices": [{"Condition": "{% $states.input.a = 0 %}", "Next": "Z"}], "Default": "S"},
        "Z": {"Type": "Fail", "Error": "Rsql.Zero", "Cause": "nothing"},
        "S": {"Type": "Pass", "Output": "{% {'sum': $states.input.a + $states.input.b} %}", "End": true}});
    let child = make(ask, &format!("{name}-child"), &adds).await?;
    let arn = make(ask, &name, &machine.states).await?;
    let input = json!({"n": 2, "items": [3, 1, 2], "text": "it's \"so\"\n😀", "child": child});
    let start = ask.sfn.start_execution().state_machine_arn(arn).name(&name).input(input.to_string());
    let started =
        start.send().await.map_err(|error| format!("StartExecution: {}", super::actions::code(&error)))?;
    let mut meanwhile = machine.meanwhile;
    loop {
        if !matches!(meanwhile, Meanwhile::Nothing) && answer_callback(ask, &name, meanwhile).await? {
            meanwhile = Meanwhile::Nothing;
        }
        let look = ask.sfn.describe_execution().execution_arn(&started.execution_arn).send().await;
        let look = look.map_err(|error| format!("DescribeExecution: {}", super::actions::code(&error)))?;
        if look.status.as_str() != "RUNNING" {
            return judge(&machine.ends, &look);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Answers for a task whose token has come; whether it has.
async fn answer_callback(ask: &Ask, name: &str, how: Meanwhile) -> Result<bool, String> {
    let key = aws_sdk_dynamodb::types::AttributeValue::S(name.into());
    let item = ask.dynamodb.get_item().table_name(TABLE).key("workflow_id", key).send().await;
    let item = item.map_err(|error| format!("GetItem: {}", super::actions::code(&error)))?.item;
    let Some(token) = item.as_ref().and_then(|item| item.get("token")?.as_s().ok()) else { return Ok(false) };
    let sent = match how {
        Meanwhile::Fail => {
            let fail = ask.sfn.send_task_failure().task_token(token).error("Rsql.ExitCode");
            fail.cause("{\"exit_code\":21}")
                .send()
                .await
                .map(drop)
                .map_err(|error| super::actions::code(&error))
        }
        _ => {
            let output = json!({"said": "it's \"done\" 😀"}).to_string();
            let succeed = ask.sfn.send_task_success().task_token(token).output(output);
            succeed.send().await.map(drop).map_err(|error| super::actions::code(&error))
        }
    };
    sent.map(|()| true).map_err(|error| format!("the callback is refused: {error}"))
}

fn judge(ends: &Ends, look: &aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput) -> Answer {
    let (error, cause) = (look.error().unwrap_or_default(), look.cause().unwrap_or_default());
    match ends {
        Ends::With(expected) => {
            if look.status.as_str() != "SUCCEEDED" {
                return Err(format!("the execution ends {} with `{error}`", look.status));
            }
            let text = look.output().unwrap_or_default();
            let output: Value = serde_json::from_str(text).map_err(|_| format!("`{text}` is not JSON"))?;
            if &output == expected { Ok(()) } else { Err(format!("gives `{output}` for `{expected}`")) }
        }
        Ends::Failed(expected, part) => {
            if look.status.as_str() != "FAILED" || error != *expected {
                return Err(format!("the execution ends {} with `{error}`", look.status));
            }
            if cause.contains(part) {
                Ok(())
            } else {
                Err(format!("the cause is `{}`", cause.chars().take(60).collect::<String>()))
            }
        }
    }
}
