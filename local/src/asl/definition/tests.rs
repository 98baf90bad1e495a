//! What is wrong with a definition is told, with its place.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Definition;

fn found(definition: &Value) -> Vec<String> {
    match Definition::read(&definition.to_string()) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

fn with(states: Value) -> Value {
    json!({ "QueryLanguage": "JSONata", "StartAt": "A", "States": states })
}

#[test]
fn findings() {
    let end = || json!({ "Type": "Succeed" });
    let task = "arn:aws:states:::aws-sdk:ssm:sendCommand.waitForTaskToken";
    let cases = [
        ("no JSONata", json!({ "StartAt": "A", "States": { "A": { "Type": "Pass", "End": true } } })),
        ("no such start", json!({ "QueryLanguage": "JSONata", "StartAt": "X", "States": { "A": end() } })),
        ("nothing at all", json!({ "QueryLanguage": "JSONata" })),
        ("no such next", with(json!({ "A": { "Type": "Pass", "Next": "B" } }))),
        ("unreachable", with(json!({ "A": end(), "B": end() }))),
        ("no transition", with(json!({ "A": { "Type": "Pass" } }))),
        ("both transitions", with(json!({ "A": { "Type": "Pass", "Next": "B", "End": true }, "B": end() }))),
        ("no end", with(json!({ "A": { "Type": "Pass", "Next": "A" } }))),
        (
            "bad expression",
            with(json!({ "A": { "Type": "Pass", "Output": { "x": ["{% 1 + %}"] }, "End": true } })),
        ),
        ("eval", with(json!({ "A": { "Type": "Pass", "Output": "{% $eval('1') %}", "End": true } }))),
        ("unknown field", with(json!({ "A": { "Type": "Pass", "Result": 1, "End": true } }))),
        ("unknown type", with(json!({ "A": { "Type": "Lambda", "End": true } }))),
        (
            "bad resource",
            with(
                json!({ "A": { "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true } }),
            ),
        ),
        (
            "heartbeat too slow",
            with(
                json!({ "A": { "Type": "Task", "Resource": task, "TimeoutSeconds": 10, "HeartbeatSeconds": 10, "End": true } }),
            ),
        ),
        (
            "bad timeout",
            with(json!({ "A": { "Type": "Task", "Resource": task, "TimeoutSeconds": 0, "End": true } })),
        ),
        (
            "ALL not last",
            with(json!({ "A": { "Type": "Task", "Resource": task, "End": true, "Retry": [
            { "ErrorEquals": ["States.ALL"] }, { "ErrorEquals": ["X"] } ] } })),
        ),
        (
            "ALL not alone",
            with(json!({ "A": { "Type": "Task", "Resource": task, "End": true, "Catch": [
            { "ErrorEquals": ["States.ALL", "X"], "Next": "B" } ] }, "B": end() })),
        ),
        (
            "bad retrier",
            with(json!({ "A": { "Type": "Task", "Resource": task, "End": true, "Retry": [
            { "ErrorEquals": [], "IntervalSeconds": 0, "BackoffRate": 0.5, "MaxDelaySeconds": 1, "JitterStrategy": "SOME" } ] } })),
        ),
        (
            "bad variable",
            with(json!({ "A": { "Type": "Pass", "Assign": { "states": 1, "1x": 2 }, "End": true } })),
        ),
        ("no choices", with(json!({ "A": { "Type": "Choice", "Choices": [], "Default": "B" }, "B": end() }))),
        (
            "constant condition of the wrong type",
            with(json!({ "A": { "Type": "Choice", "Choices": [
            { "Condition": "yes", "Next": "B" } ] }, "B": end() })),
        ),
        (
            "two waits",
            with(
                json!({ "A": { "Type": "Wait", "Seconds": 1, "Timestamp": "2025-01-01T00:00:00Z", "End": true } }),
            ),
        ),
        (
            "names are unique in nested states too",
            with(json!({ "A": { "Type": "Map", "End": true, "ItemProcessor": {
            "StartAt": "A", "States": { "A": { "Type": "Pass", "End": true } } } } })),
        ),
        (
            "what is not there yet",
            with(json!({ "A": { "Type": "Map", "End": true, "ItemReader": {}, "ItemProcessor": {
            "StartAt": "B", "States": { "B": { "Type": "Pass", "End": true } } } } })),
        ),
        (
            "out of the map",
            with(json!({ "A": { "Type": "Map", "Next": "C", "ItemProcessor": {
            "StartAt": "B", "States": { "B": { "Type": "Pass", "Next": "C" } } } }, "C": end() })),
        ),
    ];
    let mut told = String::new();
    for (what, definition) in cases {
        told += &format!("{what}\n");
        let found = found(&definition);
        assert!(!found.is_empty(), "{what}");
        for finding in found {
            told += &format!("    {finding}\n");
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn what_is_not_json_is_told() {
    let error = Definition::read("{").unwrap_err();
    assert_eq!(error[0].code, "INVALID_JSON_DESCRIPTION");
}

proptest! {
    /// Whatever the text, reading it ends without a panic.
    #[test]
    fn any_text_can_be_read(text in "\\PC*") {
        let _ = Definition::read(&text);
    }

    /// Nor does it matter what stands where a field's value should.
    #[test]
    fn any_field_can_hold_anything(
        kind in "Pass|Task|Choice|Wait|Succeed|Fail|Parallel|Map",
        field in "Next|End|Output|Assign|Choices|Default|Seconds|Timestamp|Branches|Items|ItemProcessor|Retry|Catch|\
                  Resource|TimeoutSeconds|MaxConcurrency|Error|Arguments|QueryLanguage",
        value in prop_oneof![
            Just(json!(null)), Just(json!(-1)), Just(json!("{% ( %}")), Just(json!([{}, null, [1]])),
            Just(json!({ "StartAt": "A", "States": [] })), Just(json!([{ "Next": 1, "ErrorEquals": [1] }])),
            Just(json!({ "StartAt": 3, "States": { "": null } })), Just(json!(1e300)),
        ],
    ) {
        let mut state = json!({ "Type": kind, "End": true });
        state[&field] = value;
        let _ = Definition::read(&with(json!({ "A": state })).to_string());
    }
}
