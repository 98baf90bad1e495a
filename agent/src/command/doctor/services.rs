//! The services that jobs need: reached, and permitted to this host.
//!
//! Each is asked what the agent will ask it, in a way that the service answers without doing it: a token that is none,
//! a condition that does not hold, a stream that is not there. The answer that says so is the good one; asking for a
//! description instead would need permissions that the agent does not. Only the secret is really read, since what
//! matters is that it can be, and what is in it; it is not shown.

use std::future::Future;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sfn::config::http::HttpResponse;
use aws_sdk_sfn::config::retry::RetryConfig;
use aws_sdk_sfn::error::{ProvideErrorMetadata, SdkError};

use super::clock::Dates;
use super::{Check, Site, aws};

const STEP_FUNCTIONS: &str = "Step Functions";
const DYNAMODB: &str = "DynamoDB";
const LOGS: &str = "CloudWatch Logs";
const SECRETS: &str = "Secrets Manager";

/// Every service, as the report calls them.
pub(super) const SERVICES: [&str; 4] = [STEP_FUNCTIONS, DYNAMODB, LOGS, SECRETS];

/// The name of everything that is asked for and is not there.
const NOBODY: &str = "rsqlflow-doctor";

/// What asking needs.
pub(super) struct Asked<'a> {
    pub site: &'a Site,
    pub config: &'a SdkConfig,
    pub dates: &'a Dates,
    /// What renews the credentials.
    pub renewal: String,
    pub patience: Duration,
}

/// What a service said: its code, where it answered, and its words.
#[derive(Debug, Clone)]
struct Refusal {
    code: Option<String>,
    message: String,
    /// The HTTP status, where something answered.
    status: Option<u16>,
}

/// Asks all of them at once.
pub(super) async fn ask(asked: &Asked<'_>) -> Vec<Check> {
    macro_rules! client {
        ($service:ident) => {
            $service::Client::from_conf(
                $service::config::Builder::from(asked.config)
                    .retry_config(RetryConfig::disabled())
                    .interceptor(asked.dates.clone())
                    .build(),
            )
        };
    }
    let settings = &asked.site.settings;
    let (table, group) = (&settings.tables.job_audit, &settings.log_group);
    let sfn = client!(aws_sdk_sfn);
    let heartbeat = sfn.send_task_heartbeat().task_token(NOBODY).send();
    let sfn = asked.time(STEP_FUNCTIONS, heartbeat, |answer| step_functions(answer.map(|_| ())));
    let dynamodb = client!(aws_sdk_dynamodb);
    let update = dynamodb
        .update_item()
        .table_name(table)
        .key("job_name", AttributeValue::S(NOBODY.into()))
        .key("workflow_execution_id", AttributeValue::S(NOBODY.into()))
        .condition_expression("attribute_exists(job_name)")
        .update_expression("SET execution_status = execution_status")
        .send();
    let dynamodb = asked.time(DYNAMODB, update, |answer| dynamodb_table(table, answer.map(|_| ())));
    let logs = client!(aws_sdk_cloudwatchlogs);
    let event =
        InputLogEvent::builder().timestamp(chrono::Utc::now().timestamp_millis()).message(NOBODY).build();
    let put = logs
        .put_log_events()
        .log_group_name(group)
        .log_stream_name(NOBODY)
        .set_log_events(event.ok().map(|event| vec![event]))
        .send();
    let put = asked.time(LOGS, put, |answer| log_group(group, answer.map(|_| ())));
    let get = logs.get_log_events().log_group_name(group).log_stream_name(NOBODY).limit(1).send();
    let get = asked.time(LOGS, get, |answer| log_reading(answer.map(|_| ())));
    let logs = async {
        let (put, get) = tokio::join!(put, get);
        if get.level > put.level { get } else { put }
    };
    let secret_id = &settings.secret_id;
    let secrets = client!(aws_sdk_secretsmanager);
    let get = secrets.get_secret_value().secret_id(secret_id).send();
    let secrets = asked.time(SECRETS, get, |answer| {
        secret(secret_id, answer.map(|answer| answer.secret_string().unwrap_or_default().to_owned()))
    });
    let secrets = async {
        if secret_id.is_empty() {
            return Check::ok(SECRETS, "no secret_id is set; items name their own");
        }
        secrets.await
    };
    let (sfn, dynamodb, logs, secrets) = tokio::join!(sfn, dynamodb, logs, secrets);
    vec![sfn, dynamodb, logs, secrets]
}

