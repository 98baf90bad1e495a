//! Commands and their invocations as rows, and as AWS writes them.
//!
//! A command is what was asked of all instances, an invocation is one instance's part. Only what ended is written;
//! "in progress" is known by who is running it (`delivery.rs`), because it ends with this process.

use std::time::Duration;

use rusqlite::Row;
use serde_json::{Value, json};

use crate::clock::{Millis, epoch_seconds, rfc3339};

/// "StandardOutputContent: the first 24,000 characters written by the plugin to stdout", "the first 8,000 characters
/// [...] to stderr" (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetCommandInvocation.html>).
pub(crate) const STDOUT_LIMIT: usize = 24_000;
/// See [`STDOUT_LIMIT`].
pub(crate) const STDERR_LIMIT: usize = 8_000;
/// "Output of the plugin execution", at most 2,500 characters
/// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CommandPlugin.html>).
const PLUGIN_OUTPUT_LIMIT: usize = 2_500;

pub(super) const TABLES: &str = "
    create table if not exists ssm_commands (
        seq integer primary key autoincrement,
        command_id text not null unique,
        document text not null,
        document_version text not null,
        comment text not null,
        parameters text not null,
        instance_ids text not null,
        timeout_seconds integer not null,
        requested_at integer not null,
        expires_at integer not null
    );
    create table if not exists ssm_invocations (
        seq integer not null references ssm_commands (seq) on delete cascade,
        instance_id text not null,
        status text not null,
        details text not null,
        deliver_until integer not null,
        payload text,
        response_code integer not null default -1,
        stdout text not null default '',
        stderr text not null default '',
        started_at integer,
        ended_at integer,
        primary key (seq, instance_id)
    ) without rowid;
    create index if not exists ssm_invocations_pending on ssm_invocations (instance_id) where status = 'Pending';
    create table if not exists ssm_instances (
        instance_id text primary key,
        registered_at integer not null,
        last_ping integer not null
    );
";

/// Where an invocation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Pending,
    InProgress,
    Success,
    Cancelled,
    Failed,
    DeliveryTimedOut,
    ExecutionTimedOut,
}

impl Status {
    /// AWS's `Status`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Success => "Success",
            Self::Cancelled => "Cancelled",
            Self::Failed => "Failed",
            Self::DeliveryTimedOut | Self::ExecutionTimedOut => "TimedOut",
        }
    }

    /// AWS's `StatusDetails`.
    pub(super) fn details(self) -> &'static str {
        match self {
            Self::DeliveryTimedOut => "DeliveryTimedOut",
            Self::ExecutionTimedOut => "ExecutionTimedOut",
            other => other.name(),
        }
    }

    fn from_details(details: &str) -> Self {
        match details {
            "Success" => Self::Success,
            "Cancelled" => Self::Cancelled,
            "Failed" => Self::Failed,
            "DeliveryTimedOut" => Self::DeliveryTimedOut,
            "ExecutionTimedOut" => Self::ExecutionTimedOut,
            _ => Self::Pending,
        }
    }

    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::InProgress)
    }
}

/// One row of `ssm_commands`.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) seq: i64,
    pub(super) command_id: String,
    pub(super) document: String,
    pub(super) document_version: String,
    pub(super) comment: String,
    /// As users may see them.
    pub(super) parameters: Value,
    pub(super) instance_ids: Vec<String>,
    pub(super) timeout_seconds: i64,
    pub(super) requested_at: Millis,
    pub(super) expires_at: Millis,
}

pub(super) const COMMAND_COLUMNS: &str = "c.seq, c.command_id, c.document, c.document_version, c.comment, \
     c.parameters, c.instance_ids, c.timeout_seconds, c.requested_at, c.expires_at";

impl Command {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let parsed = |index| -> rusqlite::Result<Value> {
            let text: String = row.get(index)?;
            Ok(serde_json::from_str(&text).unwrap_or_default())
        };
        let instance_ids = parsed(6)?;
        Ok(Self {
            seq: row.get(0)?,
            command_id: row.get(1)?,
            document: row.get(2)?,
            document_version: row.get(3)?,
            comment: row.get(4)?,
            parameters: parsed(5)?,
            instance_ids: serde_json::from_value(instance_ids).unwrap_or_default(),
            timeout_seconds: row.get(7)?,
            requested_at: row.get(8)?,
            expires_at: row.get(9)?,
        })
    }

    /// AWS's `Command`, with the states its invocations are in.
    pub(super) fn to_json(&self, states: &[Status]) -> Value {
        let overall = overall(states);
        let count = |wanted: fn(&Status) -> bool| states.iter().filter(|state| wanted(state)).count();
        json!({
            "CommandId": self.command_id,
            "DocumentName": self.document,
            "DocumentVersion": self.document_version,
            "Comment": self.comment,
            "ExpiresAfter": epoch_seconds(self.expires_at),
            "Parameters": self.parameters,
            "InstanceIds": self.instance_ids,
            "Targets": [],
            "RequestedDateTime": epoch_seconds(self.requested_at),
            "Status": overall.name(),
            "StatusDetails": overall.details(),
            "OutputS3BucketName": "",
            "OutputS3KeyPrefix": "",
            "MaxConcurrency": "50",
            "MaxErrors": "0",
            "TargetCount": states.len(),
            "CompletedCount": count(|state| !state.is_open()),
            "ErrorCount": count(|state| matches!(state, Status::Failed | Status::ExecutionTimedOut)),
            "DeliveryTimedOutCount": count(|state| *state == Status::DeliveryTimedOut),
            "ServiceRole": "",
            "NotificationConfig": no_notification(),
            "CloudWatchOutputConfig": no_cloudwatch_output(),
            "TimeoutSeconds": self.timeout_seconds,
        })
    }
}

