//! `rsqlflow env`: what a shell needs to speak to a running `up`, for `eval "$(rsqlflow env)"`.
//!
//! HOST, PORT, USER, DB, RSPASSWORD and PGPASSWORD are the names that scripts for RSQL use. Yes, USER and HOST shadow
//! what the shell has: the scripts expect exactly these.

use rsqlflow_config::settings::{Backend as Kind, Secret};
use rsqlflow_local::endpoint::{Endpoint, discover};
use serde_json::{Map, Value};

use crate::backend::Backend;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::{Tone, print, tell};
use crate::shell::quoted;

pub(super) async fn env(context: &Context) -> Result<Exit, CliError> {
    if context.settings.backend == Kind::Aws {
        return Err(CliError::NotLocal { command: "env" });
    }
    let Some(up) = discover(&context.data_dir) else {
        return Err(CliError::NotUp { data_dir: context.shown_data_dir().into() });
    };
    let secret = warehouse(context, &up).await;
    let variables = variables(&up, secret.as_ref().ok());
    if context.json {
        let object: Map<String, Value> =
            variables.into_iter().map(|(name, value)| (name.to_string(), Value::from(value))).collect();
        context.print_json(&object)?;
    } else {
        print(&exports(&variables))?;
    }
    match secret {
        Ok(_) => Ok(Exit::Ok),
        Err(error) => {
            tell(
                &context
                    .err
                    .paint(Tone::Busy, "warning: no warehouse, so HOST, PORT, USER and DB are not set"),
            );
            Err(error)
        }
    }
}

/// The connection of the warehouse, as its secret has it.
async fn warehouse(context: &Context, up: &Endpoint) -> Result<Secret, CliError> {
    let clients = Backend::clients_of(&context.settings, up);
    let id = &context.settings.secret_id;
    let answer = clients.secrets.get_secret_value().secret_id(id).send().await;
    let answer = answer.map_err(CliError::aws("reading the warehouse's secret"))?;
    let text = answer.secret_string().unwrap_or_default();
    connection(text).ok_or_else(|| CliError::NotAConnection { id: id.clone() })
}

/// The members of a Redshift secret that a connection takes; there may be others, and the port may be text.
fn connection(text: &str) -> Option<Secret> {
    let secret: Value = serde_json::from_str(text).ok()?;
    let member = |name: &str| secret.get(name)?.as_str().map(str::to_string);
    let port = secret.get("port").map(|port| port.as_u64().or_else(|| port.as_str()?.parse().ok()));
    Some(Secret {
        host: member("host")?,
        port: u16::try_from(port.unwrap_or(Some(5439))?).ok()?,
        username: member("username")?,
        password: member("password")?,
        dbname: member("dbname").or_else(|| member("dbName"))?,
    })
}

fn variables(up: &Endpoint, secret: Option<&Secret>) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("AWS_ENDPOINT_URL", up.url.clone()),
        ("AWS_REGION", up.region.clone()),
        ("AWS_DEFAULT_REGION", up.region.clone()),
        ("AWS_ACCESS_KEY_ID", up.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", up.secret_access_key.clone()),
    ];
    if let Some(secret) = secret {
        variables.extend([
            ("HOST", secret.host.clone()),
            ("PORT", secret.port.to_string()),
            ("USER", secret.username.clone()),
            ("DB", secret.dbname.clone()),
            ("RSPASSWORD", secret.password.clone()),
            ("PGPASSWORD", secret.password.clone()),
            ("RSPORT", secret.port.to_string()),
        ]);
    }
    variables
}

/// `export NAME='value'` lines for any POSIX shell.
fn exports(variables: &[(&str, String)]) -> String {
    variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_in_several_shapes() {
        let text =
            r#"{"engine":"redshift","host":"h","port":"5440","username":"u","password":"p","dbname":"d"}"#;
        assert_eq!(connection(text).unwrap().port, 5440);
        assert_eq!(connection(&text.replace("\"5440\"", "5441")).unwrap().port, 5441);
        assert!(connection(&text.replace("host", "hots")).is_none());
        assert!(connection("p").is_none());
    }

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let secret = Secret {
            host: "127.0.0.1".into(),
            port: 5439,
            username: "etl".into(),
            password: "it's $(rm -rf /) `x` \"\\\n end".into(),
            dbname: "dev".into(),
        };
        let up = Endpoint {
            url: "http://127.0.0.1:4566".into(),
            region: "us-east-1".into(),
            pid: 1,
            access_key_id: "LOCAL0123456789ABCDE".into(),
            secret_access_key: "secret".into(),
        };
        let text = exports(&variables(&up, Some(&secret)));
        insta::assert_snapshot!(text);
        let script = format!("{text}printf %s \"$PGPASSWORD\"");
        let shell = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), secret.password);
    }
}
