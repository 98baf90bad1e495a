//! The agent with real scripts against a fake AWS.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests and what they share; clippy sees only the tests themselves as such"
)]

mod binary;
mod document;
mod ends;
mod fake_aws;
mod host;
mod identity;
mod leftovers;
mod operators;
mod output;
mod passwords;
mod recovery;
mod reporting;
mod scripts;
mod secrets;
mod stopped;
mod torn;
mod watched;
mod world;
