//! AWS Signature Version 4: who may use the endpoint.
//!
//! Any user of the machine can connect to a loopback port, so the port proves nothing; a signature made with the
//! data directory's secret does. Checked as AWS checks it
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>): the canonical
//! request is rebuilt, the body's hash included, and times may differ by fifteen minutes.
//!
//! Only the `Authorization` header is taken: presigned URLs and unsigned payloads are refused, nothing here needs them.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::clock::Millis;
use crate::credentials::LocalCredentials;
use crate::protocol::Shape;
use crate::service::AwsError;

/// "the request must reach AWS within five minutes", in practice fifteen:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>.
const MAX_SKEW: Millis = 15 * 60 * 1000;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Headers that must be under the signature, or the request could be bent to another action or replayed later.
const MUST_BE_SIGNED: [&str; 4] = ["host", "x-amz-date", "x-amz-invocation-type", "x-amz-target"];

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Missing,
    Incomplete(String),
    UnknownKey,
    Mismatch,
    Time(String),
}

impl Refusal {
    /// The error in AWS's words, which differ between the protocols.
    pub(super) fn to_error(&self, shape: Shape) -> AwsError {
        let (json, query, message) = match self {
            Self::Missing => (
                "MissingAuthenticationTokenException",
                "MissingAuthenticationToken",
                "Request is missing Authentication Token".to_owned(),
            ),
            Self::Incomplete(message) => {
                ("IncompleteSignatureException", "IncompleteSignature", message.clone())
            }
            Self::UnknownKey => (
                "UnrecognizedClientException",
                "InvalidClientTokenId",
                "The security token included in the request is invalid.".to_owned(),
            ),
            Self::Mismatch => (
                "InvalidSignatureException",
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your AWS \
                 Secret Access Key and signing method. Consult the service documentation for details."
                    .to_owned(),
            ),
            Self::Time(message) => ("InvalidSignatureException", "SignatureDoesNotMatch", message.clone()),
        };
        if shape == Shape::Query {
            AwsError { status: 403, ..AwsError::client(query, message) }
        } else {
            AwsError::client(json, message)
        }
    }
}

/// What the `Authorization` header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authorization<'a> {
    access_key_id: &'a str,
    /// Date, region and service, as signed.
    scope: [&'a str; 3],
    signed_headers: Vec<&'a str>,
    signature: Vec<u8>,
    stamp: &'a str,
}

/// Everything that can be checked before the body is read: a stranger's body never is.
pub(super) fn check_headers<'a>(
    headers: &'a HeaderMap,
    credentials: &LocalCredentials,
    now: Millis,
) -> Result<Authorization<'a>, Refusal> {
    let authorization = parse(headers)?;
    if authorization.access_key_id != credentials.access_key_id {
        return Err(Refusal::UnknownKey);
    }
    let incomplete = |text: &str| Err(Refusal::Incomplete(text.to_owned()));
    for name in MUST_BE_SIGNED {
        let present = name == "host" || headers.contains_key(name);
        if present && !authorization.signed_headers.contains(&name) {
            return incomplete(&format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."));
        }
    }
    let Ok(signed_at) = chrono::NaiveDateTime::parse_from_str(authorization.stamp, "%Y%m%dT%H%M%SZ") else {
        return incomplete(
            "Date must be in ISO-8601 'basic format'. See http://en.wikipedia.org/wiki/ISO_8601",
        );
    };
    let [date, ..] = authorization.scope;
    if !authorization.stamp.starts_with(date) {
        return Err(Refusal::Time(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != \
             '{}'",
            authorization.stamp
        )));
    }
    let skew = now - signed_at.and_utc().timestamp_millis();
    let stamp = authorization.stamp;
    if skew > MAX_SKEW {
        return Err(Refusal::Time(format!("Signature expired: {stamp} is now earlier than 15 min. ago")));
    }
    if skew < -MAX_SKEW {
        return Err(Refusal::Time(format!(
            "Signature not yet current: {stamp} is still later than in 15 min."
        )));
    }
    Ok(authorization)
}

fn parse(headers: &HeaderMap) -> Result<Authorization<'_>, Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let header = text("authorization").ok_or(Refusal::Missing)?;
    let parameters = header.strip_prefix(ALGORITHM).ok_or_else(|| {
        Refusal::Incomplete(format!("Authorization header requires the algorithm {ALGORITHM}."))
    })?;
    let find = |wanted: &str| {
        parameters
            .split(',')
            .filter_map(|parameter| parameter.trim().split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
            .ok_or_else(|| {
                Refusal::Incomplete(format!("Authorization header requires '{wanted}' parameter."))
            })
    };
    let credential: Vec<&str> = find("Credential")?.split('/').collect();
    let [access_key_id, date, region, service, "aws4_request"] = credential[..] else {
        return Err(Refusal::Incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term"
                .into(),
        ));
    };
    let signature = from_hex(find("Signature")?).ok_or(Refusal::Mismatch)?;
    let stamp = text("x-amz-date").ok_or_else(|| {
        Refusal::Incomplete("Authorization header requires existence of an 'X-Amz-Date' header.".into())
    })?;
    Ok(Authorization {
        access_key_id,
        scope: [date, region, service],
        signed_headers: find("SignedHeaders")?.split(';').collect(),
        signature,
        stamp,
    })
}

/// The rest of a request, as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// Recomputes the signature.
pub(super) fn check_signature(
    authorization: &Authorization<'_>,
    request: Signed<'_>,
    credentials: &LocalCredentials,
) -> Result<(), Refusal> {
    let body_hash = hex(&Sha256::digest(request.body));
    if let Some(claimed) = request.headers.get("x-amz-content-sha256")
        && claimed.as_bytes() != body_hash.as_bytes()
    {
        return Err(Refusal::Mismatch);
    }
    let mut canonical =
        format!("{}\n{}\n{}\n", request.method, canonical_path(request.path), canonical_query(request.query));
    for name in &authorization.signed_headers {
        let values: Vec<String> = request
            .headers
            .get_all(*name)
            .iter()
            .map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes());
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        if values.is_empty() {
            return Err(Refusal::Mismatch);
        }
        canonical.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    canonical.push_str(&format!("\n{}\n{body_hash}", authorization.signed_headers.join(";")));

    let [date, region, service] = authorization.scope;
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{date}/{region}/{service}/aws4_request\n{}",
        authorization.stamp,
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mut key = format!("AWS4{}", credentials.secret_access_key).into_bytes();
    for part in [date, region, service, "aws4_request"] {
        key = keyed(&key, part)?.finalize().into_bytes().to_vec();
    }
    // Compares in constant time.
    keyed(&key, &to_sign)?.verify_slice(&authorization.signature).map_err(|_| Refusal::Mismatch)
}

fn keyed(key: &[u8], text: &str) -> Result<Hmac<Sha256>, Refusal> {
    // A key may have any length, so this never fails.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Refusal::Mismatch)?;
    mac.update(text.as_bytes());
    Ok(mac)
}

/// Every service but S3 encodes the path's segments, which come encoded once, a second time.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut canonical: String =
        segments.iter().map(|segment| format!("/{}", encode(segment.as_bytes()))).collect();
    if canonical.is_empty() || path.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(&decode(name)), encode(&decode(value)))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3).and_then(from_hex)).flatten();
        match escaped {
            Some(byte) => {
                decoded.extend(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    decoded
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        })
        .collect()
}

#[cfg(test)]
#[path = "sigv4_tests.rs"]
mod tests;
