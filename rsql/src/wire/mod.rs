//! The warehouse connection: PostgreSQL's wire protocol, version 3, simple queries only.
//!
//! `postgres-protocol` encodes and decodes the messages; this module owns the socket and the
//! order of things. tokio-postgres, which would do both, keeps the command tag (`INSERT 0 3`, the
//! `ROLLBACK` that answers a failed `COMMIT`) and the column types to itself, and delivers
//! notices out of step with rows; a script client is judged on exactly those.
//!
//! Promises: messages come out in the order the server sent them, memory is bounded by the
//! largest single message, and reading goes on while COPY data is written, so neither side
//! can wait for the other for ever.

mod connect;
mod connection;
mod login;
mod message;
mod tls;

pub use connect::{ConnectError, cancel};
pub use connection::{Column, Connection, Event, Row, TransactionStatus, WireError};
pub use message::ServerMessage;