/// A command is open while one invocation is; then the worst of them names it.
pub(super) fn overall(states: &[Status]) -> Status {
    if states.contains(&Status::InProgress) {
        return Status::InProgress;
    }
    if states.contains(&Status::Pending) {
        let begun = states.iter().any(|state| !state.is_open());
        return if begun { Status::InProgress } else { Status::Pending };
    }
    states.iter().copied().max().unwrap_or(Status::Pending)
}

/// One row of `ssm_invocations`.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    pub(super) instance_id: String,
    pub(super) status: Status,
    pub(super) deliver_until: Millis,
    pub(super) response_code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) started_at: Option<Millis>,
    pub(super) ended_at: Option<Millis>,
}

pub(super) const INVOCATION_COLUMNS: &str = "i.instance_id, i.details, i.deliver_until, i.response_code, i.stdout, \
     i.stderr, i.started_at, i.ended_at";

impl Invocation {
    /// Reads the columns that follow the `offset` first.
    pub(super) fn from_row(row: &Row<'_>, offset: usize) -> rusqlite::Result<Self> {
        let details: String = row.get(offset + 1)?;
        Ok(Self {
            instance_id: row.get(offset)?,
            status: Status::from_details(&details),
            deliver_until: row.get(offset + 2)?,
            response_code: row.get(offset + 3)?,
            stdout: row.get(offset + 4)?,
            stderr: row.get(offset + 5)?,
            started_at: row.get(offset + 6)?,
            ended_at: row.get(offset + 7)?,
        })
    }

    /// AWS's answer to `GetCommandInvocation`.
    pub(super) fn to_json(&self, command: &Command) -> Value {
        let elapsed = match (self.started_at, self.ended_at) {
            (Some(start), Some(end)) => {
                let millis = u64::try_from(end - start).unwrap_or_default();
                format!("PT{}S", Duration::from_millis(millis).as_secs_f64())
            }
            _ => String::new(),
        };
        json!({
            "CommandId": command.command_id,
            "InstanceId": self.instance_id,
            "Comment": command.comment,
            "DocumentName": command.document,
            "DocumentVersion": command.document_version,
            "PluginName": PLUGIN,
            "ResponseCode": self.response_code,
            "ExecutionStartDateTime": self.started_at.map(rfc3339).unwrap_or_default(),
            "ExecutionElapsedTime": elapsed,
            "ExecutionEndDateTime": self.ended_at.map(rfc3339).unwrap_or_default(),
            "Status": self.status.name(),
            "StatusDetails": self.status.details(),
            "StandardOutputContent": self.stdout,
            "StandardOutputUrl": "",
            "StandardErrorContent": self.stderr,
            "StandardErrorUrl": "",
            "CloudWatchOutputConfig": no_cloudwatch_output(),
        })
    }

    /// AWS's `CommandInvocation`.
    pub(super) fn to_list_json(&self, command: &Command, with_details: bool) -> Value {
        let mut plugins = Vec::new();
        if with_details {
            let mut output: String = self.stdout.chars().take(PLUGIN_OUTPUT_LIMIT).collect();
            if !self.stderr.is_empty() && output.chars().count() < PLUGIN_OUTPUT_LIMIT {
                output.push_str("\n----------ERROR-------\n");
                output = output.chars().chain(self.stderr.chars()).take(PLUGIN_OUTPUT_LIMIT).collect();
            }
            plugins.push(json!({
                "Name": PLUGIN,
                "Status": self.status.name(),
                "StatusDetails": self.status.details(),
                "ResponseCode": self.response_code,
                "ResponseStartDateTime": self.started_at.map(epoch_seconds),
                "ResponseFinishDateTime": self.ended_at.map(epoch_seconds),
                "Output": output,
                "StandardOutputUrl": "",
                "StandardErrorUrl": "",
                "OutputS3Region": "",
                "OutputS3BucketName": "",
                "OutputS3KeyPrefix": "",
            }));
        }
        json!({
            "CommandId": command.command_id,
            "InstanceId": self.instance_id,
            "InstanceName": "",
            "Comment": command.comment,
            "DocumentName": command.document,
            "DocumentVersion": command.document_version,
            "RequestedDateTime": epoch_seconds(command.requested_at),
            "Status": self.status.name(),
            "StatusDetails": self.status.details(),
            "StandardOutputUrl": "",
            "StandardErrorUrl": "",
            "CommandPlugins": plugins,
            "ServiceRole": "",
            "NotificationConfig": no_notification(),
            "CloudWatchOutputConfig": no_cloudwatch_output(),
        })
    }
}

/// The plugin of every document here.
const PLUGIN: &str = "aws:runShellScript";

fn no_notification() -> Value {
    json!({ "NotificationArn": "", "NotificationEvents": [], "NotificationType": "" })
}

fn no_cloudwatch_output() -> Value {
    json!({ "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_as_bad_as_its_worst_invocation() {
        use Status::{Failed, InProgress, Pending, Success};
        assert_eq!(overall(&[Pending, Pending]), Pending);
        assert_eq!(overall(&[Pending, Success]), InProgress);
        assert_eq!(overall(&[InProgress, Failed]), InProgress);
        assert_eq!(overall(&[Success, Failed, Success]), Failed);
        assert_eq!(overall(&[Success, Success]), Success);
    }
}
