//! Names and ARNs: what may be one, and what is said when it is not.

use crate::asl::limits;
use crate::service::AwsError;

/// Refuses a name the service would refuse
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>).
pub(super) fn check_name(name: &str) -> Result<(), AwsError> {
    let characters = name.chars().count();
    if (1..=limits::NAME_CHARS).contains(&characters) && name.chars().all(may_be_in_a_name) {
        return Ok(());
    }
    Err(AwsError::client("InvalidName", format!("Invalid Name: '{name}'")))
}

fn may_be_in_a_name(c: char) -> bool {
    !c.is_whitespace()
        && !"<>{}[]?*\"#%\\^|~`$&,;:/".contains(c)
        && !c.is_control()
        && !matches!(c, '\u{FFFE}' | '\u{FFFF}' | '\u{10FFFF}')
}

/// Refuses what is no ARN of a `kind` (`stateMachine`, `execution`) of this service.
pub(super) fn check_arn(arn: &str, kind: &str) -> Result<(), AwsError> {
    let mut parts = arn.split(':');
    let known = parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some("states")
        && parts.next().is_some()
        && parts.next().is_some();
    match parts.next() {
        Some(found) if known && found == kind => Ok(()),
        Some(found) if known => Err(AwsError::client(
            "InvalidArn",
            format!("Invalid Arn: 'Resource type not valid in this context: {found}'"),
        )),
        _ => Err(AwsError::client(
            "InvalidArn",
            format!("Invalid Arn: 'Invalid ARN prefix: {}'", arn.chars().take(256).collect::<String>()),
        )),
    }
}

pub(super) fn no_machine(arn: &str) -> AwsError {
    AwsError::client("StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{arn}'"))
}

pub(super) fn no_execution(arn: &str) -> AwsError {
    AwsError::client("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"))
}

/// How many a page holds: 100 unless told, at most 1000
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html>).
pub(super) fn page_size(asked: Option<i64>) -> Result<i64, AwsError> {
    match asked.unwrap_or(0) {
        0 => Ok(100),
        size @ 1..=1000 => Ok(size),
        size => Err(crate::shape::constraint(
            "maxResults",
            &size.to_string(),
            "Member must have value less than or equal to 1000",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arns_are_checked() {
        for name in ["nightly", "2025-01-31T02:00", "a b", "", &"x".repeat(81), "a/b", "tab\t", "é_-.()!+="]
        {
            let fine = matches!(name, "nightly" | "é_-.()!+=");
            assert_eq!(check_name(name).is_ok(), fine, "{name}");
        }
        assert!(check_arn("arn:aws:states:us-east-1:000000000000:stateMachine:m", "stateMachine").is_ok());
        let error =
            check_arn("arn:aws:states:us-east-1:000000000000:execution:m:n", "stateMachine").unwrap_err();
        assert_eq!(error.code, "InvalidArn");
        assert!(check_arn("m", "stateMachine").is_err());
    }
}
