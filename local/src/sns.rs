//! SNS: topics, and what was published to them.
//!
//! A message is kept (the newest thousand of each topic), and a line in the log says that it came, without its text.
//! Nothing is delivered to subscriptions: a laptop has no mail server to speak of. They are kept so that scripts that
//! subscribe work, and listed.

use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::{Clock, Millis};
use crate::place::Place;
use crate::service::{AwsError, Reply, Service};
use crate::shape::{parse, position};
use crate::store::{Store, StoreError};

/// "Messages must be at most 262,144 bytes long"
/// (<https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>).
const MAX_MESSAGE: usize = 262_144;
/// "up to 100 topics" a page (<https://docs.aws.amazon.com/sns/latest/api/API_ListTopics.html>).
const PAGE: i64 = 100;
/// Messages kept for each topic.
const KEPT: i64 = 1_000;

const TABLES: &str = "
    create table if not exists sns_topics (
        arn text primary key,
        created_at integer not null
    ) without rowid;
    create table if not exists sns_subscriptions (
        arn text primary key,
        topic_arn text not null references sns_topics (arn) on delete cascade,
        protocol text not null,
        endpoint text not null
    ) without rowid;
    create table if not exists sns_messages (
        seq integer primary key autoincrement,
        topic_arn text not null references sns_topics (arn) on delete cascade,
        message_id text not null,
        subject text,
        message text not null,
        published_at integer not null
    );
    create index if not exists sns_messages_by_topic on sns_messages (topic_arn, seq);
";

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The topic.
    pub topic_arn: String,
    /// A UUID.
    pub message_id: String,
    /// The subject line, where there is one.
    pub subject: Option<String>,
    /// The text.
    pub message: String,
    /// When.
    pub published_at: Millis,
}

/// SNS on this machine.
pub struct Sns {
    store: Store,
    clock: Clock,
    place: Place,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Publish {
    #[serde(default)]
    topic_arn: Option<String>,
    #[serde(default)]
    target_arn: Option<String>,
    #[serde(default)]
    subject: Option<String>,
    message: Message,
}

/// States Language integrations may give a message as JSON; it is then published as JSON text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    Json(Value),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Subscribe {
    topic_arn: String,
    protocol: String,
    #[serde(default)]
    endpoint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    #[serde(default)]
    next_token: Option<String>,
}

