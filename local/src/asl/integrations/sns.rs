//! `arn:aws:states:::sns:publish` (<https://docs.aws.amazon.com/step-functions/latest/dg/connect-sns.html>).
//! A message that is not text is sent as JSON text.

use std::sync::Arc;

use serde_json::Value;

use super::{Caller, Integration, Outcome, Pattern, exception_name, is_unmodelled, texts, with_metadata};
use crate::asl::failure::Failure;

struct Sns;

pub(super) fn recognise(
    service: &str,
    action: &str,
    pattern: Pattern,
) -> Option<Result<Arc<dyn Integration>, String>> {
    (service == "sns" && action == "publish" && !pattern.runs_a_job())
        .then(|| Ok(Arc::new(Sns) as Arc<dyn Integration>))
}

impl Integration for Sns {
    fn service(&self) -> &str {
        "sns"
    }

    fn call<'a>(&'a self, from: &'a Caller, arguments: Value) -> Outcome<'a> {
        Box::pin(async move {
            let service = from.service(self.service())?;
            let answer = service.call("Publish", texts(arguments, &["Message"])).await.map_err(|error| {
                let class =
                    if is_unmodelled(&error) { "AmazonSNSException".into() } else { exception_name(&error.code) };
                Failure::new(
                    format!("SNS.{class}"),
                    format!(
                        "{} (Service: AmazonSNS; Status Code: {}; Error Code: {}; Request ID: {}; Proxy: null)",
                        error.message,
                        error.status,
                        error.code,
                        uuid::Uuid::new_v4()
                    ),
                )
            })?;
            Ok(with_metadata(answer))
        })
    }
}
