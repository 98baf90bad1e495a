//! Groups and streams: making, describing and deleting them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::AwsError;
use crate::shape::parse;

use super::{Answer, Logs, group_name, invalid, no_group, no_stream};

/// "limit: default 50, maximum 50"
/// (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html>).
const MAX_LISTED: i64 = 50;
/// "logGroupName: minimum length 1, maximum length 512"
/// (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html>).
const MAX_NAME: usize = 512;
/// "Possible values are [...]"
/// (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>).
const RETENTION_DAYS: [i64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    log_group_name: String,
    #[serde(default)]
    log_stream_name: Option<String>,
    #[serde(default)]
    retention_in_days: Option<i64>,
}

impl Named {
    fn stream(&self) -> Result<String, AwsError> {
        self.log_stream_name.clone().ok_or_else(|| {
            invalid(
                "1 validation error detected: Value null at 'logStreamName' failed to satisfy constraint: Member \
                 must not be null",
            )
        })
    }
}

pub(super) fn group_id(tx: &Transaction<'_>, name: &str) -> Answer<i64> {
    let id = tx
        .prepare_cached("select id from log_groups where name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(id.ok_or_else(no_group))
}

fn check_group_name(name: &str) -> Result<(), AwsError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/#".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+ and have length 1 to 512"
        )));
    }
    Ok(())
}

fn check_stream_name(name: &str) -> Result<(), AwsError> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains([':', '*']) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'logStreamName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [^:*]* and have length 1 to 512"
        )));
    }
    Ok(())
}

impl Logs {
    pub(super) async fn create_log_group(&self, body: Value) -> Result<Value, AwsError> {
        let request: Named = parse(body)?;
        check_group_name(&request.log_group_name)?;
        let now = self.clock.now();
        let added = self
            .store
            .relaxed(move |tx| {
                tx.execute(
                    "insert or ignore into log_groups (name, created_at) values (?1, ?2)",
                    (request.log_group_name, now),
                )
            })
            .await?;
        if added == 0 {
            return Err(AwsError::client(
                "ResourceAlreadyExistsException",
                "The specified log group already exists",
            ));
        }
        Ok(json!({}))
    }

    pub(super) async fn create_log_stream(&self, body: Value) -> Result<Value, AwsError> {
        let request: Named = parse(body)?;
        let stream = request.stream()?;
        check_stream_name(&stream)?;
        let now = self.clock.now();
        self.store
            .relaxed(move |tx| {
                let group = match group_id(tx, &request.log_group_name)? {
                    Ok(group) => group,
                    Err(error) => return Ok(Err(error)),
                };
                let added = tx
                    .prepare_cached(
                        "insert or ignore into log_streams (group_id, name, created_at) values (?1, ?2, ?3)",
                    )?
                    .execute((group, stream, now))?;
                Ok(if added == 0 {
                    Err(AwsError::client(
                        "ResourceAlreadyExistsException",
                        "The specified log stream already exists",
                    ))
                } else {
                    Ok(json!({}))
                })
            })
            .await?
    }

    pub(super) async fn delete_log_group(&self, body: Value) -> Result<Value, AwsError> {
        let request: Named = parse(body)?;
        self.store
            .relaxed(move |tx| {
                let group = match group_id(tx, &request.log_group_name)? {
                    Ok(group) => group,
                    Err(error) => return Ok(Err(error)),
                };
                tx.execute(
                    "insert or ignore into log_dead_streams select id from log_streams where group_id = ?1",
                    [group],
                )?;
                tx.execute("delete from log_streams where group_id = ?1", [group])?;
                tx.execute("delete from log_groups where id = ?1", [group])?;
                Ok(Ok(json!({})))
            })
            .await?
    }

    pub(super) async fn delete_log_stream(&self, body: Value) -> Result<Value, AwsError> {
        let request: Named = parse(body)?;
        let stream = request.stream()?;
        self.store
            .relaxed(move |tx| {
                let group = match group_id(tx, &request.log_group_name)? {
                    Ok(group) => group,
                    Err(error) => return Ok(Err(error)),
                };
                let id: Option<i64> = tx
                    .query_row(
                        "delete from log_streams where group_id = ?1 and name = ?2 returning id",
                        (group, stream),
                        |row| row.get(0),
                    )
                    .optional()?;
                let Some(id) = id else { return Ok(Err(no_stream())) };
                tx.execute("insert or ignore into log_dead_streams values (?1)", [id])?;
                Ok(Ok(json!({})))
            })
            .await?
    }

