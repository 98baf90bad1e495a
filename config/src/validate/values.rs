//! The checks of single values. Each adds what is wrong and what would be right, and never stops the walk.

use serde_json::Value;

use super::fields::{SCRIPT, STAGE};
use super::{Key, Walk, kind, unknown};
use crate::job::JobError;
use crate::retry::Retry;
use crate::{names, schedule as expressions};

pub(super) fn object(walk: &mut Walk, path: &str, value: &Value, keys: &[Key]) {
    match value {
        Value::Object(map) => walk.object(path, map, keys),
        other => walk.add(path, format!("must be an object, is {}", kind(other))),
    }
}

fn with_text(walk: &mut Walk, path: &str, value: &Value, problem: impl FnOnce(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(problem) = problem(text) {
                walk.add(path, problem);
            }
        }
        other => walk.add(path, format!("must be text, is {}", kind(other))),
    }
}

fn nul(text: &str) -> Option<String> {
    text.contains('\0').then(|| "must not contain NUL characters".into())
}

pub(super) fn text(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, nul);
}

/// A sentence for people.
pub(super) fn description(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, crate::visible::sentence_problem);
}

pub(super) fn secret_id(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, names::secret_id_problem);
}

pub(super) fn text_list(walk: &mut Walk, path: &str, value: &Value) {
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                text(walk, &format!("{path}[{at}]"), item);
            }
        }
        other => walk.add(path, format!("must be a list of texts, is {}", kind(other))),
    }
}

pub(super) fn workflow_id(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, names::workflow_id_problem);
}

pub(super) fn job_name(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, names::job_name_problem);
}

pub(super) fn pool(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, names::pool_name_problem);
}

pub(super) fn priority(walk: &mut Walk, path: &str, value: &Value) {
    let (lowest, highest) = (*names::PRIORITIES.start(), *names::PRIORITIES.end());
    match value.as_i64() {
        Some(number) if (i64::from(lowest)..=i64::from(highest)).contains(&number) => {}
        Some(number) => walk.add(path, format!("is {number}, must be {lowest} to {highest}")),
        None => {
            walk.add(path, format!("must be a whole number from {lowest} to {highest}, is {value}"));
        }
    }
}

pub(super) fn script_path(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, |text| {
        // A script without a job_name is its own job's name.
        names::script_path_problem(text).or_else(|| names::job_name_problem(text))
    });
}

pub(super) fn flag(walk: &mut Walk, path: &str, value: &Value) {
    match value {
        Value::String(text) if text.eq_ignore_ascii_case("y") || text.eq_ignore_ascii_case("n") => {}
        // A `yes` that switches a stage off is what nobody means.
        Value::String(text) => walk.add(path, format!("is `{text}`, must be \"y\" or \"n\"")),
        Value::Bool(_) => walk.add(path, "must be text: write \"y\" or \"n\" in quotes"),
        other => walk.add(path, format!("must be \"y\" or \"n\", is {}", kind(other))),
    }
}

pub(super) fn one_of(walk: &mut Walk, path: &str, value: &Value, allowed: &[&str]) {
    with_text(walk, path, value, |text| {
        (!allowed.contains(&text)).then(|| format!("is `{text}`, must be {}", allowed.join(" or ")))
    });
}

pub(super) fn schedule(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, expressions::problem);
}

pub(super) fn timezone(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, |name| {
        expressions::timezone_problem(name).map(|problem| format!("`{name}` {problem}"))
    });
}

pub(super) fn time(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, |text| {
        crate::time::parse(text).is_none().then(|| {
            format!(
                "`{text}` is not a time with its zone; write for instance 2026-12-01T00:00:00Z or ...+01:00"
            )
        })
    });
}

pub(super) fn host(walk: &mut Walk, path: &str, value: &Value) {
    let id = |walk: &mut Walk, path: &str, value: &Value| {
        with_text(walk, path, value, crate::names::instance_id_problem);
    };
    match value {
        Value::Array(ids) if ids.is_empty() => walk.add(path, "is empty: name a host, or leave it out"),
        Value::Array(ids) => {
            for (at, one) in ids.iter().enumerate() {
                id(walk, &format!("{path}[{at}]"), one);
                if ids[..at].contains(one) {
                    walk.add(&format!("{path}[{at}]"), "is named before");
                }
            }
        }
        Value::Object(_) => object(walk, path, value, super::fields::TAG),
        value => id(walk, path, value),
    }
}

pub(super) fn tag(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, crate::names::tag_problem);
}

pub(super) fn topic_arn(walk: &mut Walk, path: &str, value: &Value) {
    with_text(walk, path, value, |arn| {
        let ok =
            arn.starts_with("arn:") && arn.split(':').count() == 6 && arn.split(':').nth(2) == Some("sns");
        (!ok).then(|| format!("`{arn}` is not the ARN of an SNS topic, arn:aws:sns:REGION:ACCOUNT:TOPIC"))
    });
}

