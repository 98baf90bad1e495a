//! The token of a request that the agent does not take.
//!
//! A request of a newer version, or with a value that breaks the rules, is refused; but a task waits for it, and would
//! wait until its heartbeat is missed and then blame the host. If the token can be made out, the task is told instead.
//! The same holds for what a fault of the disk has left of a job's file or of its row in the journal.

use rsqlflow_config::job;

use crate::dispatcher::job_id;

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

/// Looks in a text that is no JSON any more for the token of this very job, whose id is its digest.
pub(crate) fn addressee_of(text: &str, id: &str) -> Option<Addressee> {
    let values = |name: &str| {
        let key = format!("\"{name}\":");
        let starts = text.match_indices(&key).map(|(at, key)| at + key.len());
        let ends = |start: usize| {
            let value = text.get(start..)?.trim_start();
            // Tokens and names of jobs need no escapes.
            value.strip_prefix('"')?.split_once('"').map(|(value, _)| value.to_owned())
        };
        starts.filter_map(ends).collect::<Vec<_>>()
    };
    let task_token = values("task_token").into_iter().find(|token| job_id(token) == id)?;
    Some(Addressee { task_token, job_name: values("job_name").pop().unwrap_or_default() })
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
            let _ = addressee_of(&word, "x");
        }
    }

    #[test]
    fn the_token_is_found_in_what_is_left_of_a_file_and_only_that_of_the_job() {
        let text = r#"{"request":{"version":1,"task_token":"AQ/+=","workflow_id":"w","job_name":"load","scr"#;
        let found = addressee_of(text, &job_id("AQ/+=")).unwrap();
        assert_eq!((found.task_token.as_str(), found.job_name.as_str()), ("AQ/+=", "load"));
        assert_eq!(addressee_of(text, &job_id("another")), None);
        assert_eq!(addressee_of(&text[..38], &job_id("AQ/+=")), None);
    }

    #[test]
    fn the_token_is_found_in_what_another_version_wrote() {
        let word = BASE64.encode(r#"{"version":9,"task_token":"t%C3%A4","job_name":"j","new":[]}"#);
        let found = addressee(&word).unwrap();
        assert_eq!((found.task_token.as_str(), found.job_name.as_str()), ("tä", "j"));
        assert_eq!(addressee(&BASE64.encode("{}")), None);
    }
}
