//! The agent with real scripts against a fake AWS.

mod ends;
mod fake_aws;
mod output;
mod recovery;
mod reporting;
mod scripts;
mod secrets;
mod world;
