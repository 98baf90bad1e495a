//! Managed instances: which ids there may be, which are known, which are attached now.

use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::epoch_seconds;
use crate::service::AwsError;
use crate::shape::{constraint, parse, position};

use super::Ssm;

/// "MaxResults: minimum 5, maximum 50"
/// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstanceInformation.html>).
const MAX_RESULTS: usize = 50;

/// AWS's pattern: `(^i-(\w{8}|\w{17})$)|(^mi-\w{17}$)`.
pub(super) fn check_id(id: &str) -> Result<(), AwsError> {
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let fits = match (id.strip_prefix("i-"), id.strip_prefix("mi-")) {
        (Some(rest), _) => matches!(rest.len(), 8 | 17) && word(rest),
        (_, Some(rest)) => rest.len() == 17 && word(rest),
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(constraint(
            "instanceIds",
            &format!("[{id}]"),
            "Member must satisfy constraint: [Member must satisfy regular expression pattern: \
             (^i-(\\w{8}|\\w{17})$)|(^mi-\\w{17}$)]",
        ))
    }
}

pub(super) fn is_known(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached("select 1 from ssm_instances where instance_id = ?1")?.exists([id])
}

pub(super) fn unknown(id: &str) -> AwsError {
    AwsError::client(
        "InvalidInstanceId",
        format!("Instances [[{id}]] not in a valid state for account {}", crate::place::ACCOUNT_ID),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeInstanceInformation {
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    instance_information_filter_list: Vec<OldFilter>,
    #[serde(default)]
    max_results: Option<usize>,
    #[serde(default)]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldFilter {
    key: String,
    value_set: Vec<String>,
}

impl Ssm {
    pub(super) async fn describe_instance_information(&self, body: Value) -> Result<Value, AwsError> {
        let request: DescribeInstanceInformation = parse(body)?;
        let skip = usize::try_from(position(request.next_token.as_deref(), "InvalidNextToken")?)
            .unwrap_or(usize::MAX);
        let limit = request.max_results.unwrap_or(MAX_RESULTS).clamp(1, MAX_RESULTS);
        let old = request.instance_information_filter_list.into_iter();
        let filters: Vec<Filter> = request
            .filters
            .into_iter()
            .chain(old.map(|filter| Filter { key: filter.key, values: filter.value_set }))
            .collect();
        for filter in &filters {
            if !matches!(filter.key.as_str(), "InstanceIds" | "PingStatus" | "PlatformTypes") {
                return Err(AwsError::client(
                    "InvalidFilterKey",
                    format!("The embedded default has no filter {}.", filter.key),
                ));
            }
        }
        let known: Vec<(String, i64, i64)> = self
            .store
            .read(|tx| {
                tx.prepare("select instance_id, registered_at, last_ping from ssm_instances order by 1")?
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                    .collect()
            })
            .await?;
        let now = self.clock.now();
        let all: Vec<Value> = known
            .into_iter()
            .filter_map(|(id, registered_at, last_ping)| {
                let attached = self.delivery.is_attached(&id);
                let ping = if attached { "Online" } else { "ConnectionLost" };
                let matches = filters.iter().all(|filter| match filter.key.as_str() {
                    "InstanceIds" => filter.values.contains(&id),
                    "PingStatus" => filter.values.iter().any(|value| value == ping),
                    _ => filter.values.iter().any(|value| value == "Linux"),
                });
                let kind = if id.starts_with("mi-") { "ManagedInstance" } else { "EC2Instance" };
                matches.then(|| {
                    json!({
                        "InstanceId": id,
                        "PingStatus": ping,
                        "LastPingDateTime": epoch_seconds(if attached { now } else { last_ping }),
                        "AgentVersion": env!("CARGO_PKG_VERSION"),
                        "IsLatestVersion": true,
                        "PlatformType": "Linux",
                        "ResourceType": kind,
                        "RegistrationDate": epoch_seconds(registered_at),
                        "IPAddress": "127.0.0.1",
                    })
                })
            })
            .collect();
        let page: Vec<&Value> = all.iter().skip(skip).take(limit).collect();
        let mut reply = json!({ "InstanceInformationList": page });
        if skip.saturating_add(limit) < all.len() {
            reply["NextToken"] = json!((skip + limit).to_string());
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_ids_follow_awss_pattern() {
        for good in ["i-12345678", "i-0123456789abcdef0", "mi-0123456789abcdef0"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", "i-1234", "mi-12345678", "i-0123456789abcdef", "i-1234567é", "local", "i-12345678 "]
        {
            assert_eq!(check_id(bad).unwrap_err().code, "ValidationException", "{bad}");
        }
    }
}
