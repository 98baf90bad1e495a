//! STS, as much as it takes to ask "who am I": the first thing people and doctors try against an endpoint.

use serde_json::{Value, json};

use crate::place::Place;
use crate::service::{AwsError, Reply, Service};

/// STS on this machine.
#[derive(Debug, Clone)]
pub struct Sts {
    place: Place,
}

impl Sts {
    /// For the local account.
    pub fn new(place: Place) -> Self {
        Self { place }
    }
}

impl Service for Sts {
    fn target_prefix(&self) -> &'static str {
        "AWSSecurityTokenServiceV20110615"
    }

    fn sdk_name(&self) -> &'static str {
        "sts"
    }

    fn error_prefix(&self) -> &'static str {
        "Sts"
    }

    fn call<'a>(&'a self, action: &'a str, _: Value) -> Reply<'a> {
        Box::pin(async move {
            match action {
                "GetCallerIdentity" => Ok(json!({
                    "Arn": format!("arn:aws:iam::{}:root", self.place.account_id),
                    "UserId": self.place.account_id,
                    "Account": self.place.account_id,
                })),
                _ => Err(AwsError::unknown_action("STS", action)),
            }
        })
    }
}
