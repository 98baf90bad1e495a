//! What may be called what, and the limits of the services that carry the names.

mod parameters;

pub use parameters::ParameterNames;
pub(crate) use parameters::is_word;

use crate::visible;

/// Longest Step Functions execution name.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>
pub const EXECUTION_NAME_MAX: usize = 80;

/// Longest run id: the execution of stage 123 is called `<run>-123`, and must fit [`EXECUTION_NAME_MAX`].
pub const RUN_ID_MAX: usize = EXECUTION_NAME_MAX - 4;

/// Longest workflow id: a generated run id adds 23 characters (`-20261121-030000-4f2a1c`).
pub const WORKFLOW_ID_MAX: usize = RUN_ID_MAX - 23;

/// Longest key of an item, in bytes: of a partition key. No item has a longer one, and asking for one is an error.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
pub const KEY_MAX: usize = 2_048;

/// Whether anything may be stored under `key`.
pub fn may_be_key(key: &str) -> bool {
    (1..=KEY_MAX).contains(&key.len())
}

/// Longest job name. The log stream `<run>/<job>/<attempt>` stays well inside the service's 512 characters.
pub const JOB_NAME_MAX: usize = 256;

/// Longest name of a resource pool.
pub const POOL_NAME_MAX: usize = 64;

/// Lowest and highest priority of a job.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;

/// Longest flexible time window of a schedule, in minutes.
/// <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_FlexibleTimeWindow.html>
pub const FLEXIBLE_MINUTES_MAX: u32 = 1_440;

/// Most stages of a workflow: their number has three digits in the stage's execution name.
pub const STAGES_MAX: usize = 999;

/// Most scripts at once in a parallel stage: an inline Map runs at most 40 iterations at a time.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html>
pub const CONCURRENCY_MAX: u32 = 40;

/// Largest input of a run, in bytes. Step Functions takes 262,144 for any payload
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>), and what the master is given back of a stage
/// is the stage's input, its output and what describes its execution. More than fits is an error that nothing can catch
/// (`States.DataLimitExceeded`), so 6 KB are kept for the rest.
pub const RUN_INPUT_MAX: usize = 256_000;

/// Largest DynamoDB item, in bytes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
pub const ITEM_MAX: usize = 409_600;

/// Why `name` cannot be an execution name (and so not a run id), if it cannot.
pub fn execution_name_problem(name: &str, max: usize) -> Option<String> {
    const FORBIDDEN: &str = "<>{}[]?*\"#%\\^|~`$&,;:/";
    if name.is_empty() {
        return Some("must not be empty".into());
    }
    let length = name.chars().count();
    if length > max {
        return Some(format!("has {length} characters, at most {max} are allowed"));
    }
    if let Some(problem) = visible::name_problem(name) {
        return Some(problem);
    }
    name.chars().find(|c| c.is_whitespace() || FORBIDDEN.contains(*c)).map(|c| {
        format!("contains {c:?}, which Step Functions does not allow in names; use letters, digits, - _ .")
    })
}

/// Why `id` cannot be a workflow id, if it cannot.
pub fn workflow_id_problem(id: &str) -> Option<String> {
    if let Some(problem) = execution_name_problem(id, WORKFLOW_ID_MAX) {
        return Some(problem);
    }
    id.chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c)))
        .map(|c| format!("contains {c:?}; use letters, digits, - _ ."))
}

/// Why `name` cannot be a job name, if it cannot.
pub fn job_name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("must not be empty".into());
    }
    if name.len() > JOB_NAME_MAX {
        return Some(format!("has {} bytes, at most {JOB_NAME_MAX} are allowed", name.len()));
    }
    if let Some(problem) = visible::name_problem(name) {
        return Some(problem);
    }
    name.chars()
        .find(|c| *c == ':' || *c == '*')
        .map(|c| format!("contains {c:?}, which CloudWatch Logs does not allow in stream names"))
}

/// What CloudWatch Logs would have against a log group's name.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html>
pub fn log_group_problem(name: &str) -> Option<String> {
    const MAX: usize = 512;
    if name.is_empty() || name.len() > MAX {
        return Some(format!("has {} bytes, 1 to {MAX} are allowed", name.len()));
    }
    let wrong = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-/#".contains(*c));
    wrong.map(|c| format!("contains {c:?}; letters, digits and . _ - / # are allowed"))
}

