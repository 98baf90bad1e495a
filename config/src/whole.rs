//! Whole numbers, however JSON writes them.
//!
//! JSON knows numbers and not their kinds, and JSONata calculates with doubles: `60`, `60.0` and `6e1` are the same number,
//! and which of them a state machine writes is its own affair. serde takes only the first for an integer.

/// Makes integers of all numbers that are whole. No member of a request is a fraction that could be mistaken.
pub(crate) fn make_whole(value: &mut serde_json::Value) {
    use serde_json::Value;
    /// Up to here a double has every integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)
            {
                #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
                let whole = float as i64;
                *value = whole.into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_whole),
        Value::Object(members) => members.values_mut().for_each(make_whole),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use proptest::prelude::*;

    use crate::job::{JobRequest, VERSION};
    use crate::names::ParameterNames;
    use crate::workflow::Retry;

    fn request() -> JobRequest {
        JobRequest {
            version: VERSION,
            task_token: "token".into(),
            workflow_id: "nightly".into(),
            workflow_execution_id: "nightly-1".into(),
            job_name: "load.sh".into(),
            script: "load.sh".into(),
            arguments: vec!["1.0".into()],
            parameters: BTreeMap::from([("amount".into(), "1e3".into())]),
            timeout_seconds: Some(5),
            stall_seconds: Some(6),
            retry: Some(Retry { max_attempts: 3, interval_seconds: 60, ..Retry::default() }),
            success_exit_codes: vec![],
            pool: None,
            priority: -3,
            sent_at: None,
            first_attempt: 7,
            secret_id: "s".into(),
            heartbeat_seconds: 30,
        }
    }

    /// As the state machine encodes it.
    fn word(text: &str) -> String {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        base64::engine::general_purpose::URL_SAFE.encode(encoded)
    }

    proptest! {
        #[test]
        fn whole_numbers_may_be_written_in_any_way(
            seconds: u32, codes: Vec<u8>, priority in -100..=100i32, attempt in 1..u32::MAX, exponent: bool,
        ) {
            let mut sent = request();
            (sent.timeout_seconds, sent.stall_seconds) = (Some(seconds), Some(seconds));
            (sent.success_exit_codes, sent.priority, sent.first_attempt) = (codes, priority, attempt);
            sent.heartbeat_seconds = attempt;
            let mut value = serde_json::to_value(&sent).unwrap();
            let mut count = 0;
            write_as_doubles(&mut value, exponent, &mut count);
            prop_assert!(count >= 8, "{}", value);
            let text = value.to_string().replace("\"@", "").replace("@\"", "");
            prop_assert_eq!(JobRequest::decode(&word(&text), &ParameterNames::default()).unwrap(), sent, "{}", text);
        }
    }

    /// Every number as `60.0` or `6e1`, marked.
    fn write_as_doubles(value: &mut serde_json::Value, exponent: bool, count: &mut usize) {
        use serde_json::Value;
        match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap();
                *value = (if exponent { format!("@{number:e}@") } else { format!("@{number:?}@") }).into();
                *count += 1;
            }
            Value::Array(values) => {
                values.iter_mut().for_each(|value| write_as_doubles(value, exponent, count))
            }
            Value::Object(members) => {
                members.values_mut().for_each(|value| write_as_doubles(value, exponent, count));
            }
            _ => {}
        }
    }

    #[test]
    fn a_number_that_is_not_whole_is_refused() {
        let text = serde_json::to_string(&request()).unwrap();
        for number in ["30.5", "1e300", "-1.0", "1e10", "\"30\""] {
            let text = text.replace("\"heartbeat_seconds\":30", &format!("\"heartbeat_seconds\":{number}"));
            let refused = JobRequest::decode(&word(&text), &ParameterNames::default()).unwrap_err();
            assert!(refused.to_string().contains("wrong type"), "{number}: {refused}");
        }
    }
}
