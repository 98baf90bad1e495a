//! `arn:aws:states:::dynamodb:getItem` and its three siblings
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/connect-ddb.html>).

use std::sync::Arc;

use serde_json::Value;

use super::{Caller, Integration, Outcome, Pattern, exception_name, is_unmodelled, pascal, with_metadata};
use crate::asl::failure::Failure;

struct DynamoDb {
    action: String,
}

pub(super) fn recognise(
    service: &str,
    action: &str,
    pattern: Pattern,
) -> Option<Result<Arc<dyn Integration>, String>> {
    let known =
        service == "dynamodb" && matches!(action, "getItem" | "putItem" | "updateItem" | "deleteItem");
    (known && pattern == Pattern::RequestResponse)
        .then(|| Ok(Arc::new(DynamoDb { action: pascal(action) }) as Arc<dyn Integration>))
}

impl Integration for DynamoDb {
    fn service(&self) -> &str {
        "dynamodb"
    }

    fn call<'a>(&'a self, from: &'a Caller, arguments: Value) -> Outcome<'a> {
        Box::pin(async move {
            let service = from.service(self.service())?;
            let answer = service.call(&self.action, arguments).await.map_err(|error| {
                let class = if is_unmodelled(&error) {
                    "AmazonDynamoDBException".into()
                } else {
                    exception_name(&error.code)
                };
                Failure::new(
                    format!("DynamoDB.{class}"),
                    format!(
                        "{} (Service: AmazonDynamoDBv2; Status Code: {}; Error Code: {}; Request ID: {}; Proxy: null)",
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
