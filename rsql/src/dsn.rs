//! DSNs: named sections of an `odbc.ini`, as RSQL's `-D` uses them.
//!
//! Keys are case-insensitive and have aliases; a key may be repeated (Amazon's own example does),
//! the last one wins. Keys this client has no use for are accepted and ignored, because the same
//! file also configures ODBC drivers. Logins that need the AWS API (`IAM=1` without a password)
//! are refused with advice, not half done.
//!
//! Keys: <https://docs.aws.amazon.com/redshift/latest/mgmt/odbc20-configuration-options.html>

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A DSN could not be used.
#[derive(Debug, Error)]
pub enum DsnError {
    /// There is no file to look into.
    #[error("DSN {name} was asked for, but neither ODBCINI nor a home directory is set")]
    NoFile {
        /// The DSN.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read the DSN file {path} (set ODBCINI to another one)")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file has no such section.
    #[error("there is no DSN {name} in {path}")]
    Missing {
        /// The DSN.
        name: String,
        /// The file.
        path: PathBuf,
    },
}

/// One section, keys folded to lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dsn(HashMap<String, String>);

impl Dsn {
    /// Finds the section `name` in the file that the environment names.
    pub fn find(name: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, DsnError> {
        let path = environment("ODBCINI")
            .map(PathBuf::from)
            .or_else(|| environment("HOME").map(|home| Path::new(&home).join(".odbc.ini")))
            .ok_or_else(|| DsnError::NoFile { name: name.into() })?;
        let text =
            std::fs::read(&path).map_err(|source| DsnError::Unreadable { path: path.clone(), source })?;
        Self::parse(&String::from_utf8_lossy(&text), name)
            .ok_or_else(|| DsnError::Missing { name: name.into(), path })
    }

    /// Reads the section `name` of an ini file.
    pub fn parse(text: &str, name: &str) -> Option<Self> {
        let mut found = None;
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                inside = section.trim().eq_ignore_ascii_case(name);
                if inside {
                    found.get_or_insert_with(Self::default);
                }
            } else if inside
                && let Some((key, value)) = line.split_once('=')
                && let Some(section) = &mut found
            {
                section.0.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
        found
    }

    /// The value of the first of `keys` that is set and not empty.
    fn value(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.0.get(*key)).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The server.
    pub fn host(&self) -> Option<&str> {
        self.value(&["host", "hostname", "server", "servername"])
    }

    /// The port, as written.
    pub fn port(&self) -> Option<&str> {
        self.value(&["port", "portnumber"])
    }

    /// The database.
    pub fn database(&self) -> Option<&str> {
        self.value(&["database", "db"])
    }

    /// The user.
    pub fn user(&self) -> Option<&str> {
        self.value(&["uid", "user", "logonid", "dbuser"])
    }

    /// The password.
    pub fn password(&self) -> Option<&str> {
        self.value(&["pwd", "password"])
    }

    /// The TLS mode, as written.
    pub fn ssl_mode(&self) -> Option<&str> {
        self.value(&["sslmode"])
    }

    /// The root certificate file.
    pub fn root_certificate(&self) -> Option<&str> {
        self.value(&["cafile", "sslrootcert"])
    }

    /// Does it ask for a login through the AWS API?
    pub fn wants_iam(&self) -> bool {
        matches!(self.value(&["iam"]), Some("1" | "true" | "yes")) || self.value(&["plugin_name"]).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
; drivers write their own comments
[ODBC Data Sources]
etl = Redshift

[etl]
Driver=Default
SSLMode=verify-ca
HostName = wh.example.com
PortNumber=5555
Database=dev
sslmode=require
LogonID=loader
PWD=a=b;c
";

    #[test]
    fn keys_have_aliases_and_the_last_one_wins() {
        let dsn = Dsn::parse(FILE, "ETL").unwrap();
        assert_eq!(dsn.host(), Some("wh.example.com"));
        assert_eq!(dsn.port(), Some("5555"));
        assert_eq!(dsn.user(), Some("loader"));
        assert_eq!(dsn.password(), Some("a=b;c"));
        assert_eq!(dsn.ssl_mode(), Some("require"));
        assert!(!dsn.wants_iam());
    }

    #[test]
    fn a_missing_section_is_told_apart_from_an_empty_one() {
        assert_eq!(Dsn::parse(FILE, "nope"), None);
        assert_eq!(Dsn::parse("[x]\n", "x"), Some(Dsn::default()));
    }
}
