//! The token of a request that the agent does not take.
//!
//! A request of a newer version, or with a value that breaks the rules, is refused; but a task waits for it, and would
//! wait until its heartbeat is missed and then blame the host. If the token can be made out, the task is told instead.

use rsqlflow_config::job;

/// Whom to tell that a request was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addressee {
    pub task_token: String,
    /// As far as it can be made out.
    pub job_name: String,
}

/// Looks for the token; nothing else of the request is believed.
pub(crate) fn addressee(word: &str) -> Option<Addressee> {
    let value = job::open(word).ok()?;
    let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    let job_name = text("job_name").unwrap_or_default();
    text("task_token").filter(|token| !token.is_empty()).map(|task_token| Addressee { task_token, job_name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE as BASE64;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_panics(word: String) {
            let _ = addressee(&word);
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
