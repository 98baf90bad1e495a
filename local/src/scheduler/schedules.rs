//! The actions on schedules.
//!
//! An update replaces the whole schedule, as AWS's does: what a request leaves out goes back to its default. Times that
//! have passed before a schedule was made, changed or enabled are never fired.

use rusqlite::OptionalExtension;
use serde::Deserialize;
use serde_json::{Value, json};

use super::definition::{Definition, check_name, one_of};
use super::{DEFAULT_GROUP, Scheduler, conflict, is_group, not_found};
use crate::clock::{Millis, epoch_seconds};
use crate::service::AwsError;
use crate::shape::{parse, position};

/// Schedules of one page, at most: <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ListSchedules.html>.
pub(super) const PAGE: i64 = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
    #[serde(default)]
    group_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listing {
    #[serde(default)]
    group_name: Option<String>,
    #[serde(default)]
    pub(super) name_prefix: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    pub(super) next_token: Option<String>,
    #[serde(default)]
    pub(super) max_results: Option<i64>,
}

/// A row: definition, created, modified.
type Row = (String, Millis, Millis);

impl Named {
    fn read(body: Value) -> Result<(String, String), AwsError> {
        let Self { name, group_name } = parse(body)?;
        let group = group_name.unwrap_or_else(|| DEFAULT_GROUP.into());
        check_name("name", &name)?;
        check_name("groupName", &group)?;
        Ok((group, name))
    }
}

impl Listing {
    /// Rows of a page, and how many come before it.
    pub(super) fn page(&self) -> Result<(i64, i64), AwsError> {
        let skip = position(self.next_token.as_deref(), "ValidationException")?;
        match self.max_results.unwrap_or(PAGE) {
            size @ 1..=PAGE => Ok((size, skip)),
            size => Err(crate::shape::constraint(
                "maxResults",
                &size.to_string(),
                "Member must have value between 1 and 100",
            )),
        }
    }
}

impl Scheduler {
    pub(super) async fn create_schedule(&self, body: Value) -> Result<Value, AwsError> {
        let now = self.clock.now();
        let token = body["ClientToken"].as_str().map(str::to_owned);
        let definition = Definition::read(body, now)?;
        let arn = self.schedule_arn(&definition.group_name, &definition.name);
        let text = text_of(&definition)?;
        self.store
            .durable(move |tx| {
                let Definition { name, group_name: group, .. } = &definition;
                if !is_group(tx, group)? {
                    return Ok(Err(not_found("Schedule group", group)));
                }
                let before: Option<Option<String>> = tx
                    .query_row(
                        "select client_token from scheduler_schedules where group_name = ?1 and name = ?2",
                        (group, name),
                        |row| row.get(0),
                    )
                    .optional()?;
                match before {
                    // The same request again, whose answer was lost.
                    Some(before) if before.is_some() && before == token => Ok(Ok(())),
                    Some(_) => Ok(Err(conflict("Schedule", name))),
                    None => tx
                        .execute(
                            "insert into scheduler_schedules values (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
                            (group, name, text, token, now, before_this_second(now)),
                        )
                        .map(|_| Ok(())),
                }
            })
            .await??;
        self.changed.notify_one();
        Ok(json!({ "ScheduleArn": arn }))
    }

    pub(super) async fn update_schedule(&self, body: Value) -> Result<Value, AwsError> {
        let now = self.clock.now();
        let definition = Definition::read(body, now)?;
        let arn = self.schedule_arn(&definition.group_name, &definition.name);
        let text = text_of(&definition)?;
        self.store
            .durable(move |tx| {
                let Definition { name, group_name: group, .. } = &definition;
                if !is_group(tx, group)? {
                    return Ok(Err(not_found("Schedule group", group)));
                }
                let changed = tx.execute(
                    "update scheduler_schedules
                     set definition = ?3, modified_at = ?4, fired_through = max(fired_through, ?5)
                     where group_name = ?1 and name = ?2",
                    (group, name, text, now, before_this_second(now)),
                )?;
                Ok(if changed == 0 { Err(not_found("Schedule", name)) } else { Ok(()) })
            })
            .await??;
        self.changed.notify_one();
        Ok(json!({ "ScheduleArn": arn }))
    }

