//! The secrets of the embedded default, from the settings.
//!
//! `[local.secrets]` as they are, and the warehouse: the connection of `local.warehouse.url` where there is one, else
//! that of the private cluster, which Secrets Manager starts when somebody asks for it.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use rsqlflow_config::settings::{Secret, Settings};
use url::Url;

use crate::error::CliError;

/// The secrets, and the name of the private warehouse's where there is to be one.
pub(super) struct Secrets {
    /// Name to secret string.
    pub(super) known: BTreeMap<String, String>,
    /// The name under which the private cluster's connection is a secret.
    pub(super) private_warehouse: Option<String>,
}

/// What the settings say of secrets.
///
/// # Errors
/// When `local.warehouse.url` is not one; no part of it is in the message.
pub(super) fn secrets(settings: &Settings) -> Result<Secrets, CliError> {
    let mut all = settings.local.secrets.clone();
    let url = &settings.local.warehouse.url;
    let mut private_warehouse = None;
    if url.is_empty() {
        private_warehouse = Some(settings.secret_id.clone());
    } else {
        let secret = connection(url).map_err(CliError::WarehouseUrl)?;
        all.entry(settings.secret_id.clone()).or_insert(secret);
    }
    // Texts and a number always serialize.
    let text = |secret: &Secret| serde_json::to_string(secret).unwrap_or_default();
    let known = all.iter().map(|(name, secret)| (name.clone(), text(secret))).collect();
    Ok(Secrets { known, private_warehouse })
}

/// The parts of `postgres://user:password@host:port/dbname`.
fn connection(text: &str) -> Result<Secret, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    let port = match url.scheme() {
        "postgres" | "postgresql" => 5432,
        "redshift" => 5439,
        _ => return Err("must begin with postgres:// or redshift://"),
    };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
    let decoded = |text: &str| decoded(text).map_err(|_| "has percent signs that encode no text");
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("has no host")?;
    let username = decoded(url.username())?;
    if username.is_empty() {
        return Err("has no user");
    }
    let dbname = decoded(url.path().trim_start_matches('/'))?;
    if dbname.is_empty() {
        return Err("has no database");
    }
    Ok(Secret {
        // An IPv6 address stands in brackets in a URL and nowhere else.
        host: host.trim_start_matches('[').trim_end_matches(']').into(),
        port: url.port().unwrap_or(port),
        username,
        password: decoded(url.password().unwrap_or_default())?,
        dbname,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_connection() {
        let secret = connection("postgres://etl:p%40ss%2Fword@[::1]:5444/dev%20x").unwrap();
        let parts = (secret.host.as_str(), secret.port, secret.password.as_str(), secret.dbname.as_str());
        assert_eq!(parts, ("::1", 5444, "p@ss/word", "dev x"));
        assert_eq!(connection("redshift://u@h/d").unwrap().port, 5439);
        for bad in ["h:5432/d", "mysql://u@h/d", "postgres://h/d", "postgres://u@h", "postgres://u:%ff@h/d"] {
            assert!(connection(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_the_settings_name_goes_before_the_private_warehouse() {
        let dir = tempfile::tempdir().unwrap();
        let load = |environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string()));
            secrets(&Settings::load(None, dir.path(), environment).unwrap())
        };
        let private = load(&[]).unwrap();
        assert_eq!(private.private_warehouse.as_deref(), Some("rsqlflow/warehouse"));
        assert!(private.known.is_empty());
        let own = load(&[("RSQLFLOW_LOCAL_WAREHOUSE_URL", "postgres://u:secret@h/d")]).unwrap();
        assert_eq!(own.private_warehouse, None);
        assert_eq!(
            own.known["rsqlflow/warehouse"],
            r#"{"host":"h","port":5432,"username":"u","password":"secret","dbname":"d"}"#
        );
        let error = load(&[("RSQLFLOW_LOCAL_WAREHOUSE_URL", "postgres://:secret@/")]).err().unwrap();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
