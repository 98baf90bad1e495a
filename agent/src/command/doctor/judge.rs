//! What the answer to a probe means.
//!
//! Each [`Probe`] stands for one action of the host's policy, so that the two lists can be compared.

use super::Check;

pub(super) const STEP_FUNCTIONS: &str = "Step Functions";
pub(super) const DYNAMODB: &str = "DynamoDB";
pub(super) const LOGS: &str = "CloudWatch Logs";
pub(super) const SECRETS: &str = "Secrets Manager";

/// An action that is tried.
#[derive(Debug)]
pub(super) struct Probe {
    /// Whose it is.
    service: &'static str,
    /// Its name in policies.
    action: &'static str,
    /// What it has to be allowed on.
    on: &'static str,
    /// What is not done where it is denied; nothing where jobs do well without.
    without: Option<&'static str>,
}

pub(super) const HEARTBEAT: Probe = Probe {
    service: STEP_FUNCTIONS,
    action: "states:SendTaskHeartbeat",
    on: "*",
    without: Some("running jobs count as lost"),
};
pub(super) const SUCCESS: Probe = Probe {
    service: STEP_FUNCTIONS,
    action: "states:SendTaskSuccess",
    on: "*",
    without: Some("runs do not hear that a job completed"),
};
pub(super) const FAILURE: Probe = Probe {
    service: STEP_FUNCTIONS,
    action: "states:SendTaskFailure",
    on: "*",
    without: Some("runs do not hear that a job failed"),
};
pub(super) const AUDIT: Probe = Probe {
    service: DYNAMODB,
    action: "dynamodb:UpdateItem",
    on: "the job audit table",
    without: Some("what becomes of jobs is not recorded"),
};
pub(super) const ENTER: Probe = Probe {
    service: DYNAMODB,
    action: "dynamodb:PutItem",
    on: "the table of hosts, for the entry of this instance (is `agent.instance_id` another's, or STS not reached?)",
    without: Some("workflows that choose a host do not find this one"),
};
pub(super) const CREATE_STREAM: Probe = Probe {
    service: LOGS,
    action: "logs:CreateLogStream",
    on: "the log group",
    without: Some("no output is shipped"),
};
pub(super) const PUT_EVENTS: Probe = Probe {
    service: LOGS,
    action: "logs:PutLogEvents",
    on: "the log group",
    without: Some("no output is shipped"),
};
pub(super) const GET_EVENTS: Probe =
    Probe { service: LOGS, action: "logs:GetLogEvents", on: "the log group", without: None };
pub(super) const SECRET: Probe = Probe {
    service: SECRETS,
    action: "secretsmanager:GetSecretValue",
    on: "the secret (and kms:Decrypt on its key)",
    without: Some("scripts get no credentials"),
};

/// What a service said: its code, where it answered, and its words.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub code: Option<String>,
    pub message: String,
    /// The HTTP status, where something answered.
    pub status: Option<u16>,
}