/// Why `name` cannot be a resource pool, if it cannot. It stands in settings files, tables and metrics.
pub fn pool_name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("must not be empty".into());
    }
    let length = name.chars().count();
    if length > POOL_NAME_MAX {
        return Some(format!("has {length} characters, at most {POOL_NAME_MAX} are allowed"));
    }
    name.chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c)))
        .map(|c| format!("contains {c:?}; use letters, digits, - _ ."))
}

/// Longest tag of a host.
const TAG_MAX: usize = 64;

/// Why `tag` cannot be a host's tag, if it cannot: one word, because a host's tags stand side by side.
pub fn tag_problem(tag: &str) -> Option<String> {
    if tag.is_empty() || tag.chars().count() > TAG_MAX {
        return Some(format!("must have 1 to {TAG_MAX} characters"));
    }
    tag.chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "-_.=:/".contains(*c)))
        .map(|c| format!("`{tag}` contains {c:?}; use letters, digits, - _ . = : /"))
}

/// Why `id` cannot be an instance id, if it cannot.
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html>
pub fn instance_id_problem(id: &str) -> Option<String> {
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let ok = id.strip_prefix("i-").is_some_and(|rest| [8, 17].contains(&rest.len()) && word(rest))
        || id.strip_prefix("mi-").is_some_and(|rest| rest.len() == 17 && word(rest));
    (!ok).then(|| {
        format!("`{id}` is not an instance id; write i- and 8 or 17 characters, or mi- and 17 characters")
    })
}

/// Why `id` cannot be the id of a secret, if it cannot: a name or an ARN. Scripts get it as an argument, which must not
/// look like an option.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
pub fn secret_id_problem(id: &str) -> Option<String> {
    const MAX: usize = 2_048;
    if id.is_empty() || id.len() > MAX {
        return Some(format!("has {} bytes, 1 to {MAX} are allowed", id.len()));
    }
    if id.starts_with('-') {
        return Some("begins with -, which programs take for an option".into());
    }
    id.chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "/_+=.@-:".contains(*c)))
        .map(|c| format!("contains {c:?}; use letters, digits and / _ + = . @ - (and : in an ARN)"))
}

/// Why `path` cannot be a script, if it cannot.
///
/// Only what can be seen without the host: the agent checks the file itself, symlinks included, before it runs it.
pub fn script_path_problem(path: &str) -> Option<String> {
    if path.trim().is_empty() {
        return Some("must not be empty".into());
    }
    if path.starts_with('/') {
        return Some("is absolute; write it relative to the scripts directory".into());
    }
    if path.split('/').any(|part| part == "..") {
        return Some("leaves the scripts directory with `..`".into());
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return Some("has an empty or `.` component; write the plain path".into());
    }
    if let Some(problem) = visible::name_problem(path) {
        return Some(problem);
    }
    if path.len() > 1024 {
        return Some(format!("has {} bytes, at most 1024 are allowed", path.len()));
    }
    None
}

/// The log stream of one attempt.
pub fn log_stream(run: &str, job: &str, attempt: u32) -> String {
    format!("{run}/{job}/{attempt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_services() {
        assert_eq!(execution_name_problem("night-2026_11.21", 80), None);
        assert!(execution_name_problem("a:b", 80).unwrap().contains("':'"));
        assert!(execution_name_problem(&"x".repeat(81), 80).unwrap().contains("81 characters"));
        assert_eq!(job_name_problem("dim/größe laden.sh"), None);
        assert!(job_name_problem("a:b").is_some());
        assert!(workflow_id_problem("größe").is_some());
        assert!(execution_name_problem("a\u{202e}b", 80).unwrap().contains("U+202E"));
        assert!(job_name_problem("load\u{200b}.sh").unwrap().contains("U+200B"));
        assert_eq!(
            secret_id_problem("arn:aws:secretsmanager:us-east-1:000000000000:secret:a/b+c=d.e@f-1"),
            None
        );
        for bad in ["", "--help", "a b", "a;b", "a\nb", "größe"] {
            assert!(secret_id_problem(bad).is_some(), "{bad:?}");
        }
        assert_eq!(pool_name_problem("wlm_etl-2.large"), None);
        for bad in ["", "a b", "größe", &"x".repeat(65)] {
            assert!(pool_name_problem(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn scripts_stay_in_their_directory() {
        assert_eq!(script_path_problem("dim/load it.sh"), None);
        for bad in ["", "/etc/passwd", "../x.sh", "a/../../x", "a//b", "./a", "a\nb"] {
            assert!(script_path_problem(bad).is_some(), "{bad:?}");
        }
    }
}
