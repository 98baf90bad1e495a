//! The job request and the job's outcome: what the state machine and the agent say to each other.
//!
//! The request travels as one parameter of the SSM document `Rsqlflow-RunScript`. It is JSON, percent-encoded, then
//! base64url-encoded: the state machine builds it with JSONata, whose `$base64encode` takes bytes and not text, so the
//! percent-encoding keeps what is not ASCII intact. On the wire it is one word of letters, digits, `-`, `_` and `=`: no
//! shell, no quoting, and no configured value can become either.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use crate::names::{self, ParameterNames};
use crate::workflow::Retry;

/// Version of the request this build writes and reads.
pub const VERSION: u32 = 1;

/// Largest encoded request the agent takes, in bytes: that of a state's data in Step Functions. Whoever sends one by Systems
/// Manager has to keep to [`SENT_MAX`].
pub const REQUEST_MAX: usize = 256 * 1024;

/// Longest callback token. <https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html>
pub const TOKEN_MAX: usize = 2_048;

/// Largest encoded request that Systems Manager brings, in bytes: "the content of the document must not exceed 64KB. This
/// quota also includes the content specified for input parameters at runtime"
/// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CreateDocument.html>). 2 KiB are the document's.
pub const SENT_MAX: usize = 62 * 1024;

/// What the agent is asked to run.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Version of this shape; see [`VERSION`].
    pub version: u32,
    /// The callback token. Whoever has it can end the job's task, so it is never shown.
    pub task_token: String,
    /// The workflow.
    pub workflow_id: String,
    /// The run.
    pub workflow_execution_id: String,
    /// The job.
    pub job_name: String,
    /// The script's path below the scripts directory.
    pub script: String,
    /// The script's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Environment variables for the script.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Limit on one attempt in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Limit on silence in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_seconds: Option<u32>,
    /// How failed attempts are repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Exit codes that mean success; 0 when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success_exit_codes: Vec<u8>,
    /// Resource pool of the host that the job runs in; none unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Which of the waiting jobs starts first: higher before lower.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// When the state machine sent it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
    /// Number of the first attempt, above 1 where another host was lost with the job.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub first_attempt: u32,
    /// Secrets Manager id of the warehouse credentials.
    pub secret_id: String,
    /// The task fails when it hears nothing for so long; the agent beats three times as often.
    pub heartbeat_seconds: u32,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

impl std::fmt::Debug for JobRequest {
    /// Without the token, and without values, which may be anything.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobRequest")
            .field("workflow_execution_id", &self.workflow_execution_id)
            .field("job_name", &self.job_name)
            .field("script", &self.script)
            .finish_non_exhaustive()
    }
}

