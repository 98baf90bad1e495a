//! Redshift's SQL on PostgreSQL.
//!
//! Scripts are written for Redshift; on one machine the warehouse is PostgreSQL. [`translate`]
//! takes one statement and removes or rewrites what only Redshift knows, token by token, so that
//! everything else reaches the server as it was written, line for line. It is deliberately small:
//! what scripts of the RSQL kind use, each rule with its golden case. What cannot be done faithfully is
//! refused with SQLSTATE 0A000 rather than done nearly. Function bodies in dollar quotes are left alone.
//!
//! On a Redshift server none of this runs.

mod call;
pub mod copy;
mod ddl;
mod functions;
mod maintenance;
mod query;
mod rewrite;
mod settings;
mod token;

use crate::wire::ServerMessage;
use copy::Load;
use rewrite::Rewrite;

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Statements go out as they are.
    Redshift,
    /// Statements are translated.
    Postgres,
}

impl Dialect {
    /// What the server is, by the version it reports: Redshift has said 8.0.2 since it began.
    pub fn of_server(version: Option<&str>) -> Self {
        if version.is_some_and(|version| version.starts_with("8.0.")) {
            Self::Redshift
        } else {
            Self::Postgres
        }
    }

    /// What `RSQL_DIALECT` says.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "redshift" => Some(Self::Redshift),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }
}

/// What becomes of a statement.
#[derive(Debug)]
pub enum Translation {
    /// It is sent as it is.
    Unchanged,
    /// This is sent instead.
    Rewritten(String),
    /// It is a COPY from S3, which this client carries out itself.
    Load(Box<Load>),
    /// It cannot be done on PostgreSQL.
    Refused(Box<ServerMessage>),
}

/// Translates one statement.
pub fn translate(statement: &str) -> Translation {
    let mut rewrite = Rewrite::new(statement);
    let result = match rewrite.keyword(0).as_str() {
        "copy" => match copy::parse(&rewrite) {
            Ok(Some(load)) => return Translation::Load(Box::new(load)),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        },
        "create" | "alter" => ddl::rewrite(&mut rewrite),
        "set" | "reset" | "show" => settings::rewrite(&mut rewrite),
        "vacuum" | "analyze" | "analyse" => maintenance::rewrite(&mut rewrite),
        "unload" => Err(unsupported("UNLOAD")
            .with_hint("Write the result to a file instead: rsql -A -F '|' -o FILE, or \\o FILE.")),
        _ => Ok(()),
    };
    if let Err(error) = result {
        return Translation::Refused(error);
    }
    query::rewrite(&mut rewrite);
    functions::rewrite(&mut rewrite);
    rewrite.finish().map_or(Translation::Unchanged, Translation::Rewritten)
}

fn unsupported(what: &str) -> Box<ServerMessage> {
    ServerMessage::local("0A000", format!("{what} is not supported when the warehouse is PostgreSQL"))
}

#[cfg(test)]
mod tests;
