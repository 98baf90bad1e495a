//! The services that jobs need: reached, and every action permitted to this host that its policy has.
//!
//! Each action is asked for as the agent will ask for it, in a way that the service answers without doing it: a token
//! that is none, a condition that cannot hold, a stream that is not there. The answer that says so is the good one; asking
//! for a description instead would need permissions that the agent does not. Two are really done: the secret is read,
//! since what matters is that it can be, and what is in it; it is not shown. And the log stream [`NOBODY`] is made, once
//! and empty, because no refusal of CreateLogStream is known to come after the question of permission.

use std::future::Future;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sfn::config::http::HttpResponse;
use aws_sdk_sfn::config::retry::RetryConfig;
use aws_sdk_sfn::error::{ProvideErrorMetadata, SdkError};
use rsqlflow_config::host;

use super::clock::Dates;
use super::judge::{self, Probe, Refusal};
use super::{Check, Level, Site, aws};

/// Every service, as the report calls them.
pub(super) const SERVICES: [&str; 4] = [judge::STEP_FUNCTIONS, judge::DYNAMODB, judge::LOGS, judge::SECRETS];

/// The name of everything that is asked for and is not there, and of the log stream that is made.
pub(super) const NOBODY: &str = "rsqlflow-doctor";

/// No item is both there and not there.
const NEVER: &str = "attribute_exists(#key) AND attribute_not_exists(#key)";

/// What asking needs.
pub(super) struct Asked<'a> {
    pub site: &'a Site,
    pub config: &'a SdkConfig,
    pub dates: &'a Dates,
    /// What renews the credentials.
    pub renewal: String,
    pub patience: Duration,
}

/// Asks all of them at once.
pub(super) async fn ask(asked: &Asked<'_>) -> Vec<Check> {
    let (sfn, dynamodb, logs, secrets) =
        tokio::join!(step_functions(asked), dynamodb(asked), logs(asked), secrets(asked));
    [sfn, dynamodb, logs, secrets].into_iter().flatten().collect()
}

/// A client that asks once, and notes what time it is at AWS.
macro_rules! client {
    ($service:ident, $asked:expr) => {
        $service::Client::from_conf(
            $service::config::Builder::from($asked.config)
                .retry_config(RetryConfig::disabled())
                .interceptor($asked.dates.clone())
                .build(),
        )
    };
}

async fn step_functions(asked: &Asked<'_>) -> Vec<Check> {
    let client = client!(aws_sdk_sfn, asked);
    let heartbeat = client.send_task_heartbeat().task_token(NOBODY).send();
    let success = client.send_task_success().task_token(NOBODY).output("{}").send();
    let failure = client.send_task_failure().task_token(NOBODY).send();
    let (heartbeat, success, failure) = tokio::join!(
        asked.time(&judge::HEARTBEAT, heartbeat, judge::callback),
        asked.time(&judge::SUCCESS, success, judge::callback),
        asked.time(&judge::FAILURE, failure, judge::callback),
    );
    together(vec![heartbeat, success, failure])
}

async fn dynamodb(asked: &Asked<'_>) -> Vec<Check> {
    let client = client!(aws_sdk_dynamodb, asked);
    let tables = &asked.site.settings.tables;
    let text = |text: &str| AttributeValue::S(text.into());
    let update = client
        .update_item()
        .table_name(&tables.job_audit)
        .key("job_name", text(NOBODY))
        .key("workflow_execution_id", text(NOBODY))
        .condition_expression(NEVER)
        .expression_attribute_names("#key", "job_name")
        .update_expression("SET execution_status = execution_status")
        .send();
    let put = async {
        // The policy lets a host write its own entry alone, whose key is what IAM calls it.
        let sts = client!(aws_sdk_sts, asked);
        let identity = tokio::time::timeout(asked.patience / 2, sts.get_caller_identity().send()).await;
        let user_id = identity.ok().and_then(|answer| answer.ok()?.user_id).unwrap_or_default();
        let entry = client
            .put_item()
            .table_name(&tables.hosts)
            .item("instance_id", text(&host::key(&asked.site.config.instance_id, &user_id)))
            .condition_expression(NEVER)
            .expression_attribute_names("#key", "instance_id");
        entry.send().await
    };
    let (update, put) = tokio::join!(
        asked.time(&judge::AUDIT, update, |answer| judge::table("job_audit", &tables.job_audit, answer)),
        asked.time(&judge::ENTER, put, |answer| judge::table("hosts", &tables.hosts, answer)),
    );
    together(vec![update, put])
}

