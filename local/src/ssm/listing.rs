//! Looking at commands: `GetCommandInvocation`, `ListCommands`, `ListCommandInvocations`. Newest first.

use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Millis;
use crate::service::AwsError;
use crate::shape::{parse, position};

use super::Ssm;
use super::instances;
use super::invocation::{COMMAND_COLUMNS, Command, INVOCATION_COLUMNS, Invocation, Status, overall};

/// "MaxResults: minimum 1, maximum 50"
/// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListCommands.html>).
const MAX_RESULTS: i64 = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetCommandInvocation {
    command_id: String,
    instance_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    #[serde(default)]
    command_id: Option<String>,
    #[serde(default)]
    instance_id: Option<String>,
    #[serde(default)]
    max_results: Option<i64>,
    #[serde(default)]
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    details: bool,
}

/// AWS writes these two members in lower case.
#[derive(Deserialize, Clone)]
struct Filter {
    key: String,
    value: String,
}

impl Listing {
    fn limit(&self) -> i64 {
        self.max_results.unwrap_or(MAX_RESULTS).clamp(1, MAX_RESULTS)
    }

    fn check(&self) -> Result<(), AwsError> {
        if let Some(id) = &self.instance_id {
            instances::check_id(id)?;
        }
        for filter in &self.filters {
            let known = ["InvokedAfter", "InvokedBefore", "Status", "DocumentName", "ExecutionStage"];
            if !known.contains(&filter.key.as_str()) {
                return Err(AwsError::client(
                    "InvalidFilterKey",
                    format!("The embedded default has no filter {}.", filter.key),
                ));
            }
        }
        Ok(())
    }

    fn admits(&self, command: &Command, status: Status) -> bool {
        self.filters.iter().all(|filter| match filter.key.as_str() {
            "InvokedAfter" => instant(&filter.value).is_none_or(|at| command.requested_at > at),
            "InvokedBefore" => instant(&filter.value).is_none_or(|at| command.requested_at < at),
            "Status" => filter.value == status.name() || filter.value == status.details(),
            "DocumentName" => filter.value == command.document,
            _ => (filter.value == "Executing") == status.is_open(),
        })
    }
}

fn instant(text: &str) -> Option<Millis> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

impl Ssm {
    /// What is true now of an invocation whose row says it is pending.
    fn current(&self, seq: i64, mut invocation: Invocation) -> Invocation {
        if invocation.status == Status::Pending {
            if let Some(started_at) = self.delivery.started_at(&(seq, invocation.instance_id.clone())) {
                invocation.status = Status::InProgress;
                invocation.started_at = Some(started_at);
            } else if invocation.deliver_until <= self.clock.now() {
                invocation.status = Status::DeliveryTimedOut;
            }
        }
        invocation
    }

    pub(super) async fn get_command_invocation(&self, body: Value) -> Result<Value, AwsError> {
        let request: GetCommandInvocation = parse(body)?;
        instances::check_id(&request.instance_id)?;
        let found = self
            .store
            .read(move |tx| {
                tx.prepare_cached(&format!(
                    "select {COMMAND_COLUMNS}, {INVOCATION_COLUMNS} from ssm_commands c
                     join ssm_invocations i on i.seq = c.seq
                     where c.command_id = ?1 and i.instance_id = ?2"
                ))?
                .query_row((request.command_id, request.instance_id), |row| {
                    Ok((Command::from_row(row)?, Invocation::from_row(row, COMMAND_WIDTH)?))
                })
                .optional()
            })
            .await?;
        match found {
            Some((command, invocation)) => Ok(self.current(command.seq, invocation).to_json(&command)),
            None => Err(AwsError::client(
                "InvocationDoesNotExist",
                "An error occurred: the command ID and instance ID you specified did not match any invocations.",
            )),
        }
    }

    pub(super) async fn list_commands(&self, body: Value) -> Result<Value, AwsError> {
        let (listing, page, next) = self.page(body).await?;
        let commands: Vec<Value> = page
            .into_iter()
            .filter_map(|(command, invocations)| {
                let states: Vec<Status> = invocations.iter().map(|invocation| invocation.status).collect();
                listing.admits(&command, overall(&states)).then(|| command.to_json(&states))
            })
            .collect();
        Ok(with_token(json!({ "Commands": commands }), next))
    }

    pub(super) async fn list_command_invocations(&self, body: Value) -> Result<Value, AwsError> {
        let (listing, page, next) = self.page(body).await?;
        let mut invocations = Vec::new();
        for (command, of_command) in page {
            for invocation in of_command {
                let wanted = listing.instance_id.as_ref().is_none_or(|id| *id == invocation.instance_id);
                if wanted && listing.admits(&command, invocation.status) {
                    invocations.push(invocation.to_list_json(&command, listing.details));
                }
            }
        }
        Ok(with_token(json!({ "CommandInvocations": invocations }), next))
    }

    /// A page of commands with their invocations. Filters apply within it, so that a page costs the same whatever
    /// they say; as in AWS, a page may then be short or empty while there is a next one.
    async fn page(
        &self,
        body: Value,
    ) -> Result<(Listing, Vec<(Command, Vec<Invocation>)>, Option<i64>), AwsError> {
        let listing: Listing = parse(body)?;
        listing.check()?;
        let before = match position(listing.next_token.as_deref(), "InvalidNextToken")? {
            0 => i64::MAX,
            seq => seq,
        };
        let limit = listing.limit();
        let (command_id, instance_id) = (listing.command_id.clone(), listing.instance_id.clone());
        let one = command_id.clone();
        let page = self
            .store
            .read(move |tx| {
                let commands: Vec<Command> = tx
                    .prepare_cached(&format!(
                        "select {COMMAND_COLUMNS} from ssm_commands c
                         where c.seq < ?1 and (?2 is null or c.command_id = ?2)
                           and (?3 is null or exists (select 1 from ssm_invocations i
                                                      where i.seq = c.seq and i.instance_id = ?3))
                         order by c.seq desc limit ?4"
                    ))?
                    .query_map((before, command_id, instance_id, limit), Command::from_row)?
                    .collect::<rusqlite::Result<_>>()?;
                commands
                    .into_iter()
                    .map(|command| {
                        let invocations = of_command(tx, command.seq)?;
                        Ok((command, invocations))
                    })
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        if page.is_empty()
            && let Some(id) = one
            && uuid::Uuid::try_parse(&id).is_err()
        {
            return Err(AwsError::client("InvalidCommandId", format!("{id} is not a command id.")));
        }
        let full = i64::try_from(page.len()).unwrap_or(i64::MAX) == limit && listing.command_id.is_none();
        let next = if full { page.last().map(|(command, _)| command.seq) } else { None };
        let page = page
            .into_iter()
            .map(|(command, invocations)| {
                let now = invocations.into_iter().map(|one| self.current(command.seq, one)).collect();
                (command, now)
            })
            .collect();
        Ok((listing, page, next))
    }
}

/// How many columns [`COMMAND_COLUMNS`] names.
const COMMAND_WIDTH: usize = 10;

fn of_command(tx: &Transaction<'_>, seq: i64) -> rusqlite::Result<Vec<Invocation>> {
    tx.prepare_cached(&format!(
        "select {INVOCATION_COLUMNS} from ssm_invocations i where i.seq = ?1 order by i.instance_id"
    ))?
    .query_map([seq], |row| Invocation::from_row(row, 0))?
    .collect()
}

fn with_token(mut reply: Value, next: Option<i64>) -> Value {
    if let Some(next) = next {
        reply["NextToken"] = json!(next.to_string());
    }
    reply
}