impl Asked<'_> {
    /// Waits for an answer and has it judged; what any service may say is judged here.
    async fn time<T, E>(
        &self,
        service: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        judge: impl FnOnce(Result<T, Refusal>) -> Result<Check, Refusal>,
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
                judge(answer).unwrap_or_else(|refusal| self.general(service, &refusal))
            }
            Err(_) => {
                let message = format!("no answer within {} s", self.patience.as_secs());
                self.general(service, &Refusal { code: None, message, status: None })
            }
        };
        Check { milliseconds, ..check }
    }

    fn general(&self, service: &'static str, refusal: &Refusal) -> Check {
        let region = self.config.region().map_or("?", |region| region.as_ref());
        general(service, refusal, self.site.endpoint.as_deref(), region, &self.renewal)
    }
}

fn general(
    service: &'static str,
    refusal: &Refusal,
    endpoint: Option<&str>,
    region: &str,
    renewal: &str,
) -> Check {
    if let (None, Some(status)) = (&refusal.code, refusal.status) {
        let message = format!("HTTP {status}, and no word of AWS's");
        let hint = match endpoint {
            Some(url) => format!("something else answers at {url} (AWS_ENDPOINT_URL)"),
            None => "a proxy on the way answers: see HTTPS_PROXY and NO_PROXY, or use a VPC endpoint".into(),
        };
        return Check::fail(service, message, hint);
    }
    let Some(code) = &refusal.code else {
        let message = format!("cannot be reached: {}", refusal.message);
        let hint = match endpoint {
            Some(url) => format!("is anything listening at {url} (AWS_ENDPOINT_URL)? `rsqlflow up` does"),
            None => format!("check the way to region {region}: DNS, proxy, security group or a VPC endpoint"),
        };
        return Check::fail(service, message, hint);
    };
    let message = format!("{code}: {}", refusal.message);
    // <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>
    let hint = match code.as_str() {
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "UnauthorizedOperation" => {
            format!("allow {} to the role of this host", needs(service))
        }
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => renewal.to_owned(),
        "UnrecognizedClientException" | "InvalidClientTokenId" | "IncompleteSignature" => {
            format!("the keys are not known there; {renewal}")
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed" => {
            "the secret key is wrong, or the clock is: see clock".into()
        }
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" => "ask again in a while".into(),
        _ => "the service's documentation explains the code; the agent goes on trying".into(),
    };
    Check::fail(service, message, hint)
}

/// The permissions that the agent uses.
fn needs(service: &str) -> &'static str {
    match service {
        STEP_FUNCTIONS => "states:SendTaskHeartbeat, states:SendTaskSuccess and states:SendTaskFailure",
        DYNAMODB => "dynamodb:UpdateItem on the job audit table",
        LOGS => {
            "logs:PutLogEvents, logs:CreateLogStream, logs:GetLogEvents and logs:CreateLogGroup on the log group"
        }
        _ => "secretsmanager:GetSecretValue on the secret (and kms:Decrypt on its key)",
    }
}

fn step_functions(answer: Result<(), Refusal>) -> Result<Check, Refusal> {
    let fine = Check::ok(STEP_FUNCTIONS, "reached and permitted");
    match answer {
        Ok(()) => Ok(fine),
        Err(Refusal { code: Some(code), .. })
            if ["InvalidToken", "TaskDoesNotExist", "TaskTimedOut"].contains(&code.as_str()) =>
        {
            Ok(fine)
        }
        Err(refusal) => Err(refusal),
    }
}

fn dynamodb_table(table: &str, answer: Result<(), Refusal>) -> Result<Check, Refusal> {
    match answer {
        Err(refusal) => match refusal.code.as_deref() {
            Some("ConditionalCheckFailedException") => {
                Ok(Check::ok(DYNAMODB, format!("table {table} reached and permitted")))
            }
            Some("ResourceNotFoundException") => Ok(Check::fail(
                DYNAMODB,
                format!("there is no table {table}"),
                "tables.job_audit and region say which it is; it has to be created with the account's other parts",
            )),
            _ => Err(refusal),
        },
        Ok(()) => Ok(Check::warn(
            DYNAMODB,
            format!("table {table} has a record of a job {NOBODY}"),
            "delete it: nothing of ours makes one",
        )),
    }
}

