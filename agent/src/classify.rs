//! Which answers of AWS are final and which pass: decided here and nowhere else.
//!
//! Everything that is not known to be final passes, access errors included: an operator corrects a policy, a table is
//! created late, credentials are renewed, and what waits in the outbox then goes out.

use std::time::{Duration, Instant};

use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// What an error means to whoever made the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Try again later: throttling, faults of the service or the network, missing permissions.
    Passing,
    /// Nobody waits for this token any more: it is used, expired, or its execution has ended.
    Gone,
    /// The condition of the write does not hold: a final record is there.
    ConditionFailed,
    /// What was to be created is there.
    AlreadyExists,
    /// What was addressed is not there. Passes or not: the caller knows whether it can create it.
    NotFound,
    /// The service will never take this call as it is.
    Refused,
}

/// Reads an error's code.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html#API_SendTaskSuccess_Errors>
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html#API_PutLogEvents_Errors>
pub(crate) fn classify<E: ProvideErrorMetadata>(error: &E) -> Answer {
    match error.code().unwrap_or_default() {
        "TaskTimedOut" | "TaskDoesNotExist" | "InvalidToken" => Answer::Gone,
        "ConditionalCheckFailedException" => Answer::ConditionFailed,
        "ResourceAlreadyExistsException" => Answer::AlreadyExists,
        "ResourceNotFoundException" => Answer::NotFound,
        "ValidationException"
        | "InvalidOutput"
        | "InvalidParameterException"
        | "InvalidRequestException"
        | "InvalidSequenceTokenException"
        | "DataAlreadyAcceptedException"
        | "SerializationException" => Answer::Refused,
        _ => Answer::Passing,
    }
}

/// Pauses between tries: they double from a fifth of a second to half a minute, each with jitter of up to a half, so
/// that a host full of jobs does not knock in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
    tries: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(Duration::from_secs(30))
    }
}

impl Backoff {
    pub(crate) fn up_to(most: Duration) -> Self {
        Self { next: Duration::from_millis(200).min(most), most, tries: 0 }
    }

    /// Whether the journal should hear of this failure: of the first, and then of one in some minutes.
    pub(crate) fn worth_telling(&self) -> bool {
        self.tries.is_multiple_of(20)
    }

    /// Whether there was a failure: worth a word once it is over.
    pub(crate) fn has_paused(&self) -> bool {
        self.tries > 0
    }

    /// Waits, and makes the next wait longer.
    pub(crate) async fn pause(&mut self) {
        self.tries = self.tries.wrapping_add(1);
        let pause = self.next.mul_f64(0.5 + chance() / 2.0);
        self.next = (self.next * 2).min(self.most);
        tokio::time::sleep(pause).await;
    }
}

/// Which failures of something that is tried for ever are worth a line in the agent's log: the first, and then one in
/// some minutes. An outage must not drown what else is said.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    told: Option<Instant>,
}

impl Telling {
    const EVERY: Duration = Duration::from_secs(5 * 60);

    /// It failed: whether to tell.
    pub(crate) fn failed(&mut self) -> bool {
        self.failed_at(Instant::now())
    }

    fn failed_at(&mut self, now: Instant) -> bool {
        let tell = self.told.is_none_or(|told| now.duration_since(told) >= Self::EVERY);
        if tell {
            self.told = Some(now);
        }
        tell
    }

    /// It worked: whether to tell that it does again.
    pub(crate) fn works(&mut self) -> bool {
        self.told.take().is_some()
    }
}

/// A number from 0 to 1; the standard library's hash seeds are random enough for jitter.
fn chance() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::hash::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::error::ErrorMetadata;

    #[test]
    fn only_known_answers_are_final() {
        let of = |code: &str| classify(&ErrorMetadata::builder().code(code).build());
        assert_eq!(of("TaskTimedOut"), Answer::Gone);
        assert_eq!(of("ThrottlingException"), Answer::Passing);
        assert_eq!(of("AccessDeniedException"), Answer::Passing);
        assert_eq!(of("SomethingNew"), Answer::Passing);
        assert_eq!(classify(&ErrorMetadata::builder().build()), Answer::Passing);
        assert_eq!(of("ValidationException"), Answer::Refused);
    }

    #[test]
    fn an_outage_is_told_now_and_then() {
        let mut telling = Telling::default();
        assert!(!telling.works());
        let began = Instant::now();
        let told = (0..3600).filter(|second| telling.failed_at(began + Duration::from_secs(*second))).count();
        assert_eq!(told, 12, "in an hour");
        assert!(telling.works() && !telling.works() && telling.failed());
    }

    #[test]
    fn chance_is_a_fraction() {
        assert!((0..100).all(|_| (0.0..=1.0).contains(&chance())));
    }
}