impl Sns {
    /// Creates the tables.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(store: Store, clock: Clock, place: Place) -> Result<Self, StoreError> {
        store.migrate(TABLES).await?;
        Ok(Self { store, clock, place })
    }

    /// Published messages, newest first; of one topic if `topic_arn` is given.
    ///
    /// # Errors
    /// The store's.
    pub async fn messages(&self, topic_arn: Option<&str>, limit: u32) -> Result<Vec<Published>, StoreError> {
        let topic = topic_arn.map(str::to_owned);
        self.store
            .read(move |tx| {
                tx.prepare_cached(
                    "select topic_arn, message_id, subject, message, published_at from sns_messages
                     where ?1 is null or topic_arn = ?1 order by seq desc limit ?2",
                )?
                .query_map((topic, limit), |row| {
                    Ok(Published {
                        topic_arn: row.get(0)?,
                        message_id: row.get(1)?,
                        subject: row.get(2)?,
                        message: row.get(3)?,
                        published_at: row.get(4)?,
                    })
                })?
                .collect()
            })
            .await
    }

    async fn create_topic(&self, body: Value) -> Result<Value, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct CreateTopic {
            name: String,
        }
        let CreateTopic { name } = parse(body)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 256 || !name.chars().all(plain) {
            return Err(invalid("Invalid parameter: Topic Name"));
        }
        let (arn, now) = (self.place.arn("sns", &name), self.clock.now());
        let topic = arn.clone();
        self.store
            .durable(move |tx| tx.execute("insert or ignore into sns_topics values (?1, ?2)", (topic, now)))
            .await?;
        Ok(json!({ "TopicArn": arn }))
    }

    async fn delete_topic(&self, body: Value) -> Result<Value, AwsError> {
        let topic = topic_arn(body)?;
        self.store.durable(move |tx| tx.execute("delete from sns_topics where arn = ?1", [topic])).await?;
        Ok(json!({}))
    }

    async fn get_topic_attributes(&self, body: Value) -> Result<Value, AwsError> {
        let topic = topic_arn(body)?;
        let owner = self.place.account_id.clone();
        self.store
            .read(move |tx| {
                if !is_topic(tx, &topic)? {
                    return Ok(Err(no_topic()));
                }
                let subscriptions: i64 = tx.query_row(
                    "select count(*) from sns_subscriptions where topic_arn = ?1",
                    [&topic],
                    |row| row.get(0),
                )?;
                Ok(Ok(json!({
                    "Attributes": {
                        "TopicArn": topic,
                        "Owner": owner,
                        "SubscriptionsConfirmed": subscriptions.to_string(),
                        "SubscriptionsPending": "0",
                    }
                })))
            })
            .await?
    }

    async fn list_topics(&self, body: Value) -> Result<Value, AwsError> {
        let listing: Listing = parse(body)?;
        let skip = position(listing.next_token.as_deref(), "InvalidParameter")?;
        let topics: Vec<Value> = self
            .store
            .read(move |tx| {
                tx.prepare_cached("select arn from sns_topics order by arn limit ?1 offset ?2")?
                    .query_map((PAGE + 1, skip), |row| Ok(json!({ "TopicArn": row.get::<_, String>(0)? })))?
                    .collect()
            })
            .await?;
        Ok(paged("Topics", topics, skip))
    }

    async fn publish(&self, body: Value) -> Result<Value, AwsError> {
        let request: Publish = parse(body)?;
        let topic_arn = request.topic_arn.or(request.target_arn).ok_or_else(|| {
            invalid("Invalid parameter: TopicArn or TargetArn Reason: no value for required parameter")
        })?;
        let message = match request.message {
            Message::Text(text) => text,
            Message::Json(value) => value.to_string(),
        };
        if message.is_empty() {
            return Err(invalid("Invalid parameter: Empty message"));
        }
        if message.len() > MAX_MESSAGE {
            return Err(invalid("Invalid parameter: Message too long"));
        }
        let published = Published {
            topic_arn,
            message_id: uuid::Uuid::new_v4().to_string(),
            subject: request.subject,
            message,
            published_at: self.clock.now(),
        };
        let row = published.clone();
        self.store.durable(move |tx| keep(tx, &row)).await??;
        let subject = published.subject.as_deref().unwrap_or_default();
        tracing::info!(
            topic = published.topic_arn,
            message_id = published.message_id,
            subject,
            "notification"
        );
        Ok(json!({ "MessageId": published.message_id }))
    }

    async fn subscribe(&self, body: Value) -> Result<Value, AwsError> {
        let request: Subscribe = parse(body)?;
        let arn = format!("{}:{}", request.topic_arn, uuid::Uuid::new_v4());
        self.store
            .durable(move |tx| {
                if !is_topic(tx, &request.topic_arn)? {
                    return Ok(Err(no_topic()));
                }
                let known: Option<String> = tx
                    .query_row(
                        "select arn from sns_subscriptions where topic_arn = ?1 and protocol = ?2 and endpoint = ?3",
                        (&request.topic_arn, &request.protocol, &request.endpoint),
                        |row| row.get(0),
                    )
                    .optional()?;
                if let Some(arn) = known {
                    return Ok(Ok(json!({ "SubscriptionArn": arn })));
                }
                tx.execute(
                    "insert into sns_subscriptions values (?1, ?2, ?3, ?4)",
                    (&arn, request.topic_arn, request.protocol, request.endpoint),
                )?;
                Ok(Ok(json!({ "SubscriptionArn": arn })))
            })
            .await?
    }

    async fn unsubscribe(&self, body: Value) -> Result<Value, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Unsubscribe {
            subscription_arn: String,
        }
        let Unsubscribe { subscription_arn } = parse(body)?;
        self.store
            .durable(move |tx| tx.execute("delete from sns_subscriptions where arn = ?1", [subscription_arn]))
            .await?;
        Ok(json!({}))
    }

    async fn list_subscriptions(&self, body: Value, topic: Option<String>) -> Result<Value, AwsError> {
        let listing: Listing = parse(body)?;
        let skip = position(listing.next_token.as_deref(), "InvalidParameter")?;
        let owner = self.place.account_id.clone();
        let subscriptions = self
            .store
            .read(move |tx| {
                if let Some(topic) = &topic
                    && !is_topic(tx, topic)?
                {
                    return Ok(Err(no_topic()));
                }
                tx.prepare_cached(
                    "select arn, topic_arn, protocol, endpoint from sns_subscriptions
                     where ?1 is null or topic_arn = ?1 order by arn limit ?2 offset ?3",
                )?
                .query_map((topic, PAGE + 1, skip), |row| {
                    Ok(json!({
                        "SubscriptionArn": row.get::<_, String>(0)?,
                        "Owner": owner,
                        "Protocol": row.get::<_, String>(2)?,
                        "Endpoint": row.get::<_, String>(3)?,
                        "TopicArn": row.get::<_, String>(1)?,
                    }))
                })?
                .collect::<rusqlite::Result<Vec<Value>>>()
                .map(Ok)
            })
            .await??;
        Ok(paged("Subscriptions", subscriptions, skip))
    }
}

