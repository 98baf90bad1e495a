//! The AWS API on one machine.
//!
//! The embedded default implements the AWS API actions the product needs, in-process, on SQLite. Nothing above the
//! AWS SDK knows whether it speaks to AWS or to this crate.

mod asl;
pub mod clock;
pub mod cloud;
pub mod connector;
pub mod credentials;
pub mod data_dir;
pub mod dynamodb;
pub mod endpoint;
pub mod lambda;
pub mod logs;
pub mod place;
pub mod protocol;
mod query;
pub mod registry;
mod rest;
pub mod scheduler;
pub mod secrets;
pub mod service;
mod shape;
pub mod sns;
pub mod ssm;
pub mod stepfunctions;
pub mod store;
pub mod sts;
pub mod warehouse;