/// What any service may say.
pub(super) fn general(
    probe: &Probe,
    refusal: &Refusal,
    endpoint: Option<&str>,
    region: &str,
    renewal: &str,
) -> Check {
    let service = probe.service;
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
            let Probe { action, on, .. } = probe;
            let hint = format!("allow {action} on {on} to the role of this host");
            return match probe.without {
                Some(without) => {
                    Check::fail(service, format!("{action} is not permitted: {without} ({message})"), hint)
                }
                None => Check::warn(
                    service,
                    format!("{action} is not permitted: lines come twice where an answer is lost"),
                    hint,
                ),
            };
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

/// A callback with a token that is none.
pub(super) fn callback<T>(answer: Result<T, Refusal>) -> Result<Check, Refusal> {
    let fine = Check::ok(STEP_FUNCTIONS, "reached, and callbacks permitted");
    match answer {
        Ok(_) => Ok(fine),
        Err(Refusal { code: Some(code), .. })
            if ["InvalidToken", "TaskDoesNotExist", "TaskTimedOut"].contains(&code.as_str()) =>
        {
            Ok(fine)
        }
        Err(refusal) => Err(refusal),
    }
}

/// A write under a condition that cannot hold; `setting` names the table in the settings.
pub(super) fn table<T>(setting: &str, table: &str, answer: Result<T, Refusal>) -> Result<Check, Refusal> {
    let fine = Check::ok(DYNAMODB, format!("table {table} reached and permitted"));
    match answer {
        Err(refusal) => match refusal.code.as_deref() {
            Some("ConditionalCheckFailedException") => Ok(fine),
            Some("ResourceNotFoundException") => Ok(Check::fail(
                DYNAMODB,
                format!("there is no table {table}"),
                format!(
                    "tables.{setting} and region say which it is; it has to be created with the account's other parts"
                ),
            )),
            _ => Err(refusal),
        },
        Ok(_) => Ok(fine),
    }
}

/// A stream that is there already, or an event for one that is not.
pub(super) fn log_group<T>(probe: &Probe, group: &str, answer: Result<T, Refusal>) -> Result<Check, Refusal> {
    let fine = Check::ok(LOGS, format!("group {group} reached, streams and events permitted"));
    match answer {
        Err(refusal) => match refusal.code.as_deref() {
            Some("ResourceAlreadyExistsException") => Ok(fine),
            Some("ResourceNotFoundException") if !refusal.message.contains("group") => Ok(fine),
            // One line about it is enough.
            Some("ResourceNotFoundException") if probe.action == PUT_EVENTS.action => {
                let hint = format!(
                    "the first job makes it, if it may (logs:CreateLogGroup); or: aws logs create-log-group \
                     --log-group-name {group}"
                );
                Ok(Check::warn(LOGS, format!("there is no group {group} yet"), hint))
            }
            Some("ResourceNotFoundException") => Ok(fine),
            _ => Err(refusal),
        },
        Ok(_) => Ok(fine),
    }
}

/// The secret itself.
pub(super) fn secret(id: &str, answer: Result<String, Refusal>) -> Result<Check, Refusal> {
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
    use std::collections::BTreeSet;

    use super::super::Level;
    use super::*;

    const ALL: [&Probe; 9] =
        [&HEARTBEAT, &SUCCESS, &FAILURE, &AUDIT, &ENTER, &CREATE_STREAM, &PUT_EVENTS, &GET_EVENTS, &SECRET];

    fn refusal(code: &str, message: &str) -> Refusal {
        Refusal { code: Some(code.into()), message: message.into(), status: Some(400) }
    }

    fn judged(probe: &Probe, refusal: Refusal) -> Check {
        let answer: Result<(), Refusal> = Err(refusal);
        let judged = match (probe.service, probe.action) {
            (STEP_FUNCTIONS, _) => callback(answer),
            (DYNAMODB, "dynamodb:PutItem") => table("hosts", "rsqlflow-hosts", answer),
            (DYNAMODB, _) => table("job_audit", "rsqlflow-job-audit", answer),
            (LOGS, _) => log_group(probe, "/ops/rsql-logs", answer),
            _ => secret("warehouse", answer.map(|()| String::new())),
        };
        judged.unwrap_or_else(|refusal| general(probe, &refusal, None, "eu-central-1", "RENEW"))
    }

    /// The actions of the policy in the template, from the lines that name them.
    fn policy() -> BTreeSet<String> {
        let template = include_str!("../../../../deploy/template.yaml");
        let (_, policy) = template.split_once("\n  HostPolicy:\n").unwrap();
        let (policy, _) = policy.split_once("\n  # --- ").unwrap();
        let lines = policy.lines().filter_map(|line| line.trim().strip_prefix("Action:"));
        let quoted = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
        quoted.map(str::to_owned).collect()
    }

    #[test]
    fn every_action_of_the_hosts_policy_is_tried() {
        let tried: BTreeSet<String> = ALL.iter().map(|probe| probe.action.to_owned()).collect();
        assert_eq!(tried, policy());
    }

    /// Without GetLogEvents jobs do well; every other denial is a failure of the check, and names the action.
    #[test]
    fn every_denial_is_told() {
        for probe in ALL {
            let check = judged(probe, refusal("AccessDeniedException", "User x is not authorized"));
            let level = if probe.action == "logs:GetLogEvents" { Level::Warn } else { Level::Fail };
            assert_eq!(check.level, level, "{probe:?}");
            assert!(check.message.contains(probe.action), "{}", check.message);
            assert!(check.hint.unwrap().contains(probe.action), "{probe:?}");
        }
    }

    #[test]
    fn every_answer_is_judged() {
        let nobody = Refusal { code: None, message: "connection refused".into(), status: None };
        let proxy = Refusal { code: None, message: "unexpected token '<'".into(), status: Some(502) };
        let judge = |probe, code: &str, message: &str| judged(probe, refusal(code, message));
        let anywhere = |refusal: &Refusal| general(&PUT_EVENTS, refusal, None, "eu-central-1", "");
        let here =
            |refusal: &Refusal| general(&PUT_EVENTS, refusal, Some("http://127.0.0.1:1"), "eu-central-1", "");
        let checks = [
            judge(&HEARTBEAT, "InvalidToken", "Invalid Token"),
            judge(&SUCCESS, "AccessDeniedException", "User x is not authorized"),
            judge(&FAILURE, "ExpiredTokenException", "The security token included in the request is expired"),
            judge(&AUDIT, "ConditionalCheckFailedException", "The conditional request failed"),
            judge(&AUDIT, "ResourceNotFoundException", "Requested resource not found"),
            judge(&ENTER, "ResourceNotFoundException", "Requested resource not found"),
            judge(&ENTER, "AccessDeniedException", "User x is not authorized"),
            judge(&AUDIT, "UnrecognizedClientException", "The security token is invalid"),
            judge(
                &CREATE_STREAM,
                "ResourceAlreadyExistsException",
                "The specified log stream already exists",
            ),
            judge(&PUT_EVENTS, "ResourceNotFoundException", "The specified log stream does not exist."),
            judge(&PUT_EVENTS, "ResourceNotFoundException", "The specified log group does not exist."),
            judge(&PUT_EVENTS, "InvalidSignatureException", "Signature expired"),
            judge(&GET_EVENTS, "AccessDeniedException", "User x is not authorized"),
            judge(&SECRET, "ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
            judge(&SECRET, "SomethingNew", "of which nobody has heard"),
            secret("warehouse", Ok("{}".into())).unwrap(),
            anywhere(&nobody),
            anywhere(&proxy),
            here(&proxy),
            here(&nobody),
        ];
        insta::assert_snapshot!(super::super::report(&checks));
    }
}
