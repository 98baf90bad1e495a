//! The actions on schedule groups. A group that is deleted is gone at once, and its schedules with it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::definition::check_name;
use super::schedules::Listing;
use super::{DEFAULT_GROUP, Scheduler, conflict, is_group, not_found};
use crate::clock::{Millis, epoch_seconds};
use crate::place::Place;
use crate::service::AwsError;
use crate::shape::parse;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

impl Named {
    fn read(body: Value) -> Result<String, AwsError> {
        let Self { name } = parse(body)?;
        check_name("name", &name)?;
        Ok(name)
    }
}

impl Scheduler {
    pub(super) async fn create_group(&self, body: Value) -> Result<Value, AwsError> {
        let name = Named::read(body)?;
        let (arn, now) = (group_arn(&self.place, &name), self.clock.now());
        self.store
            .durable(move |tx| {
                let made =
                    tx.execute("insert or ignore into scheduler_groups values (?1, ?2)", (&name, now))?;
                Ok(if made == 0 { Err(conflict("Schedule group", &name)) } else { Ok(()) })
            })
            .await??;
        Ok(json!({ "ScheduleGroupArn": arn }))
    }

    pub(super) async fn get_group(&self, body: Value) -> Result<Value, AwsError> {
        let name = body["Name"].as_str().unwrap_or(DEFAULT_GROUP).to_owned();
        check_name("name", &name)?;
        let place = self.place.clone();
        self.store
            .read(move |tx| {
                if !is_group(tx, &name)? {
                    return Ok(Err(not_found("Schedule group", &name)));
                }
                let created = tx.query_row(
                    "select created_at from scheduler_groups where name = ?1",
                    [&name],
                    |row| row.get(0),
                )?;
                Ok(Ok(shown(&place, &name, created)))
            })
            .await?
    }

    pub(super) async fn delete_group(&self, body: Value) -> Result<Value, AwsError> {
        let name = Named::read(body)?;
        if name == DEFAULT_GROUP {
            return Err(AwsError::validation("The default schedule group cannot be deleted."));
        }
        self.store
            .durable(move |tx| {
                let gone = tx.execute("delete from scheduler_groups where name = ?1", [&name])?;
                Ok(if gone == 0 { Err(not_found("Schedule group", &name)) } else { Ok(()) })
            })
            .await??;
        self.changed.notify_one();
        Ok(json!({}))
    }

    pub(super) async fn list_groups(&self, body: Value) -> Result<Value, AwsError> {
        let listing: Listing = parse(body)?;
        let (size, skip) = listing.page()?;
        let place = self.place.clone();
        let mut groups: Vec<Value> = self
            .store
            .read(move |tx| {
                tx.prepare_cached(
                    "select name, created_at from scheduler_groups
                     where ?1 is null or substr(name, 1, length(?1)) = ?1 order by name limit ?2 offset ?3",
                )?
                .query_map((listing.name_prefix, size + 1, skip), |row| {
                    Ok(shown(&place, &row.get::<_, String>(0)?, row.get(1)?))
                })?
                .collect()
            })
            .await?;
        let page = usize::try_from(size).unwrap_or(usize::MAX);
        let more = groups.len() > page;
        groups.truncate(page);
        let mut reply = json!({ "ScheduleGroups": groups });
        if more {
            reply["NextToken"] = json!((skip + size).to_string());
        }
        Ok(reply)
    }
}

fn group_arn(place: &Place, name: &str) -> String {
    place.arn("scheduler", &format!("schedule-group/{name}"))
}

fn shown(place: &Place, name: &str, created: Millis) -> Value {
    json!({
        "Arn": group_arn(place, name),
        "Name": name,
        "State": "ACTIVE",
        "CreationDate": epoch_seconds(created),
        "LastModificationDate": epoch_seconds(created),
    })
}