/// Why something is not a job request. The messages never contain any of it.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`REQUEST_MAX`].
    #[error("the job request has {0} bytes, at most {REQUEST_MAX} are taken")]
    TooLarge(usize),
    /// Not base64url.
    #[error("the job request is not base64url")]
    NotBase64,
    /// Not percent-encoded UTF-8.
    #[error("the job request is not percent-encoded UTF-8")]
    NotText,
    /// Not the JSON of a request.
    #[error("the job request is not valid: {0}")]
    NotARequest(String),
    /// From a newer state machine.
    #[error("the job request has version {0}, this agent reads version {VERSION}: upgrade the agent")]
    Version(u64),
    /// A parameter of a name that none may have.
    #[error("the job request's parameter `{name}` {problem}")]
    Parameter {
        /// Its name, `?` where that is no word.
        name: String,
        /// Why not, as the check of an item says it.
        problem: String,
    },
    /// A value that breaks the rules of config items.
    #[error("the job request's {field} {problem}")]
    Value {
        /// Which member.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl JobRequest {
    /// The one word that travels.
    pub fn encode(&self) -> String {
        // Plain strings, numbers and maps with string keys always serialize.
        let json = serde_json::to_string(self).unwrap_or_default();
        BASE64.encode(percent_encode(&json))
    }

    /// Reads what [`JobRequest::encode`] or the state machine wrote, and checks every value again: whoever may send
    /// commands to the host is not thereby trusted. `names` says what parameters may be called on this host.
    ///
    /// # Errors
    /// A [`RequestError`]; none shows any part of the request's values, only the name of a parameter.
    pub fn decode(word: &str, names: &ParameterNames) -> Result<Self, RequestError> {
        let value = open(word)?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(RequestError::Version(version)),
            None => return Err(RequestError::NotARequest("it has no version".into())),
        }
        let request: Self = serde_json::from_value(value).map_err(|error| {
            // serde quotes unknown names and wrong values; the first word says enough and leaks nothing.
            let text = error.to_string();
            let kind = if text.starts_with("unknown field") {
                "it has a member this version does not know"
            } else if text.starts_with("missing field") {
                "a member is missing"
            } else {
                "a member has the wrong type"
            };
            RequestError::NotARequest(kind.into())
        })?;
        request.check(names)?;
        Ok(request)
    }

    /// Checks the names of the parameters alone, for a request that was accepted under other settings, or by an earlier
    /// version.
    ///
    /// # Errors
    /// [`RequestError::Parameter`], as [`JobRequest::decode`] says it.
    pub fn check_parameters(&self, parameter_names: &ParameterNames) -> Result<(), RequestError> {
        for name in self.parameters.keys() {
            if let Some(problem) = parameter_names.problem(name) {
                // Names come from anyone: what is no word is not repeated.
                let name = Some(name.clone()).filter(|name| names::is_word(name));
                return Err(RequestError::Parameter { name: name.unwrap_or_else(|| "?".into()), problem });
            }
        }
        Ok(())
    }

    fn check(&self, parameter_names: &ParameterNames) -> Result<(), RequestError> {
        let value = |field, problem: Option<String>| match problem {
            Some(problem) => Err(RequestError::Value { field, problem }),
            None => Ok(()),
        };
        let token = self.task_token.len();
        // <https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html>
        value("task_token", (!(1..=2048).contains(&token)).then(|| "must have 1 to 2048 characters".into()))?;
        value("workflow_id", names::workflow_id_problem(&self.workflow_id))?;
        value(
            "workflow_execution_id",
            names::execution_name_problem(&self.workflow_execution_id, names::EXECUTION_NAME_MAX),
        )?;
        value("job_name", names::job_name_problem(&self.job_name))?;
        value("script", names::script_path_problem(&self.script))?;
        self.check_parameters(parameter_names)?;
        let nul = |text: &String| text.contains('\0');
        let texts = self.arguments.iter().chain(self.parameters.values());
        value(
            "arguments and parameters",
            texts.clone().any(nul).then(|| "must not contain NUL characters".into()),
        )?;
        value("first_attempt", (self.first_attempt == 0).then(|| "must be above 0".into()))?;
        value("heartbeat_seconds", (self.heartbeat_seconds == 0).then(|| "must be above 0".into()))?;
        value("secret_id", names::secret_id_problem(&self.secret_id))?;
        value("retry", self.retry.as_ref().and_then(Retry::problem).map(Into::into))?;
        value("pool", self.pool.as_deref().and_then(names::pool_name_problem))?;
        let (lowest, highest) = (names::PRIORITIES.start(), names::PRIORITIES.end());
        value(
            "priority",
            (!names::PRIORITIES.contains(&self.priority)).then(|| format!("must be {lowest} to {highest}")),
        )?;
        let sent_at = self.sent_at.as_deref();
        value(
            "sent_at",
            sent_at
                .is_some_and(|at| crate::time::parse(at).is_none())
                .then(|| "is not an RFC 3339 time".into()),
        )
    }

    /// Whether the exit code means success.
    pub fn is_success(&self, code: i32) -> bool {
        if self.success_exit_codes.is_empty() {
            code == 0
        } else {
            u8::try_from(code).is_ok_and(|code| self.success_exit_codes.contains(&code))
        }
    }
}

