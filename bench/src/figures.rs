//! Numbers out of many.

use std::time::Duration;

use serde_json::{Value, json};

use crate::round;

/// Times of one thing, taken again and again.
#[derive(Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64());
    }

    /// In seconds, the one that `share` of them do not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// Half, most and all of them, in milliseconds.
    pub(crate) fn milliseconds(&self) -> Value {
        let ms = |share| round(self.quantile(share) * 1000.0);
        json!({"p50": ms(0.5), "p99": ms(0.99), "max": ms(1.0)})
    }
}

impl From<Vec<f64>> for Times {
    fn from(seconds: Vec<f64>) -> Self {
        Self(seconds)
    }
}
