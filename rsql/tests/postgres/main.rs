//! The real binary against a real server. Each test has a cluster of its own, so scenarios that
//! belong together share a test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod cluster;
mod connections;
mod given;
mod loads;
mod psql_likeness;
mod scripts;
mod status;
