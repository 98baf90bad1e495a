use serde_json::json;

use super::*;
use crate::asl::payload::Payload;
use crate::asl::scope::{ContextObject, ExecutionFacts, Item};

fn with_scope<T>(use_scope: impl FnOnce(&Scope<'_>) -> T) -> T {
    let execution = ExecutionFacts {
        arn: "arn:exec".into(),
        name: "exec".into(),
        role_arn: "arn:role".into(),
        started_ms: 0,
        input: Payload::new(json!({ "top": 1 })),
        machine_arn: "arn:machine".into(),
        machine_name: "machine".into(),
    };
    let items = Payload::new(json!(["a", "b", { "c": 3 }]));
    let context = ContextObject {
        execution: &execution,
        state: "S",
        entered_ms: 1_000,
        retry_count: 2,
        token: Some("secret"),
        item: Some(Item { items, index: 2 }),
    };
    let input = Payload::new(json!({
        "a": { "b": [1, 2, 3] },
        "rows": [{ "n": 1, "k": "x" }, { "n": 2, "k": "y" }, 7],
        "wide": (0..200).map(|n| json!({ "n": n })).collect::<Vec<_>>(),
    }));
    let result = Payload::new(json!("done"));
    let jobs = Payload::new(json!([{ "name": "load", "x": { "y": 1.5 } }]));
    let variables = |name: &str| (name == "jobs").then(|| jobs.clone());
    use_scope(&Scope {
        input: &input,
        result: Some(&result),
        error_output: None,
        context: &context,
        variables: &variables,
        now_ms: 86_400_000,
        seed: 42,
    })
}

fn eval(source: &str) -> Result<Value, String> {
    with_scope(|scope| Expression::parse(source)?.evaluate(scope).map_err(|problem| problem.to_string()))
}

#[test]
fn expressions_see_states_and_variables() {
    for (source, expected) in [
        ("$states.input.a.b", json!([1, 2, 3])),
        ("$states.input.a.b[1]", json!(2)),
        ("$states.input.rows.n", json!([1, 2])),
        ("$states.input.rows[k='y'].n", json!(2)),
        ("$sum($states.input.wide.n)", json!(19_900)),
        ("$count($states.input.wide)", json!(200)),
        ("$states.result", json!("done")),
        ("$states.context.Execution.Input.top", json!(1)),
        ("$states.context.Execution.StartTime", json!("1970-01-01T00:00:00.000Z")),
        ("$states.context.State.RetryCount", json!(2)),
        ("$states.context.Task.Token", json!("secret")),
        ("$states.context.Map.Item.Index", json!(2)),
        ("$states.context.Map.Item.Value.c", json!(3)),
        ("$jobs[0].name", json!("load")),
        ("$jobs.x.y", json!(1.5)),
        ("$jobs[$states.context.Map.Item.Index - 2].name", json!("load")),
        ("{'all': $states.context.Execution}.all.Name", json!("exec")),
        ("$merge([{'a': 1}, $states.input.a]).b[2]", json!(3)),
        ("$exists($states.errorOutput)", json!(false)),
        ("10 / 4", json!(2.5)),
        ("10 / 5", json!(2)),
        ("($f := function($n) { $n < 2 ? 1 : $n * $f($n - 1) }; $f(5))", json!(120)),
        ("[]", json!([])),
        ("null", json!(null)),
    ] {
        assert_eq!(eval(source), Ok(expected), "{source}");
    }
}

#[test]
fn the_added_functions_work() {
    for (source, expected) in [
        ("$partition([1,2,3,4,5], 2)", json!([[1, 2], [3, 4], [5]])),
        ("$range(0, 10, 5)", json!([0, 5, 10])),
        ("$range(3, 1, 1)", json!([])),
        ("$hash('abc', 'MD5')", json!("900150983cd24fb0d6963f7d28e17f72")),
        ("$hash('abc', 'SHA-1')", json!("a9993e364706816aba3e25717850c26c9cd0d89d")),
        ("$substring($hash('abc', 'SHA-256'), 0, 8)", json!("ba7816bf")),
        ("$parse('{\"a\": [1]}').a", json!([1])),
        ("$millis()", json!(86_400_000)),
        ("$now()", json!("1970-01-02T00:00:00.000Z")),
        ("$now('[Y0001]-[M01]-[D01]')", json!("1970-01-02")),
        ("$random(7) = $random(7)", json!(true)),
        ("($r := $random(); $r >= 0 and $r < 1)", json!(true)),
        ("$length($uuid())", json!(36)),
        ("$uuid() = $uuid()", json!(false)),
    ] {
        assert_eq!(eval(source), Ok(expected), "{source}");
    }
    assert_eq!(eval("[$uuid(), $random()]"), eval("[$uuid(), $random()]"), "a scope fixes chance");
}

#[test]
fn what_goes_wrong_is_told() {
    assert_eq!(eval("$states.input.missing"), Err("returned nothing (undefined).".into()));
    assert_eq!(eval("$nobody"), Err("returned nothing (undefined).".into()));
    assert_eq!(eval("$"), Err("returned nothing (undefined).".into()));
    assert_eq!(eval("$$.a"), Err("returned nothing (undefined).".into()));
    assert!(eval("'a' + 1").unwrap_err().starts_with("threw an error during evaluation. T2001"));
    assert!(eval("$eval('1')").unwrap_err().contains("$parse"));
    assert!(eval("$error('boom')").unwrap_err().contains("boom"));
    assert!(eval("$string").unwrap_err().contains("function"));
    assert!(eval("1 +").is_err());
}

#[test]
fn a_runaway_expression_ends() {
    assert!(eval("($f := function($n) { 1 + $f($n + 1) }; $f(0))").is_err());
    assert!(eval("($f := function($n) { $f($n + 1) }; $f(0))").is_err());
    assert!(eval("$count([1..100000000])").is_err());
}
