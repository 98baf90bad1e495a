//! The token of a request that the agent does not take.
//!
//! A request of a newer version, or with a value that breaks the rules, is refused; but a task waits for it, and would
//! wait until its heartbeat is missed and then blame the host. If the token can be made out, the task is told instead.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rsqlflow_config::job::REQUEST_MAX;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whom to tell that a request was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addressee {
    pub task_token: String,
    /// As far as it can be made out.
    pub job_name: String,
}

/// Looks for the token; nothing else of the request is believed.
pub(crate) fn addressee(word: &str) -> Option<Addressee> {
    if word.len() > REQUEST_MAX {
        return None;
    }
    let json = percent_decode(&BASE64.decode(word.trim()).ok()?)?;
    let value: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    let job_name = text("job_name").unwrap_or_default();
    text("task_token").filter(|token| !token.is_empty()).map(|task_token| Addressee { task_token, job_name })
}

fn percent_decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'%' {
            let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            decoded.push(*byte);
            at += 1;
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_panics(word: String, bytes: Vec<u8>) {
            let _ = addressee(&word);
            let _ = percent_decode(&bytes);
        }
    }

    #[test]
    fn the_token_is_found_in_what_another_version_wrote() {
        let word = BASE64.encode(r#"{"version":9,"task_token":"t%C3%A4","job_name":"j","new":[]}"#);
        let found = addressee(&word).unwrap();
        assert_eq!((found.task_token.as_str(), found.job_name.as_str()), ("tä", "j"));
        assert_eq!(addressee(&BASE64.encode("{}")), None);
    }
}
