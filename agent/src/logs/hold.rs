//! Holding back what may show a password, until it can be masked.
//!
//! A log that an earlier process of the agent began may show a password that only that process knew. Where it was handed
//! out to the job, nothing of its output leaves the host before Secrets Manager has named it again: for as long as that
//! takes, and never once there is no such secret any more. Jobs that were given none wait no longer than one try.

use crate::classify::Backoff;
use crate::context::Context;
use crate::handed_out;

use super::notice::Withheld;

/// Answers once the log may be shipped, or with why it must not be.
pub(crate) async fn until_masked(context: &Context, job_id: &str, secret_id: &str) -> Option<Withheld> {
    let mut backoff = Backoff::default();
    loop {
        let error = match handed_out::versions(&context.job_dir(job_id)) {
            Ok(versions) if versions.is_empty() || secret_id.is_empty() => {
                context.secrets.warm(secret_id).await;
                return None;
            }
            Ok(versions) => match context.secrets.recall(secret_id, &versions).await {
                Ok(()) => return None,
                Err(error) if error.is_final() => {
                    tracing::warn!(
                        job_id,
                        secret_id,
                        "the job's output may show the password of a secret that is not there any more; it is not shipped"
                    );
                    return Some(Withheld::NoSecret(secret_id.to_owned()));
                }
                Err(error) => error.to_string(),
            },
            Err(error) => format!("whether it was given a secret cannot be seen: {error}"),
        };
        if backoff.worth_telling() {
            tracing::warn!(
                job_id,
                error,
                "the job's output may show a password that is not known; its log waits until it is"
            );
        }
        backoff.pause().await;
    }
}