pub(super) fn notify_on(walk: &mut Walk, path: &str, value: &Value) {
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                one_of(walk, &format!("{path}[{at}]"), item, &["completed", "failed", "timed_out"]);
            }
        }
        other => walk.add(path, format!("must be a list, is {}", kind(other))),
    }
}

pub(super) fn retry_errors(walk: &mut Walk, path: &str, value: &Value) {
    let known = Retry::POSSIBLE.map(JobError::as_str);
    match value {
        Value::Array(items) if items.is_empty() => {
            walk.add(path, "is empty: no failure would be followed by another attempt; leave out the retry");
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let is_code = serde_json::from_value::<JobError>(item.clone()).is_ok();
                with_text(walk, &format!("{path}[{at}]"), item, |code| match code {
                    code if known.contains(&code) => None,
                    _ if is_code => Some(format!(
                        "`{code}` is never followed by another attempt; name {}",
                        known.join(", ")
                    )),
                    _ => Some(unknown("error", code, &known)),
                });
            }
        }
        other => walk.add(path, format!("must be a list of error codes, is {}", kind(other))),
    }
}

pub(super) fn count(walk: &mut Walk, path: &str, value: &Value, min: u32, max: u32) {
    match value.as_u64() {
        Some(number) if (u64::from(min)..=u64::from(max)).contains(&number) => {}
        Some(number) => walk.add(path, format!("is {number}, must be {min} to {max}")),
        None => walk.add(path, format!("must be a whole number from {min} to {max}, is {value}")),
    }
}

pub(super) fn duration(walk: &mut Walk, path: &str, value: &Value) {
    count(walk, path, value, 1, crate::run::TIMEOUT_SECONDS_MAX);
}

pub(super) fn factor(walk: &mut Walk, path: &str, value: &Value) {
    if !value.as_f64().is_some_and(|number| (1.0..=100.0).contains(&number)) {
        walk.add(path, format!("must be a number from 1 to 100, is {value}"));
    }
}

pub(super) fn exit_codes(walk: &mut Walk, path: &str, value: &Value) {
    match value {
        Value::Array(items) if items.is_empty() => {
            walk.add(path, "is empty: no exit code would mean success; leave it out for 0");
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                count(walk, &format!("{path}[{at}]"), item, 0, 255);
            }
        }
        other => walk.add(path, format!("must be a list of exit codes, is {}", kind(other))),
    }
}

pub(super) fn parameters(walk: &mut Walk, path: &str, value: &Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let here = format!("{path}.{name}");
                if let Some(problem) = walk.names.problem(name) {
                    walk.add(&here, problem);
                }
                match value {
                    Value::String(text) => {
                        if let Some(problem) = nul(text) {
                            walk.add(&here, problem);
                        }
                    }
                    Value::Number(_) | Value::Bool(_) => {
                        walk.add(&here, format!("must be text: write \"{value}\" in quotes"));
                    }
                    other => walk.add(&here, format!("must be text, is {}", kind(other))),
                }
            }
        }
        other => walk.add(path, format!("must be an object of names and texts, is {}", kind(other))),
    }
}

pub(super) fn stages(walk: &mut Walk, path: &str, value: &Value) {
    match value {
        Value::Array(items) if items.is_empty() => {
            walk.add(path, "is empty: a workflow needs at least one stage")
        }
        Value::Array(items) => {
            if items.len() > names::STAGES_MAX {
                walk.add(
                    path,
                    format!("has {} stages, at most {} are allowed", items.len(), names::STAGES_MAX),
                );
            }
            for (at, item) in items.iter().enumerate() {
                object(walk, &format!("{path}[{at}]"), item, STAGE);
            }
        }
        other => walk.add(path, format!("must be a list of stages, is {}", kind(other))),
    }
}

pub(super) fn scripts(walk: &mut Walk, path: &str, value: &Value) {
    match value {
        Value::Array(items) if items.is_empty() => {
            walk.add(
                path,
                "is empty: a stage needs at least one script; switch it off with execution_flag n",
            );
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                script(walk, &format!("{path}[{at}]"), item);
            }
        }
        other => walk.add(path, format!("must be a list of scripts, is {}", kind(other))),
    }
}

fn script(walk: &mut Walk, path: &str, value: &Value) {
    let job = match value {
        Value::String(_) => {
            script_path(walk, path, value);
            value.as_str()
        }
        Value::Object(map) => {
            walk.object(path, map, SCRIPT);
            map.get("job_name")
                .filter(|name| !name.is_null())
                .or_else(|| map.get("script"))
                .and_then(Value::as_str)
        }
        other => {
            walk.add(path, format!("must be a script's path or an object with a script, is {}", kind(other)));
            None
        }
    };
    if let Some(job) = job {
        walk.jobs.entry(job.to_string()).or_default().push(path.to_string());
    }
}