    pub(super) async fn set_retention(&self, body: Value, action: &str) -> Result<Value, AwsError> {
        let request: Named = parse(body)?;
        let days = if action == "PutRetentionPolicy" { request.retention_in_days } else { None };
        if action == "PutRetentionPolicy" && !days.is_some_and(|days| RETENTION_DAYS.contains(&days)) {
            return Err(invalid(format!(
                "1 validation error detected: Value '{}' at 'retentionInDays' failed to satisfy constraint: Member \
                 must satisfy enum value set: {RETENTION_DAYS:?}",
                days.unwrap_or_default()
            )));
        }
        let changed = self
            .store
            .relaxed(move |tx| {
                tx.execute(
                    "update log_groups set retention_days = ?2 where name = ?1",
                    (request.log_group_name, days),
                )
            })
            .await?;
        if changed == 0 { Err(no_group()) } else { Ok(json!({})) }
    }

    pub(super) async fn describe_log_groups(&self, body: Value) -> Result<Value, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Describe {
            #[serde(default)]
            log_group_name_prefix: Option<String>,
            #[serde(default)]
            log_group_name_pattern: Option<String>,
            #[serde(default)]
            limit: Option<i64>,
            #[serde(default)]
            next_token: Option<String>,
        }
        let request: Describe = parse(body)?;
        if request.log_group_name_prefix.is_some() && request.log_group_name_pattern.is_some() {
            return Err(invalid("LogGroupNamePrefix and LogGroupNamePattern are mutually exclusive."));
        }
        let limit = page_limit(request.limit)?;
        let after = request.next_token.as_deref().map(from_token).transpose()?.map(|(_, name)| name);
        let place = self.place.clone();
        self.store
            .read(move |tx| {
                let mut groups: Vec<Value> = tx
                    .prepare_cached(
                        "select g.name, g.created_at, g.retention_days,
                             (select coalesce(sum(bytes), 0) from log_streams s where s.group_id = g.id)
                         from log_groups g
                         where g.name > ?1 and substr(g.name, 1, length(?2)) = ?2 and instr(g.name, ?3) > 0
                         order by g.name limit ?4",
                    )?
                    .query_map(
                        (
                            after.unwrap_or_default(),
                            request.log_group_name_prefix.unwrap_or_default(),
                            request.log_group_name_pattern.unwrap_or_default(),
                            limit + 1,
                        ),
                        |row| {
                            let name: String = row.get(0)?;
                            let arn = place.arn("logs", &format!("log-group:{name}"));
                            let mut group = json!({
                                "logGroupName": name,
                                "creationTime": row.get::<_, i64>(1)?,
                                "metricFilterCount": 0,
                                "arn": format!("{arn}:*"),
                                "logGroupArn": arn,
                                "logGroupClass": "STANDARD",
                                "storedBytes": row.get::<_, i64>(3)?,
                            });
                            if let Some(days) = row.get::<_, Option<i64>>(2)? {
                                group["retentionInDays"] = json!(days);
                            }
                            Ok(group)
                        },
                    )?
                    .collect::<rusqlite::Result<_>>()?;
                let token = cut(&mut groups, limit, |last| to_token(0, last["logGroupName"].as_str()));
                Ok(with_token(json!({ "logGroups": groups }), token))
            })
            .await
            .map_err(AwsError::from)
    }

    pub(super) async fn describe_log_streams(&self, body: Value) -> Result<Value, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Describe {
            #[serde(default)]
            log_group_name: Option<String>,
            #[serde(default)]
            log_group_identifier: Option<String>,
            #[serde(default)]
            log_stream_name_prefix: Option<String>,
            #[serde(default)]
            order_by: Option<String>,
            #[serde(default)]
            descending: bool,
            #[serde(default)]
            limit: Option<i64>,
            #[serde(default)]
            next_token: Option<String>,
        }
        let request: Describe = parse(body)?;
        let group = group_name(request.log_group_name, request.log_group_identifier)?;
        let by_time = match request.order_by.as_deref() {
            None | Some("LogStreamName") => false,
            Some("LastEventTime") => true,
            Some(other) => {
                return Err(invalid(format!(
                    "1 validation error detected: Value '{other}' at 'orderBy' failed to satisfy constraint: Member \
                     must satisfy enum value set: [LogStreamName, LastEventTime]"
                )));
            }
        };
        if by_time && request.log_stream_name_prefix.is_some() {
            return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
        }
        let limit = page_limit(request.limit)?;
        let after = request.next_token.as_deref().map(from_token).transpose()?;
        let prefix = request.log_stream_name_prefix.unwrap_or_default();
        // A bare 0 would be a column's number to ORDER BY.
        let key = if by_time { "coalesce(last_ts, 0)" } else { "cast(0 as integer)" };
        let (compare, order) = if request.descending { ("<", "desc") } else { (">", "asc") };
        let sql = format!(
            "select name, created_at, first_ts, last_ts, last_ingested, bytes, next_seq, {key} from log_streams
             where group_id = ?1 and substr(name, 1, length(?2)) = ?2
               and (?3 is null or ({key}, name) {compare} (?3, ?4))
             order by {key} {order}, name {order} limit ?5"
        );
        let place = self.place.clone();
        self.store
            .read(move |tx| {
                let id = match group_id(tx, &group)? {
                    Ok(id) => id,
                    Err(error) => return Ok(Err(error)),
                };
                let arn = place.arn("logs", &format!("log-group:{group}:log-stream:"));
                let (after_key, after_name) = after.unzip();
                let mut streams: Vec<Value> = tx
                    .prepare_cached(&sql)?
                    .query_map((id, prefix, after_key, after_name, limit + 1), |row| {
                        let name: String = row.get(0)?;
                        let mut stream = json!({
                            "logStreamName": name,
                            "creationTime": row.get::<_, i64>(1)?,
                            "arn": format!("{arn}{name}"),
                            "storedBytes": row.get::<_, i64>(5)?,
                            "uploadSequenceToken": format!("{:056}", row.get::<_, i64>(6)?),
                        });
                        let times = ["firstEventTimestamp", "lastEventTimestamp", "lastIngestionTime"];
                        for (index, member) in (2..).zip(times) {
                            if let Some(at) = row.get::<_, Option<i64>>(index)? {
                                stream[member] = json!(at);
                            }
                        }
                        Ok(stream)
                    })?
                    .collect::<rusqlite::Result<_>>()?;
                let token = cut(&mut streams, limit, |last| {
                    let key = if by_time { last["lastEventTimestamp"].as_i64().unwrap_or(0) } else { 0 };
                    to_token(key, last["logStreamName"].as_str())
                });
                Ok(Ok(with_token(json!({ "logStreams": streams }), token)))
            })
            .await?
    }
}

