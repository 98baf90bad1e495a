//! An RSQL-compatible client for Amazon Redshift and PostgreSQL.
//!
//! Teams that leave Teradata keep hundreds of scripts that were converted from BTEQ to Amazon
//! Redshift RSQL. This crate runs them: the same options, the same meta commands, the same status
//! variables, over the PostgreSQL wire protocol and without ODBC. Where RSQL's behaviour is
//! documented it is followed; where it is not, psql's is, because RSQL grew out of psql.
//!
//! # How a script flows through the crate
//!
//! [`options`] and [`target`] decide what to run and where to connect. [`session`] reads its input
//! line by line; the [`lexer`] cuts it into statements and meta commands and puts variable values
//! in. A meta command goes to `meta`; a statement goes through [`dialect`] (only when the server is
//! PostgreSQL rather than Redshift) and over the [`wire`]; what comes back is printed by [`output`].
//!
//! # Exit codes
//!
//! psql's, see [`exit::ExitCode`]: 0 the script ran to its end (SQL errors do not change that),
//! 1 a usage error or a failed `-c`, 2 no connection or a lost one, 3 the script was stopped
//! (`ON_ERROR_STOP`, a `\goto` without its label), and whatever `\exit n` says. `\rset maxerror`
//! ends the script with the severity that went over the limit.
//! A SIGTERM or SIGINT cancels the running statement and leaves with 128 and its number.
//! `--exit-status severity` makes a script that ran to its end report the highest severity, as BTEQ does.
//!
//! # What stays out
//!
//! No interactive niceties (line editing, history, `\d`), no password prompt, no report layout
//! (`\rset heading` and its relatives), no ODBC-only logins such as `IAM=1`.

pub mod condition;
pub mod copy;
pub mod dialect;
pub mod dsn;
pub mod exit;
pub mod interrupt;
pub mod lexer;
mod meta;
pub mod options;
pub mod output;
pub mod session;
pub mod severity;
pub mod shell;
pub mod source;
pub mod target;
pub mod variables;
pub mod wire;
