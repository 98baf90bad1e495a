//! How far this host's clock is from AWS's, read from the answers of the calls that are made anyway.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_sfn::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sfn::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sfn::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::Check;

/// Log events and audit records carry the host's time, so it should be right to the second; answers are dated in whole
/// seconds and travel for a while.
const WARN_SECONDS: i64 = 5;

/// AWS refuses what was signed earlier or later than that.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
const FAIL_SECONDS: i64 = 300;

/// An interceptor that notes how far each answer's date is ahead of this host's clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Dates(Arc<Mutex<Vec<i64>>>);

impl Intercept for Dates {
    fn name(&self) -> &'static str {
        "Dates"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        // A proxy's own answer has a date as well.
        let date = headers.get("date").filter(|_| headers.get("x-amzn-requestid").is_some());
        if let Some(date) = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok())
            && let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH)
            && let Ok(now) = i64::try_from(now.as_secs())
        {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(date.secs() - now);
        }
        Ok(())
    }
}

impl Dates {
    pub(super) fn check(&self) -> Check {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The answer that was dated last before it was read says it best.
        judge(seen.iter().copied().min_by_key(|skew| skew.abs()))
    }
}

fn judge(skew: Option<i64>) -> Check {
    const NAME: &str = "clock";
    let Some(skew) = skew else {
        return Check::warn(NAME, "no service answered, so there is nothing to compare it with", "see below");
    };
    let message = match skew {
        0 => "as AWS's".to_owned(),
        skew if skew > 0 => format!("{skew} s behind AWS's"),
        skew => format!("{} s ahead of AWS's", -skew),
    };
    let hint = "synchronise it: timedatectl set-ntp true, or start chronyd";
    match skew.abs() {
        far if far > FAIL_SECONDS => Check::fail(NAME, format!("{message}: AWS refuses signatures"), hint),
        far if far > WARN_SECONDS => Check::warn(NAME, message, hint),
        _ => Check::ok(NAME, message),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn clocks_go_wrong_both_ways() {
        assert_eq!(judge(Some(1)).level, Level::Ok);
        assert_eq!(judge(Some(-5)).level, Level::Ok);
        assert_eq!(judge(Some(6)).message, "6 s behind AWS's");
        assert_eq!(judge(Some(-300)).level, Level::Warn);
        assert_eq!(judge(Some(-301)).level, Level::Fail);
        assert_eq!(judge(None).level, Level::Warn);
    }
}