fn keep(tx: &Transaction<'_>, message: &Published) -> rusqlite::Result<Result<(), AwsError>> {
    if !is_topic(tx, &message.topic_arn)? {
        return Ok(Err(no_topic()));
    }
    tx.prepare_cached(
        "insert into sns_messages (topic_arn, message_id, subject, message, published_at)
         values (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((
        &message.topic_arn,
        &message.message_id,
        &message.subject,
        &message.message,
        message.published_at,
    ))?;
    tx.prepare_cached(
        "delete from sns_messages where topic_arn = ?1 and seq <= (
             select seq from sns_messages where topic_arn = ?1 order by seq desc limit 1 offset ?2)",
    )?
    .execute((&message.topic_arn, KEPT))?;
    Ok(Ok(()))
}

fn topic_arn(body: Value) -> Result<String, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Topic {
        topic_arn: String,
    }
    parse::<Topic>(body).map(|topic| topic.topic_arn)
}

fn is_topic(tx: &Transaction<'_>, arn: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached("select 1 from sns_topics where arn = ?1")?.exists([arn])
}

/// One row more than a page was asked for, to know whether there is a next.
fn paged(member: &str, mut rows: Vec<Value>, skip: i64) -> Value {
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) > PAGE;
    rows.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let mut reply = json!({ member: rows });
    if more {
        reply["NextToken"] = json!((skip + PAGE).to_string());
    }
    reply
}

fn invalid(message: &str) -> AwsError {
    AwsError::client("InvalidParameter", message)
}

/// The code is `NotFound` on the wire; SDKs call the type `NotFoundException`.
fn no_topic() -> AwsError {
    AwsError { status: 404, ..AwsError::client("NotFound", "Topic does not exist") }
}

impl Service for Sns {
    fn target_prefix(&self) -> &'static str {
        "AmazonSimpleNotificationService"
    }

    fn sdk_name(&self) -> &'static str {
        "sns"
    }

    fn error_prefix(&self) -> &'static str {
        "Sns"
    }

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        Box::pin(async move {
            match action {
                "CreateTopic" => self.create_topic(body).await,
                "DeleteTopic" => self.delete_topic(body).await,
                "GetTopicAttributes" => self.get_topic_attributes(body).await,
                "ListSubscriptions" => self.list_subscriptions(body, None).await,
                "ListSubscriptionsByTopic" => {
                    let topic = topic_arn(body.clone())?;
                    self.list_subscriptions(body, Some(topic)).await
                }
                "ListTopics" => self.list_topics(body).await,
                "Publish" => self.publish(body).await,
                "Subscribe" => self.subscribe(body).await,
                "Unsubscribe" => self.unsubscribe(body).await,
                _ => Err(AwsError::unknown_action("SNS", action)),
            }
        })
    }
}
