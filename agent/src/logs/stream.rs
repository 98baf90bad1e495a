//! One log stream at the service: creating it, putting events, asking for them.
//!
//! What is decided here is what an answer means for a batch: that it was taken, that it was not, or that nobody knows.
//! The calls it makes, and so the permissions it needs: `logs:CreateLogStream`, `logs:CreateLogGroup` where the group is
//! not there, `logs:PutLogEvents`, and `logs:GetLogEvents` to ask whether a batch is there whose answer was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::{InputLogEvent, RejectedLogEventsInfo};

use super::dated::Dated;
use super::notice::Missing;
use crate::callback::why;
use crate::classify::{Answer, Backoff, classify};
use crate::context::Context;

/// What was put is read a moment later: so long is waited before it is asked for again, all of it after a call that was
/// given up without an answer, which may be under way still.
const LATE_PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// An empty page is not yet the end of an answer, but so many are.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html>
const PAGES_MAX: usize = 5;

/// Whether it was said that nobody may be asked; once is enough.
static SAID_IT_CANNOT_ASK: AtomicBool = AtomicBool::new(false);

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Put {
    /// Taken, apart from these; and the time at the service then, where the answer says it.
    Taken(Missing, Option<i64>),
    /// Taken or not: the answer was lost.
    Doubtful(String),
    /// The same, and the call may still be on its way: there was no answer for as long as one is waited for.
    Late(String),
    /// Not taken now.
    Later(String),
    /// Not taken: the stream is not there.
    NoStream,
    /// Not taken as it is, ever.
    Refused(String),
}

/// Whether a batch is there.
#[derive(Debug)]
pub(crate) enum Held {
    Yes,
    No,
    /// The service did not say.
    Unknown(String),
}

pub(crate) struct Stream {
    pub context: Arc<Context>,
    pub name: String,
    /// Whether it is there, as far as is known.
    pub created: bool,
    /// Whether the service has been seen to know it by its names.
    pub proven: bool,
}

impl Stream {
    /// Puts events that all carry the time `at`.
    pub(crate) async fn put(&self, texts: Vec<String>, at: i64) -> Put {
        let count = texts.len();
        let mut events = Vec::with_capacity(count);
        for text in texts {
            // Cannot fail: text and time are set.
            events.extend(InputLogEvent::builder().timestamp(at).message(text).build());
        }
        let call = self.context.clients.logs.put_log_events();
        let call = call.log_group_name(&self.context.config.log_group).log_stream_name(&self.name);
        let dated = Dated::default();
        let call = call.set_log_events(Some(events)).customize().interceptor(dated.clone());
        let error = match call.send().await {
            Ok(answer) => {
                let rejected = answer.rejected_log_events_info().map(|info| rejected(info, count));
                return Put::Taken(rejected.unwrap_or_default(), dated.date());
            }
            Err(error) => error,
        };
        match (error.code().unwrap_or_default(), classify(&error)) {
            ("DataAlreadyAcceptedException", _) => Put::Taken(Missing::default(), None),
            // Services of today do not look at tokens; one that does was not sent any.
            ("InvalidSequenceTokenException", _) => Put::Later(why(&error)),
            (_, Answer::NotFound) => Put::NoStream,
            (_, Answer::Refused) => Put::Refused(why(&error)),
            _ if is_answer_no(&error) => Put::Later(why(&error)),
            _ if matches!(error, SdkError::TimeoutError(_)) => Put::Late(why(&error)),
            _ => Put::Doubtful(why(&error)),
        }
    }

    /// Whether there are events of the time `at`, which no other batch has. `late`: of a call that was given up, which
    /// may arrive after a question, so that it is asked for longer.
    pub(crate) async fn holds(&self, at: i64, late: bool) -> Held {
        let pauses = if late { &LATE_PAUSES[..] } else { &LATE_PAUSES[..1] };
        for pause in pauses {
            match self.ask(Some(at)).await {
                Held::No => tokio::time::sleep(*pause).await,
                known => return known,
            }
        }
        self.ask(Some(at)).await
    }

    /// Whether there are events of the time `at` by now.
    pub(crate) async fn holds_now(&self, at: i64) -> Held {
        self.ask(Some(at)).await
    }

    /// Whether there are any events.
    pub(crate) async fn holds_any(&self) -> Held {
        self.ask(None).await
    }