/// The JSON that travels in a word, whatever it says: no member of it has been looked at.
///
/// # Errors
/// A [`RequestError`] where there is none.
pub fn open(word: &str) -> Result<serde_json::Value, RequestError> {
    if word.len() > REQUEST_MAX {
        return Err(RequestError::TooLarge(word.len()));
    }
    let bytes = BASE64.decode(word.trim()).map_err(|_| RequestError::NotBase64)?;
    let text = percent_decode(&bytes).ok_or(RequestError::NotText)?;
    let mut value = serde_json::from_str(&text)
        .map_err(|error| RequestError::NotARequest(format!("not JSON at column {}", error.column())))?;
    crate::whole::make_whole(&mut value);
    Ok(value)
}

/// The stable codes of failures: `error` of `SendTaskFailure`, and of the audit record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobError {
    /// The script ended with a code that does not mean success.
    #[serde(rename = "Rsql.ExitCode")]
    ExitCode,
    /// A signal that we did not send ended the script.
    #[serde(rename = "Rsql.Signal")]
    Signal,
    /// The attempt passed its `timeout_seconds`.
    #[serde(rename = "Rsql.TimedOut")]
    TimedOut,
    /// The attempt printed nothing for `stall_seconds`.
    #[serde(rename = "Rsql.Stalled")]
    Stalled,
    /// There is no such script, or it is not one the agent may run.
    #[serde(rename = "Rsql.ScriptNotFound")]
    ScriptNotFound,
    /// The script could not be started.
    #[serde(rename = "Rsql.NotStarted")]
    NotStarted,
    /// The agent or its host went away while the script ran.
    #[serde(rename = "Rsql.HostLost")]
    HostLost,
    /// The run was cancelled, or nobody waits for the job any more.
    #[serde(rename = "Rsql.Cancelled")]
    Cancelled,
    /// An operator on the host ended it with `rsqlflow-agent kill`.
    #[serde(rename = "Rsql.Killed")]
    Killed,
    /// The request was not one the agent takes.
    #[serde(rename = "Rsql.InvalidRequest")]
    InvalidRequest,
    /// The host takes no jobs for now: it is drained, its disk is full, or its agent is stopping. Nothing was started.
    #[serde(rename = "Rsql.HostUnavailable")]
    HostUnavailable,
}

impl JobError {
    /// The code as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExitCode => "Rsql.ExitCode",
            Self::Signal => "Rsql.Signal",
            Self::TimedOut => "Rsql.TimedOut",
            Self::Stalled => "Rsql.Stalled",
            Self::ScriptNotFound => "Rsql.ScriptNotFound",
            Self::NotStarted => "Rsql.NotStarted",
            Self::HostLost => "Rsql.HostLost",
            Self::Cancelled => "Rsql.Cancelled",
            Self::Killed => "Rsql.Killed",
            Self::InvalidRequest => "Rsql.InvalidRequest",
            Self::HostUnavailable => "Rsql.HostUnavailable",
        }
    }
}

impl std::fmt::Display for JobError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// `output` of `SendTaskSuccess`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSuccess {
    /// The job.
    pub job_name: String,
    /// Always `completed`.
    pub status: String,
    /// Exit code of the last attempt.
    pub exit_code: i32,
    /// Number of the last attempt.
    pub attempt: u32,
    /// The log stream of the last attempt.
    pub log_stream: String,
    /// One sentence for people.
    pub message: String,
}

/// `cause` of `SendTaskFailure`, as JSON. `error` is a [`JobError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// The job.
    pub job_name: String,
    /// `failed`, `timed_out` or `cancelled`.
    pub status: crate::audit::Status,
    /// Exit code of the last attempt; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Number of the last attempt; 0 where none started.
    pub attempt: u32,
    /// The log stream of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_stream: Option<String>,
    /// What went wrong, for people.
    pub message: String,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

