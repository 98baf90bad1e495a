//! The signature check against a signature made by AWS's published example, and against every way to bend a request.

use super::*;

/// The key and the request of AWS's signing test suite, "post-x-www-form-urlencoded"
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-test-suite.html>).
fn suite() -> (LocalCredentials, HeaderMap, Millis) {
    let credentials = LocalCredentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    (credentials, headers, 1_440_938_160_000)
}

fn check(
    credentials: &LocalCredentials,
    headers: &HeaderMap,
    now: Millis,
    body: &[u8],
) -> Result<(), Refusal> {
    let authorization = check_headers(headers, credentials, now)?;
    let request = Signed { method: "POST", path: "/", query: "", headers, body };
    check_signature(&authorization, request, credentials)
}

#[test]
fn awss_own_example_passes() {
    let (credentials, headers, now) = suite();
    assert_eq!(check(&credentials, &headers, now, b"Param1=value1"), Ok(()));
}

#[test]
fn anything_else_is_refused() {
    let (credentials, headers, now) = suite();
    assert_eq!(check(&credentials, &headers, now, b"Param1=value2"), Err(Refusal::Mismatch));

    let wrong = LocalCredentials { secret_access_key: "x".into(), ..credentials.clone() };
    assert_eq!(check(&wrong, &headers, now, b"Param1=value1"), Err(Refusal::Mismatch));
    let unknown = LocalCredentials { access_key_id: "x".into(), ..credentials.clone() };
    assert_eq!(check(&unknown, &headers, now, b"Param1=value1"), Err(Refusal::UnknownKey));

    for skew in [MAX_SKEW + 1000, -MAX_SKEW - 1000] {
        let refused = check(&credentials, &headers, now + skew, b"Param1=value1");
        assert!(matches!(refused, Err(Refusal::Time(_))), "{refused:?}");
    }
    assert_eq!(check(&credentials, &headers, now + MAX_SKEW - 1, b"Param1=value1"), Ok(()));

    let mut claimed = headers.clone();
    claimed.insert("x-amz-content-sha256", "UNSIGNED-PAYLOAD".parse().unwrap());
    assert_eq!(check(&credentials, &claimed, now, b"Param1=value1"), Err(Refusal::Mismatch));

    let mut unsigned_target = headers.clone();
    unsigned_target.insert("x-amz-target", "AmazonSSM.SendCommand".parse().unwrap());
    let refused = check(&credentials, &unsigned_target, now, b"Param1=value1");
    assert!(matches!(refused, Err(Refusal::Incomplete(_))), "{refused:?}");

    let mut anonymous = headers.clone();
    anonymous.remove("authorization");
    assert_eq!(check(&credentials, &anonymous, now, b""), Err(Refusal::Missing));

    for broken in
        ["", "Bearer x", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host"]
    {
        let mut headers = headers.clone();
        headers.insert("authorization", broken.parse().unwrap());
        let refused = check(&credentials, &headers, now, b"");
        assert!(matches!(refused, Err(Refusal::Incomplete(_))), "{broken}: {refused:?}");
    }
}

#[test]
fn paths_and_queries_are_made_canonical() {
    assert_eq!(canonical_path("/"), "/");
    assert_eq!(canonical_path("/a/./b/../c%20d"), "/a/c%2520d");
    assert_eq!(canonical_query("b=2&a=1&a=%7e&c"), "a=1&a=~&b=2&c=");
}

#[test]
fn codes_differ_by_protocol() {
    assert_eq!(Refusal::Mismatch.to_error(Shape::Json11).code, "InvalidSignatureException");
    let query = Refusal::Mismatch.to_error(Shape::Query);
    assert_eq!((query.status, query.code.as_str()), (403, "SignatureDoesNotMatch"));
}