async fn logs(asked: &Asked<'_>) -> Vec<Check> {
    let client = client!(aws_sdk_cloudwatchlogs, asked);
    let group = &asked.site.settings.log_group;
    let create = client.create_log_stream().log_group_name(group).log_stream_name(NOBODY).send();
    let event =
        InputLogEvent::builder().timestamp(chrono::Utc::now().timestamp_millis()).message(NOBODY).build();
    let put = client
        .put_log_events()
        .log_group_name(group)
        .log_stream_name(format!("{NOBODY}/none"))
        .set_log_events(event.ok().map(|event| vec![event]))
        .send();
    let get = client.get_log_events().log_group_name(group).log_stream_name(NOBODY).limit(1).send();
    let (create, put, get) = tokio::join!(
        asked.time(&judge::CREATE_STREAM, create, |answer| judge::log_group(
            &judge::CREATE_STREAM,
            group,
            answer
        )),
        asked.time(&judge::PUT_EVENTS, put, |answer| judge::log_group(&judge::PUT_EVENTS, group, answer)),
        asked.time(&judge::GET_EVENTS, get, |answer| judge::log_group(&judge::GET_EVENTS, group, answer)),
    );
    together(vec![create, put, get])
}

async fn secrets(asked: &Asked<'_>) -> Vec<Check> {
    let id = &asked.site.settings.secret_id;
    if id.is_empty() {
        return vec![Check::ok(judge::SECRETS, "no secret_id is set; items name their own")];
    }
    let get = client!(aws_sdk_secretsmanager, asked).get_secret_value().secret_id(id).send();
    let judged =
        |answer: Result<aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput, _>| {
            judge::secret(id, answer.map(|answer| answer.secret_string().unwrap_or_default().to_owned()))
        };
    vec![asked.time(&judge::SECRET, get, judged).await]
}

/// The lines of one service: of all that is not well each its own, once; otherwise one for all.
fn together(checks: Vec<Check>) -> Vec<Check> {
    let mut wrong: Vec<Check> = Vec::new();
    for check in checks.iter().filter(|check| check.level != Level::Ok) {
        // A service that is not reached says so to every question.
        if !wrong.iter().any(|known| known.message == check.message && known.hint == check.hint) {
            wrong.push(check.clone());
        }
    }
    if !wrong.is_empty() {
        return wrong;
    }
    let Some(first) = checks.first() else { return checks };
    let mut told: Vec<&str> = checks.iter().map(|check| check.message.as_str()).collect();
    told.dedup();
    let slowest = checks.iter().filter_map(|check| check.milliseconds).max();
    vec![Check { milliseconds: slowest, ..Check::ok(first.check, told.join("; ")) }]
}

impl Asked<'_> {
    /// Waits for an answer and has it judged; what any service may say is judged in one place.
    async fn time<T, E>(
        &self,
        probe: &Probe,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        judged: impl FnOnce(Result<T, Refusal>) -> Result<Check, Refusal>,
    ) -> Check
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let began = Instant::now();
        let answer = tokio::time::timeout(self.patience, call).await;
        let milliseconds = Some(began.elapsed().as_millis());
        let check = match answer {
            Ok(answer) => {
                let answer = answer.map_err(|error| Refusal {
                    code: error.code().map(str::to_owned),
                    status: error.raw_response().map(|answer| answer.status().as_u16()),
                    message: match error.message() {
                        Some(message) => message.to_owned(),
                        None => aws::cause(&error),
                    },
                });
                judged(answer).unwrap_or_else(|refusal| self.general(probe, &refusal))
            }
            Err(_) => {
                let message = format!("no answer within {} s", self.patience.as_secs());
                self.general(probe, &Refusal { code: None, message, status: None })
            }
        };
        Check { milliseconds, ..check }
    }

    fn general(&self, probe: &Probe, refusal: &Refusal) -> Check {
        let region = self.config.region().map_or("?", |region| region.as_ref());
        judge::general(probe, refusal, self.site.endpoint.as_deref(), region, &self.renewal)
    }
}