    pub(super) async fn get_schedule(&self, body: Value) -> Result<Value, AwsError> {
        let (group, name) = Named::read(body)?;
        let arn = self.schedule_arn(&group, &name);
        let (text, created, modified) = self
            .store
            .read(move |tx| {
                if !is_group(tx, &group)? {
                    return Ok(Err(not_found("Schedule group", &group)));
                }
                let row: Option<Row> = tx
                    .query_row(
                        "select definition, created_at, modified_at from scheduler_schedules
                         where group_name = ?1 and name = ?2",
                        (&group, &name),
                        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                    )
                    .optional()?;
                Ok(row.ok_or_else(|| not_found("Schedule", &name)))
            })
            .await??;
        let mut reply: Value = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
        reply["Arn"] = arn.into();
        reply["CreationDate"] = epoch_seconds(created);
        reply["LastModificationDate"] = epoch_seconds(modified);
        Ok(reply)
    }

    pub(super) async fn delete_schedule(&self, body: Value) -> Result<Value, AwsError> {
        let (group, name) = Named::read(body)?;
        self.store
            .durable(move |tx| {
                if !is_group(tx, &group)? {
                    return Ok(Err(not_found("Schedule group", &group)));
                }
                let gone = tx.execute(
                    "delete from scheduler_schedules where group_name = ?1 and name = ?2",
                    (&group, &name),
                )?;
                Ok(if gone == 0 { Err(not_found("Schedule", &name)) } else { Ok(()) })
            })
            .await??;
        self.changed.notify_one();
        Ok(json!({}))
    }

    pub(super) async fn list_schedules(&self, body: Value) -> Result<Value, AwsError> {
        let listing: Listing = parse(body)?;
        let (size, skip) = listing.page()?;
        if let Some(state) = &listing.state {
            one_of("state", state, &["ENABLED", "DISABLED"])?;
        }
        let place = self.place.clone();
        let (rows, more) = self
            .store
            .read(move |tx| {
                if let Some(group) = &listing.group_name
                    && !is_group(tx, group)?
                {
                    return Ok(Err(not_found("Schedule group", group)));
                }
                let mut rows: Vec<Value> = tx
                    .prepare_cached(
                        "select group_name, name, created_at, modified_at,
                                definition ->> '$.State', definition ->> '$.Target.Arn'
                         from scheduler_schedules
                         where (?1 is null or group_name = ?1)
                           and (?2 is null or substr(name, 1, length(?2)) = ?2)
                           and (?3 is null or definition ->> '$.State' = ?3)
                         order by group_name, name limit ?4 offset ?5",
                    )?
                    .query_map(
                        (&listing.group_name, &listing.name_prefix, &listing.state, size + 1, skip),
                        |row| {
                            let (group, name): (String, String) = (row.get(0)?, row.get(1)?);
                            Ok(json!({
                                "Arn": super::schedule_arn(&place, &group, &name),
                                "GroupName": group,
                                "Name": name,
                                "CreationDate": epoch_seconds(row.get(2)?),
                                "LastModificationDate": epoch_seconds(row.get(3)?),
                                "State": row.get::<_, String>(4)?,
                                "Target": { "Arn": row.get::<_, String>(5)? },
                            }))
                        },
                    )?
                    .collect::<rusqlite::Result<_>>()?;
                let more = rows.len() > usize::try_from(size).unwrap_or(usize::MAX);
                rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                Ok(Ok((rows, more)))
            })
            .await??;
        let mut reply = json!({ "Schedules": rows });
        if more {
            reply["NextToken"] = json!((skip + size).to_string());
        }
        Ok(reply)
    }
}

fn text_of(definition: &Definition) -> Result<String, AwsError> {
    serde_json::to_string(definition).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> AwsError {
    AwsError::server(format!("a schedule cannot be read: {error}"))
}

/// Scheduled times are whole seconds: that of this second is still to come.
fn before_this_second(now: Millis) -> Millis {
    now - now.rem_euclid(1_000) - 1
}
