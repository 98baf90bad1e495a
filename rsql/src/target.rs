//! Where to connect and as whom, decided from options, DSN and environment, in that order.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::dsn::{Dsn, DsnError};

/// Redshift's port; PostgreSQL's is asked for with `-p`, `RSPORT` or `PGPORT`.
pub const DEFAULT_PORT: u16 = 5439;
/// How long a connection may take unless `PGCONNECT_TIMEOUT` (seconds) says otherwise.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A password; its `Debug` form does not show it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The password itself, for the login only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How much TLS; libpq's words. `allow` is read as `prefer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// When the server offers it; plaintext otherwise.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Always, with a trusted certificate.
    VerifyCa,
    /// Always, with a trusted certificate for this very host.
    VerifyFull,
}

/// The settings do not make up a target.
#[derive(Debug, Error)]
pub enum TargetError {
    /// The DSN is unusable.
    #[error(transparent)]
    Dsn(#[from] DsnError),
    /// A port that is no port.
    #[error("port {value:?} (from {origin}) is not a number between 1 and 65535")]
    Port {
        /// What was given.
        value: String,
        /// Where.
        origin: &'static str,
    },
    /// An unknown sslmode.
    #[error("sslmode {0:?} is not one of disable, allow, prefer, require, verify-ca, verify-full")]
    SslMode(String),
    /// The DSN wants the AWS API to make up a password.
    #[error(
        "DSN {0} asks for IAM or single sign-on, which this client does not do; \
         fetch temporary credentials first (aws redshift get-cluster-credentials) and set RSPASSWORD"
    )]
    Iam(String),
    /// The DSN names no host.
    #[error("DSN {0} names no Host; add one, or give -h")]
    NoHost(String),
}

/// What the command line said about the connection.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `-h`
    pub host: Option<String>,
    /// `-p`
    pub port: Option<String>,
    /// `-U`
    pub user: Option<String>,
    /// `-d`
    pub database: Option<String>,
    /// `-D`
    pub dsn: Option<String>,
}

/// A server, a database and a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name, an address, or the directory of a Unix socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// The password, if any was found.
    pub password: Option<Secret>,
    /// How much TLS.
    pub tls: TlsMode,
    /// Roots to verify against, instead of the system's.
    pub root_certificate: Option<PathBuf>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// What the server shows in its session lists.
    pub application_name: String,
}

impl Target {
    /// Decides. `environment` is injected so that tests need not touch the process.
    pub fn resolve(asked: &Asked, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, TargetError> {
        let var = |name: &str| environment(name).filter(|value| !value.is_empty());
        let dsn = asked.dsn.as_deref().map(|name| Dsn::find(name, environment)).transpose()?;
        let from_dsn = |get: fn(&Dsn) -> Option<&str>| dsn.as_ref().and_then(get).map(str::to_owned);

        let password = var("RSPASSWORD").or_else(|| from_dsn(Dsn::password)).or_else(|| var("PGPASSWORD"));
        let host = asked.host.clone().or_else(|| from_dsn(Dsn::host));
        if let (Some(name), Some(dsn)) = (&asked.dsn, &dsn) {
            if dsn.wants_iam() && password.is_none() {
                return Err(TargetError::Iam(name.clone()));
            }
            if host.is_none() {
                return Err(TargetError::NoHost(name.clone()));
            }
        }
        let user = (asked.user.clone())
            .or_else(|| from_dsn(Dsn::user))
            .or_else(|| var("PGUSER"))
            .or_else(|| var("USER"))
            .unwrap_or_else(|| "rsql".into());
        let tls = match from_dsn(Dsn::ssl_mode).or_else(|| var("PGSSLMODE")) {
            Some(mode) => parse_tls_mode(&mode)?,
            None => TlsMode::Prefer,
        };
        let seconds = var("PGCONNECT_TIMEOUT").and_then(|value| value.parse::<u64>().ok());
        Ok(Self {
            host: host.or_else(|| var("PGHOST")).unwrap_or_else(|| "localhost".into()),
            port: resolve_port(asked, dsn.as_ref(), &var)?,
            database: (asked.database.clone())
                .or_else(|| from_dsn(Dsn::database))
                .or_else(|| var("PGDATABASE"))
                .unwrap_or_else(|| user.clone()),
            user,
            password: password.map(Secret::from),
            tls,
            root_certificate: from_dsn(Dsn::root_certificate)
                .or_else(|| var("PGSSLROOTCERT"))
                .map(PathBuf::from),
            connect_timeout: seconds
                .filter(|seconds| *seconds > 0)
                .map_or(DEFAULT_CONNECT_TIMEOUT, Duration::from_secs),
            application_name: var("PGAPPNAME").unwrap_or_else(|| "rsql".into()),
        })
    }

    /// The Unix socket, when the host is a directory.
    pub fn socket_path(&self) -> Option<PathBuf> {
        self.host.starts_with('/').then(|| PathBuf::from(format!("{}/.s.PGSQL.{}", self.host, self.port)))
    }
}

fn resolve_port(
    asked: &Asked,
    dsn: Option<&Dsn>,
    var: &dyn Fn(&str) -> Option<String>,
) -> Result<u16, TargetError> {
    let found = (asked.port.clone().map(|port| (port, "-p")))
        .or_else(|| dsn.and_then(Dsn::port).map(|port| (port.to_owned(), "the DSN")))
        .or_else(|| var("RSPORT").map(|port| (port, "RSPORT")))
        .or_else(|| var("PGPORT").map(|port| (port, "PGPORT")));
    let Some((value, origin)) = found else {
        return Ok(DEFAULT_PORT);
    };
    match value.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(TargetError::Port { value, origin }),
    }
}

fn parse_tls_mode(mode: &str) -> Result<TlsMode, TargetError> {
    match mode.to_ascii_lowercase().as_str() {
        "disable" => Ok(TlsMode::Disable),
        "allow" | "prefer" => Ok(TlsMode::Prefer),
        "require" => Ok(TlsMode::Require),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "verify-full" => Ok(TlsMode::VerifyFull),
        _ => Err(TargetError::SslMode(mode.to_owned())),
    }
}

#[cfg(test)]
mod tests;