fn percent_encode(text: &str) -> String {
    // The set JSONata's $encodeUrlComponent leaves alone (that of ECMAScript's encodeURIComponent).
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn percent_decode(bytes: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' {
            let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            decoded.push(u8::try_from(value).ok()?);
        } else {
            decoded.push(*byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> JobRequest {
        JobRequest {
            version: VERSION,
            task_token: "token".into(),
            workflow_id: "nightly".into(),
            workflow_execution_id: "nightly-1".into(),
            job_name: "load.sh".into(),
            script: "load.sh".into(),
            arguments: vec![],
            parameters: BTreeMap::new(),
            timeout_seconds: Some(5),
            stall_seconds: None,
            retry: None,
            success_exit_codes: vec![],
            pool: Some("etl".into()),
            priority: -3,
            sent_at: None,
            first_attempt: 1,
            secret_id: "s".into(),
            heartbeat_seconds: 30,
        }
    }

    fn names() -> ParameterNames {
        ParameterNames::default()
    }

    proptest! {
        #[test]
        fn any_value_arrives_unchanged(arguments: Vec<String>, value: String) {
            prop_assume!(!value.contains('\0') && !arguments.iter().any(|a| a.contains('\0')));
            let mut sent = request();
            sent.arguments = arguments;
            sent.parameters.insert("p".into(), value);
            let word = sent.encode();
            prop_assert!(word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=".contains(c)));
            if word.len() <= REQUEST_MAX {
                prop_assert_eq!(JobRequest::decode(&word, &names()).unwrap(), sent);
            }
        }

        #[test]
        fn no_input_panics(word: String) {
            let _ = JobRequest::decode(&word, &names());
        }
    }

    #[test]
    fn a_bad_request_is_told_without_its_values() {
        let word = |json: &str| BASE64.encode(percent_encode(json));
        let mut future = request();
        future.version = 2;
        let mut outside = request();
        outside.script = "../secret-path".into();
        let mut bent = request();
        bent.parameters.insert("LD_PRELOAD".into(), "secret-value".into());
        let (mut pool, mut priority, mut time) = (request(), request(), request());
        pool.pool = Some("secret pool".into());
        priority.priority = 101;
        time.sent_at = Some("secret time".into());
        let mut retry = request();
        retry.retry = Some(Retry { errors: Some(vec![JobError::Cancelled]), ..Retry::default() });
        let unknown = serde_json::to_string(&request()).unwrap().replace("\"script\"", "\"secret_member\"");
        let messages: Vec<String> = [
            "%%%".to_string(),
            word("{"),
            word("{}"),
            future.encode(),
            outside.encode(),
            bent.encode(),
            pool.encode(),
            priority.encode(),
            time.encode(),
            retry.encode(),
            word(&unknown),
            "A".repeat(REQUEST_MAX + 1),
        ]
        .iter()
        .map(|word| JobRequest::decode(word, &names()).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(messages.join("\n"), @r"
        the job request is not base64url
        the job request is not valid: not JSON at column 1
        the job request is not valid: it has no version
        the job request has version 2, this agent reads version 1: upgrade the agent
        the job request's script leaves the scripts directory with `..`
        the job request's parameter `LD_PRELOAD` is not in lower case, and could mean something to a program; rename it to `ld_preload`, here and in the scripts, or list it in `parameter_names` of rsqlflow.toml, on the host as well, and restart its agent
        the job request's pool contains ' '; use letters, digits, - _ .
        the job request's priority must be -100 to 100
        the job request's sent_at is not an RFC 3339 time
        the job request's retry names an error that no attempt may follow
        the job request is not valid: it has a member this version does not know
        the job request has 262145 bytes, at most 262144 are taken
        ");
        assert!(!messages.join("").contains("secret"));
    }

    #[test]
    fn a_request_without_the_optional_members_is_one() {
        let mut plain = request();
        (plain.pool, plain.priority, plain.timeout_seconds) = (None, 0, None);
        let json = serde_json::to_string(&plain).unwrap();
        for member in ["pool", "priority", "sent_at", "retry"] {
            assert!(!json.contains(member), "{json}");
        }
        assert_eq!(JobRequest::decode(&plain.encode(), &names()).unwrap(), plain);
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        let mut request = request();
        request.task_token = "very-secret".into();
        assert!(!format!("{request:?}").contains("very-secret"));
    }
}
