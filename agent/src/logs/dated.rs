//! What time it is at the service: the date of an answer, in whole seconds.
//! <https://www.rfc-editor.org/rfc/rfc9110#field.date>

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_sdk_cloudwatchlogs::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_cloudwatchlogs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudwatchlogs::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// An interceptor of one call.
#[derive(Debug, Clone)]
pub(super) struct Dated(Arc<AtomicI64>);

/// No answer came, or none with a date.
const NONE: i64 = i64::MIN;

impl Default for Dated {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NONE)))
    }
}

impl Intercept for Dated {
    fn name(&self) -> &'static str {
        "Dated"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(date) = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok()) {
            self.0.store(date.secs().saturating_mul(1000), Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Dated {
    /// In milliseconds since 1970.
    pub(super) fn date(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|date| *date != NONE)
    }
}
