//! The product as its users meet it: the real binaries, a real PostgreSQL, the plain `aws` command line.
//!
//! One binary, one file per story. Every story has a directory of its own, so they may run at once.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod aws_backend;
mod bad_scripts;
mod chaos;
mod clocks;
mod demo;
mod disk_full;
mod failures;
mod hostile;
mod hosts;
mod mistakes;
mod plain_form;
mod restart_from;
mod restarts;
mod schedules;
mod secrets;
mod statemachines;
mod tree;
mod upgrade;
mod values;
