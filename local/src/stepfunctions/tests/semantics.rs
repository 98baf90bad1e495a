//! Small definitions, with what AWS would make of them as golden text.

use super::*;

/// AWS documents a Map's item for its `ItemSelector` alone.
#[tokio::test]
async fn a_maps_item_is_not_defined_inside_its_processor() {
    let world = World::new(TestTime::jumping(), &[]).await;
    let definition = machine(
        "M",
        json!({ "M": {
            "Type": "Map", "Items": "{% [1, 2] %}", "End": true,
            "ItemSelector": { "at": "{% $states.context.Map.Item.Index %}" },
            "ItemProcessor": { "StartAt": "A", "States": { "A": {
                "Type": "Pass", "End": true,
                "Output": "{% {'at': $states.input.at, 'seen': $exists($states.context.Map)} %}"
            } } }
        } }),
    );
    let told = world.tell(&definition, json!({})).await;
    assert!(told.contains(r#"output=[{"at":0,"seen":false},{"at":1,"seen":false}]"#), "{told}");
}

async fn told(script: Vec<Act>, definition: Value, input: Value) -> String {
    let ssm = Scripted::new("ssm", script);
    let dynamodb = Scripted::new("dynamodb", vec![Act::Answer(json!({}))]);
    let world = World::new(TestTime::jumping(), &[ssm, dynamodb]).await;
    without_uuids(&world.tell(&definition, input).await)
}

/// One golden test: a name, the script of `ssm`, the definition, the input.
macro_rules! golden {
    ($($name:ident: $script:expr, $definition:expr, $input:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            insta::assert_snapshot!(told($script, $definition, $input).await);
        }
    )*};
}

fn task(extra: Value) -> Value {
    let mut task =
        json!({ "Type": "Task", "Resource": "arn:aws:states:::aws-sdk:ssm:getParameter", "End": true });
    for (name, value) in extra.as_object().unwrap() {
        task[name] = value.clone();
    }
    if task.get("Next").is_some() {
        task.as_object_mut().unwrap().remove("End");
    }
    task
}

fn refused(code: &str) -> Act {
    Act::Refuse(AwsError::client(code, "no"))
}

golden! {
    pass_assigns_and_outputs: vec![], machine("A", json!({
        "A": { "Type": "Pass", "Assign": { "x": "{% $states.input.n + 1 %}", "y": [1, "{% $states.context.State.Name %}"] },
               "Output": { "n": "{% $states.input.n %}" }, "Next": "B" },
        "B": { "Type": "Pass", "Assign": { "x": "{% $x * 10 %}" }, "Output": "{% [$x, $y, $states.input.n] %}", "Next": "C" },
        "C": { "Type": "Succeed", "Output": { "x": "{% $x %}", "in": "{% $states.input %}" } }
    })), json!({ "n": 1 });

    choice_takes_the_first_that_holds: vec![], machine("A", json!({
        "A": { "Type": "Choice", "Choices": [
            { "Condition": "{% $states.input.n > 10 %}", "Next": "Big" },
            { "Condition": "{% $states.input.n > 5 %}", "Next": "Small", "Output": "medium", "Assign": { "m": 1 } } ],
            "Default": "Small", "Output": "default" },
        "Big": { "Type": "Fail" },
        "Small": { "Type": "Succeed" }
    })), json!({ "n": 7 });

    choice_without_a_match: vec![], machine("A", json!({
        "A": { "Type": "Choice", "Choices": [ { "Condition": "{% false %}", "Next": "B" } ] },
        "B": { "Type": "Succeed" }
    })), json!({});

    choice_must_be_boolean: vec![], machine("A", json!({
        "A": { "Type": "Choice", "Choices": [ { "Condition": "{% 'yes' %}", "Next": "B" } ] },
        "B": { "Type": "Succeed" }
    })), json!({});

    fail_with_expressions: vec![], machine("A", json!({
        "A": { "Type": "Fail", "Error": "{% 'Rsql.' & $states.input.e %}", "Cause": "{% $string($states.input) %}" }
    })), json!({ "e": "X" });

    wait_passes_its_input_on: vec![], machine("A", json!({
        "A": { "Type": "Wait", "Seconds": "{% $states.input.s %}", "Next": "B" },
        "B": { "Type": "Wait", "Timestamp": "2025-01-31T03:00:00Z", "Next": "C" },
        "C": { "Type": "Pass", "Output": "{% $states.context.State.EnteredTime %}", "End": true }
    })), json!({ "s": 90 });

    undefined_is_an_error: vec![], machine("A", json!({
        "A": { "Type": "Pass", "Output": { "deep": ["{% $states.input.missing %}"] }, "End": true }
    })), json!({});

    an_evaluation_error_can_be_caught: vec![], machine("A", json!({
        "A": task(json!({ "Arguments": { "Name": "{% $nobody %}" },
            "Catch": [ { "ErrorEquals": ["States.QueryEvaluationError"], "Next": "B", "Output": "{% $states.errorOutput.Error %}" } ] })),
        "B": { "Type": "Succeed" }
    })), json!({});

    request_and_response: vec![Act::Answer(json!({ "Parameter": { "Value": "v" } }))], machine("A", json!({
        "A": task(json!({ "Arguments": { "Name": "{% $states.input.name %}" }, "Output": "{% $states.result.Parameter.Value %}",
            "Assign": { "p": "{% $states.result %}" } }))
    })), json!({ "name": "n" });

    retry_then_success: vec![refused("ThrottlingException"), refused("InvalidKeyId"), Act::Answer(json!("ok"))],
    machine("A", json!({
        "A": task(json!({ "Retry": [
            { "ErrorEquals": ["Ssm.SsmException"], "IntervalSeconds": 5, "MaxAttempts": 1 },
            { "ErrorEquals": ["States.ALL"], "IntervalSeconds": 7 } ], "Next": "B" })),
        "B": { "Type": "Pass", "Output": "{% $states.context.State.EnteredTime %}", "End": true }
    })), json!({});

    retries_run_out_then_catch: vec![refused("InvalidInstanceId")], machine("A", json!({
        "A": task(json!({ "Retry": [ { "ErrorEquals": ["States.TaskFailed"], "MaxAttempts": 2 } ],
            "Catch": [ { "ErrorEquals": ["Other"], "Next": "B" },
                       { "ErrorEquals": ["Ssm.InvalidInstanceIdException"], "Next": "B", "Assign": { "e": "{% $states.errorOutput %}" } } ] })),
        "B": { "Type": "Pass", "Output": "{% [$states.input.Error, $e.Error] %}", "End": true }
    })), json!({});

    max_attempts_zero_never_retries: vec![refused("A")], machine("A", json!({
        "A": task(json!({ "Retry": [ { "ErrorEquals": ["Ssm.AException"], "MaxAttempts": 0 }, { "ErrorEquals": ["States.ALL"] } ] }))
    })), json!({});

    task_timeout: vec![Act::Answer(json!({}))], machine("A", json!({
        "A": { "Type": "Task", "Resource": "arn:aws:states:::aws-sdk:ssm:sendCommand.waitForTaskToken",
               "Arguments": { "Token": "{% $states.context.Task.Token %}" },
               "TimeoutSeconds": "{% $states.input.limit %}", "HeartbeatSeconds": 100,
               "Retry": [ { "ErrorEquals": ["States.HeartbeatTimeout"], "MaxAttempts": 1 } ],
               "Catch": [ { "ErrorEquals": ["States.TaskFailed"], "Next": "B" } ], "End": true },
        "B": { "Type": "Succeed" }
    })), json!({ "limit": 60 });

    heartbeat_timeout: vec![Act::Answer(json!({}))], machine("A", json!({
        "A": { "Type": "Task", "Resource": "arn:aws:states:::aws-sdk:ssm:sendCommand.waitForTaskToken",
               "Arguments": { "Token": "{% $states.context.Task.Token %}" },
               "TimeoutSeconds": 600, "HeartbeatSeconds": 30,
               "Retry": [ { "ErrorEquals": ["States.HeartbeatTimeout"], "MaxAttempts": 1 } ],
               "Catch": [ { "ErrorEquals": ["States.TaskFailed"], "Next": "B" } ], "End": true },
        "B": { "Type": "Succeed" }
    })), json!({});

    execution_timeout: vec![Act::Answer(json!({}))], json!({
        "QueryLanguage": "JSONata", "TimeoutSeconds": 60, "StartAt": "M", "States": {
            "M": { "Type": "Map", "Items": [1, 2], "ItemProcessor": { "StartAt": "A", "States": { "A": callback_task() } }, "End": true } }
    }), json!({});

    callback_success: vec![Act::Succeed(json!({ "exit_code": 0 }))], machine("A", json!({ "A": callback_task() })), json!("job");

    callback_failure: vec![Act::Fail("Rsql.ExitCode", "{}")], machine("A", json!({ "A": callback_task() })), json!("job");

    submission_failure: vec![refused("InvalidInstanceId")], machine("A", json!({ "A": callback_task() })), json!("job");

    map_in_sequence: vec![Act::Succeed(json!(1)), Act::Succeed(json!(2)), Act::Succeed(json!(3))], machine("M", json!({
        "M": { "Type": "Map", "Items": "{% $states.input.jobs %}", "MaxConcurrency": 1,
               "ItemSelector": { "job": "{% $states.context.Map.Item.Value %}", "at": "{% $states.context.Map.Item.Index %}", "n": "{% $count($states.input.jobs) %}" },
               "ItemProcessor": { "StartAt": "A", "States": { "A": callback_task() } },
               "Output": "{% $sum($states.result) %}", "End": true }
    })), json!({ "jobs": ["a", "b", "c"] });

    map_of_nothing: vec![], machine("M", json!({
        "M": { "Type": "Map", "ItemProcessor": { "StartAt": "A", "States": { "A": callback_task() } }, "End": true }
    })), json!([]);

    map_over_an_object: vec![], machine("M", json!({
        "M": { "Type": "Map", "Items": { "a": 1, "b": "{% 1 + 1 %}" },
               "ItemProcessor": { "StartAt": "A", "States": { "A": { "Type": "Pass", "End": true } } }, "End": true }
    })), json!([]);

    map_needs_an_array: vec![], machine("M", json!({
        "M": { "Type": "Map", "Items": "{% 'x' %}", "ItemProcessor": { "StartAt": "A", "States": { "A": callback_task() } }, "End": true }
    })), json!([]);

    map_first_failure_stops_the_others: vec![Act::Answer(json!({})), Act::Fail("E", "c"), Act::Answer(json!({}))], machine("M", json!({
        "M": { "Type": "Map", "Items": [1, 2, 3, 4], "MaxConcurrency": 2,
               "ItemProcessor": { "StartAt": "A", "States": { "A": callback_task() } },
               "Catch": [ { "ErrorEquals": ["E"], "Next": "B" } ], "End": true },
        "B": { "Type": "Succeed" }
    })), json!({});

    map_tolerates_failures: vec![Act::Succeed(json!(1)), Act::Fail("E", "c"), Act::Succeed(json!(3))], machine("M", json!({
        "M": { "Type": "Map", "Items": [1, 2, 3], "MaxConcurrency": 1, "ToleratedFailureCount": 1,
               "ItemProcessor": { "StartAt": "A", "States": { "A": callback_task() } }, "End": true }
    })), json!({});

    map_tolerates_only_so_many: vec![Act::Fail("E", "c")], machine("M", json!({
        "M": { "Type": "Map", "Items": [1, 2, 3], "MaxConcurrency": 1, "ToleratedFailurePercentage": "{% 40 %}",
               "ItemProcessor": { "StartAt": "A", "States": { "A": callback_task() } }, "End": true }
    })), json!({});

    map_is_retried_whole: vec![Act::Succeed(json!(1)), Act::Fail("E", "c"), Act::Succeed(json!(2))], machine("M", json!({
        "M": { "Type": "Map", "Items": [1, 2], "MaxConcurrency": 1, "Retry": [ { "ErrorEquals": ["E"] } ],
               "ItemProcessor": { "StartAt": "A", "States": { "A": callback_task() } }, "End": true }
    })), json!({});

    iterations_read_outer_variables_and_keep_their_own: vec![], machine("P", json!({
        "P": { "Type": "Pass", "Assign": { "outer": 10 }, "Next": "M" },
        "M": { "Type": "Map", "Items": [1, 2],
               "ItemProcessor": { "StartAt": "A", "States": {
                   "A": { "Type": "Pass", "Assign": { "own": "{% $outer + $states.input %}" }, "Next": "B" },
                   "B": { "Type": "Pass", "Output": "{% $own %}", "End": true } } },
               "Next": "C" },
        "C": { "Type": "Pass", "Output": "{% [$states.input, $exists($own)] %}", "End": true }
    })), json!({});

    parallel_gives_an_array: vec![Act::Succeed(json!("called"))], machine("P", json!({
        "P": { "Type": "Parallel", "Arguments": { "a": "{% $states.input.x %}" }, "Branches": [
            { "StartAt": "A", "States": { "A": { "Type": "Wait", "Seconds": 5, "End": true } } },
            { "StartAt": "B", "States": { "B": callback_task() } } ],
            "Output": "{% $states.result %}", "End": true }
    })), json!({ "x": 1 });

    parallel_failure_aborts_the_others: vec![], machine("P", json!({
        "P": { "Type": "Parallel", "Branches": [
            { "StartAt": "A", "States": { "A": { "Type": "Wait", "Seconds": 500, "End": true } } },
            { "StartAt": "B", "States": { "B": { "Type": "Wait", "Seconds": 1, "Next": "F" }, "F": { "Type": "Fail", "Error": "E" } } } ],
            "Catch": [ { "ErrorEquals": ["States.ALL"], "Next": "S" } ], "End": true },
        "S": { "Type": "Succeed" }
    })), json!({});

    a_result_over_the_limit: vec![Act::Answer(json!("x".repeat(262_143)))], machine("A", json!({
        "A": task(json!({ "Catch": [ { "ErrorEquals": ["States.ALL"], "Next": "B" } ] })),
        "B": { "Type": "Succeed" }
    })), json!({});

    dynamodb_is_optimised: vec![], machine("A", json!({
        "A": { "Type": "Task", "Resource": "arn:aws:states:::dynamodb:updateItem", "Arguments": { "TableName": "t" },
               "Output": "{% $states.result.SdkHttpMetadata.HttpStatusCode %}", "End": true }
    })), json!({});
}

#[tokio::test]
async fn the_history_has_a_limit() {
    let world = World::new(TestTime::jumping(), &[]).await;
    let definition = machine(
        "A",
        json!({
            "A": { "Type": "Pass", "Next": "B" },
            "B": { "Type": "Choice", "Choices": [ { "Condition": "{% false %}", "Next": "C" } ], "Default": "A" },
            "C": { "Type": "Succeed" }
        }),
    );
    let machine = world.create("loop", &definition).await;
    let execution = world.start(&machine, "x", json!({})).await;
    let end = world.end(&execution).await;
    assert_eq!((&end["status"], &end["error"]), (&json!("FAILED"), &json!("States.Runtime")));
    let request = json!({ "executionArn": execution, "reverseOrder": true, "maxResults": 2 });
    let last = world.call("GetExecutionHistory", request).await.unwrap();
    assert_eq!(last["events"][0]["id"], 25_000);
    assert_eq!(last["events"][0]["type"], "ExecutionFailed");
    assert_eq!(last["nextToken"], "24999");
}