    async fn ask(&self, at: Option<i64>) -> Held {
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let call = self.context.clients.logs.get_log_events();
            let call = call.log_group_name(&self.context.config.log_group).log_stream_name(&self.name);
            let call = call.set_start_time(at).set_end_time(at.map(|at| at + 1));
            let call = call.start_from_head(true).limit(1);
            let answer = match call.set_next_token(token.clone()).send().await {
                Ok(answer) => answer,
                Err(error) => {
                    return match (error.code().unwrap_or_default(), classify(&error)) {
                        (_, Answer::NotFound) => Held::No,
                        ("AccessDeniedException", _) | (_, Answer::Refused) => {
                            if at.is_some() {
                                self.say_it_cannot_ask(&why(&error));
                            }
                            Held::No
                        }
                        _ => Held::Unknown(why(&error)),
                    };
                }
            };
            if !answer.events().is_empty() {
                return Held::Yes;
            }
            if answer.next_forward_token.is_none() || answer.next_forward_token == token {
                break;
            }
            token = answer.next_forward_token;
        }
        Held::No
    }

    fn say_it_cannot_ask(&self, error: &str) {
        if !SAID_IT_CANNOT_ASK.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                stream = self.name,
                error,
                "the answer to some log events was lost, and CloudWatch Logs does not say whether it has them; they are \
                 sent again and may be there twice (grant logs:GetLogEvents to the agent)"
            );
        }
    }

    /// Creates the stream, and its group if that is missing too, however long that takes: a name that the service refuses
    /// is corrected in the settings, and a permission granted.
    pub(crate) async fn create(&mut self) {
        let (client, group) = (&self.context.clients.logs, &self.context.config.log_group);
        let mut backoff = Backoff::default();
        loop {
            let stream = client.create_log_stream().log_group_name(group).log_stream_name(&self.name);
            let Err(error) = stream.send().await else { break };
            match classify(&error) {
                Answer::AlreadyExists => break,
                Answer::NotFound => {
                    if let Err(error) = client.create_log_group().log_group_name(group).send().await
                        && classify(&error) != Answer::AlreadyExists
                    {
                        if backoff.worth_telling() {
                            tracing::warn!(group, error = %why(&error), "the log group cannot be created; trying again");
                        }
                        backoff.pause().await;
                    }
                }
                Answer::Passing | Answer::Refused | Answer::Gone | Answer::ConditionFailed => {
                    if backoff.worth_telling() {
                        tracing::warn!(stream = self.name, group, error = %why(&error), "the log stream cannot be created; trying again");
                    }
                    backoff.pause().await;
                }
            }
        }
        (self.created, self.proven) = (true, true);
    }

    pub(crate) fn say_it_waits(&self, backoff: &Backoff, error: &str) {
        if backoff.worth_telling() {
            tracing::warn!(stream = self.name, error, "log events cannot be sent; trying again");
        }
    }

    pub(crate) fn say_it_goes_on(&self, backoff: &Backoff) {
        if backoff.has_paused() {
            tracing::info!(stream = self.name, "log events are sent again");
        }
    }
}

/// Whether the service said no before it did anything: it answered, and blamed the caller (throttling does). A fault of
/// its own, a cut connection or silence may come after the act.
fn is_answer_no<E>(error: &SdkError<E>) -> bool {
    const REQUEST_TIMEOUT: u16 = 408;
    match error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::ServiceError(error) => {
            let status = error.raw().status();
            status.is_client_error() && status.as_u16() != REQUEST_TIMEOUT
        }
        _ => false,
    }
}

/// Which of `count` events the service left out: those up to an index are too old, those from one on too new.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_RejectedLogEventsInfo.html>
fn rejected(info: &RejectedLogEventsInfo, count: usize) -> Missing {
    let index = |index: Option<i32>| index.and_then(|index| usize::try_from(index).ok());
    let too_old = index(info.too_old_log_event_end_index()).unwrap_or(0).min(count);
    let expired = index(info.expired_log_event_end_index()).unwrap_or(0).min(count);
    let too_new = index(info.too_new_log_event_start_index()).map_or(0, |start| count.saturating_sub(start));
    let old = too_old.max(expired);
    Missing { too_old, expired: old - too_old, too_new: too_new.min(count - old), ..Missing::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_events_are_counted() {
        let counts = |info: RejectedLogEventsInfo| {
            let missing = rejected(&info, 10);
            (missing.too_old, missing.expired, missing.too_new)
        };
        let info = RejectedLogEventsInfo::builder();
        assert_eq!(counts(info.clone().build()), (0, 0, 0));
        let info = info.too_old_log_event_end_index(2).expired_log_event_end_index(3);
        assert_eq!(counts(info.clone().build()), (2, 1, 0));
        assert_eq!(counts(info.too_new_log_event_start_index(9).build()), (2, 1, 1));
    }
}