fn page_limit(limit: Option<i64>) -> Result<i64, AwsError> {
    match limit.unwrap_or(MAX_LISTED) {
        limit @ 1..=MAX_LISTED => Ok(limit),
        other => Err(invalid(format!(
            "1 validation error detected: Value '{other}' at 'limit' failed to satisfy constraint: Member must have \
             value between 1 and {MAX_LISTED}"
        ))),
    }
}

/// Drops what was read beyond the page, and makes the token that goes on after its last row.
fn cut(rows: &mut Vec<Value>, limit: i64, token: impl Fn(&Value) -> String) -> Option<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    rows.last().map(token)
}

fn with_token(mut reply: Value, token: Option<String>) -> Value {
    if let Some(token) = token {
        reply["nextToken"] = json!(token);
    }
    reply
}

/// A page's token is the sort key of its last row.
fn to_token(key: i64, name: Option<&str>) -> String {
    URL_SAFE_NO_PAD.encode(format!("{key}/{}", name.unwrap_or_default()))
}

fn from_token(token: &str) -> Result<(i64, String), AwsError> {
    let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .as_deref()
        .and_then(|text| text.split_once('/'))
        .and_then(|(key, name)| Some((key.parse().ok()?, name.to_owned())))
        .ok_or_else(|| invalid("The specified nextToken is invalid."))
}
