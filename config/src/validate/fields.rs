//! The tables: which keys each object of an item has, and who checks each.

use super::values::{
    count, description, duration, exit_codes, factor, flag, host, job_name, notify_on, one_of, parameters,
    pool, priority, retry_errors, schedule, script_path, scripts, secret_id, stages, tag, text_list, time,
    timezone, topic_arn, workflow_id,
};
use super::{Key, optional, required};
use crate::names;

pub(super) const WORKFLOW: &[Key] = &[
    required("workflow_id", workflow_id),
    optional("workflow_description", description),
    required("workflow_stages", stages),
    optional("execution_flag", flag),
    optional("schedule", schedule),
    optional("schedule_timezone", timezone),
    optional("schedule_start", time),
    optional("schedule_end", time),
    optional("schedule_flexible_minutes", |walk, path, value| {
        count(walk, path, value, 1, names::FLEXIBLE_MINUTES_MAX);
    }),
    optional("overlap", |walk, path, value| one_of(walk, path, value, &["skip", "allow", "queue"])),
    optional("parameters", parameters),
    optional("timeout_seconds", duration),
    optional("host", host),
    optional("secret_id", secret_id),
    optional("pool", pool),
    optional("priority", priority),
    optional("notify", |walk, path, value| super::values::object(walk, path, value, NOTIFY)),
];

pub(super) const TAG: &[Key] = &[required("tag", tag)];

pub(super) const NOTIFY: &[Key] = &[required("topic_arn", topic_arn), optional("on", notify_on)];

pub(super) const STAGE: &[Key] = &[
    optional("stage_description", description),
    optional("execution_flag", flag),
    required("execution_type", |walk, path, value| one_of(walk, path, value, &["sequential", "parallel"])),
    required("scripts", scripts),
    optional("max_concurrency", |walk, path, value| count(walk, path, value, 1, names::CONCURRENCY_MAX)),
    optional("on_failure", |walk, path, value| one_of(walk, path, value, &["stop", "continue"])),
];

pub(super) const SCRIPT: &[Key] = &[
    required("script", script_path),
    optional("job_name", job_name),
    optional("arguments", text_list),
    optional("parameters", parameters),
    optional("timeout_seconds", duration),
    optional("stall_seconds", duration),
    optional("retry", |walk, path, value| super::values::object(walk, path, value, RETRY)),
    optional("success_exit_codes", exit_codes),
    optional("pool", pool),
    optional("priority", priority),
];

pub(super) const RETRY: &[Key] = &[
    optional("max_attempts", |walk, path, value| count(walk, path, value, 1, 20)),
    optional("interval_seconds", |walk, path, value| count(walk, path, value, 0, 86_400)),
    optional("backoff_rate", factor),
    optional("errors", retry_errors),
];