fn log_group(group: &str, answer: Result<(), Refusal>) -> Result<Check, Refusal> {
    // Streams are not made to try it.
    let fine = Check::ok(LOGS, format!("group {group} reached, PutLogEvents and GetLogEvents permitted"));
    match answer {
        Err(refusal) if refusal.code.as_deref() == Some("ResourceNotFoundException") => {
            if refusal.message.contains("group") {
                let hint = format!(
                    "the first job makes it, if it may (logs:CreateLogGroup); or: aws logs create-log-group \
                     --log-group-name {group}"
                );
                return Ok(Check::warn(LOGS, format!("there is no group {group} yet"), hint));
            }
            Ok(fine)
        }
        Err(refusal) => Err(refusal),
        Ok(()) => Ok(fine),
    }
}

/// Whether the agent may ask which lines are there.
fn log_reading(answer: Result<(), Refusal>) -> Result<Check, Refusal> {
    match answer {
        Err(refusal) => match refusal.code.as_deref() {
            // The group is another question.
            Some("ResourceNotFoundException") => Ok(Check::ok(LOGS, "")),
            Some("AccessDeniedException") => Ok(Check::warn(
                LOGS,
                "GetLogEvents is not permitted: lines come twice where an answer is lost",
                "allow logs:GetLogEvents on the log group to the role of this host",
            )),
            _ => Err(refusal),
        },
        Ok(()) => Ok(Check::ok(LOGS, "")),
    }
}

fn secret(id: &str, answer: Result<String, Refusal>) -> Result<Check, Refusal> {
    match answer {
        Err(refusal) if refusal.code.as_deref() == Some("ResourceNotFoundException") => Ok(Check::fail(
            SECRETS,
            format!("there is no secret {id}"),
            "secret_id and region say which it is; items may name another",
        )),
        Err(refusal) => Err(refusal),
        Ok(text) => Ok(match rsqlflow_agent::secret_problem(id, &text) {
            Some(problem) => {
                Check::fail(SECRETS, problem, format!("aws secretsmanager put-secret-value --secret-id {id}"))
            }
            None => Check::ok(SECRETS, format!("secret {id} can be read")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_judged() {
        let refusal = |code: &str, message: &str| Refusal {
            code: Some(code.into()),
            message: message.into(),
            status: Some(400),
        };
        let judge = |service, code: &str, message: &str| {
            let refusal = refusal(code, message);
            let judged = match service {
                STEP_FUNCTIONS => step_functions(Err(refusal)),
                DYNAMODB => dynamodb_table("rsqlflow-job-audit", Err(refusal)),
                LOGS => log_group("/ops/rsql-logs", Err(refusal)),
                _ => secret("warehouse", Err(refusal)),
            };
            judged.unwrap_or_else(|refusal| general(service, &refusal, None, "eu-central-1", "RENEW"))
        };
        let nobody = Refusal { code: None, message: "connection refused".into(), status: None };
        let proxy = Refusal { code: None, message: "unexpected token '<'".into(), status: Some(502) };
        let checks = [
            judge(STEP_FUNCTIONS, "InvalidToken", "Invalid Token"),
            judge(STEP_FUNCTIONS, "AccessDeniedException", "User x is not authorized"),
            judge(
                STEP_FUNCTIONS,
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ),
            judge(DYNAMODB, "ConditionalCheckFailedException", "The conditional request failed"),
            judge(DYNAMODB, "ResourceNotFoundException", "Requested resource not found"),
            judge(DYNAMODB, "UnrecognizedClientException", "The security token is invalid"),
            judge(LOGS, "ResourceNotFoundException", "The specified log stream does not exist."),
            judge(LOGS, "ResourceNotFoundException", "The specified log group does not exist."),
            judge(LOGS, "InvalidSignatureException", "Signature expired"),
            judge(SECRETS, "ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
            judge(SECRETS, "SomethingNew", "of which nobody has heard"),
            secret("warehouse", Ok("{}".into())).unwrap(),
            general(LOGS, &nobody, None, "eu-central-1", ""),
            general(LOGS, &proxy, None, "eu-central-1", ""),
            general(LOGS, &proxy, Some("http://127.0.0.1:1"), "eu-central-1", ""),
            log_reading(Err(refusal("AccessDeniedException", "User x is not authorized"))).unwrap(),
            general(LOGS, &nobody, Some("http://127.0.0.1:1"), "eu-central-1", ""),
        ];
        insta::assert_snapshot!(super::super::report(&checks));
    }
}
