//! Reading a request's body into a struct, with AWS's errors when it does not fit.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::service::AwsError;
use crate::store::StoreError;

/// Reads `body` as `T`.
///
/// # Errors
/// `ValidationException` for a missing member, `SerializationException` for one of the wrong type.
pub(crate) fn parse<T: DeserializeOwned>(body: Value) -> Result<T, AwsError> {
    serde_json::from_value(body).map_err(|error| {
        let text = error.to_string();
        match text.split('`').nth(1) {
            Some(member) if text.starts_with("missing field") => AwsError::validation(format!(
                "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must not be null"
            )),
            _ => AwsError::client("SerializationException", without_values(&text)),
        }
    })
}

/// serde quotes the value it did not like, which may be a secret.
fn without_values(text: &str) -> String {
    match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}...{}", &text[..=first], &text[last..]),
        _ => text.to_owned(),
    }
}

/// A validation error about one member, in AWS's words.
pub(crate) fn constraint(member: &str, value: &str, constraint: &str) -> AwsError {
    AwsError::validation(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
    ))
}

/// Where a listing goes on: tokens are a position, which callers must not look into.
pub(crate) fn position(token: Option<&str>, invalid: &str) -> Result<i64, AwsError> {
    match token {
        None => Ok(0),
        Some(token) => token
            .parse()
            .ok()
            .filter(|position| *position >= 0)
            .ok_or_else(|| AwsError::client(invalid, "The specified token is not valid.")),
    }
}

impl From<StoreError> for AwsError {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the local store failed");
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::server(format!("{error}{cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_name_the_member_and_never_its_value() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        #[expect(dead_code, reason = "only its reading matters")]
        struct Request {
            parameters: Vec<String>,
        }
        let error = parse::<Request>(json!({})).unwrap_err();
        assert_eq!(error.code, "ValidationException");
        assert!(error.message.contains("'Parameters'"), "{error}");
        let error = parse::<Request>(json!({ "Parameters": "a \"secret\" word" })).unwrap_err();
        assert_eq!(error.code, "SerializationException");
        assert!(!error.message.contains("secret"), "{error}");
    }
}
