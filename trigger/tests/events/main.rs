//! The trigger's events against the embedded services: the same SDK clients, no socket.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(unreachable_pub, dead_code, reason = "the cloud is shared with other tests")]

#[path = "../cloud/mod.rs"]
mod cloud;
mod denials;
mod ends;
mod forms;
mod operators;
mod orders;
mod overlaps;
mod races;
mod restarts;
