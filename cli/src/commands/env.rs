//! `rsqlflow env`: what a shell needs to speak to a running `up`, for `eval "$(rsqlflow env)"`.
//!
//! HOST, PORT, USER, DB, RSPASSWORD and PGPASSWORD are the names that scripts for RSQL use. Yes, USER and HOST shadow
//! what the shell has: the scripts expect exactly these.

use rsqlflow_config::settings::{Backend as Kind, Secret};
use rsqlflow_local::endpoint::{Endpoint, discover};
use serde_json::{Map, Value};

use crate::backend::{Backend, account, clients};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::{Tone, print_as_is, tell};
use crate::shell::quoted;

pub(super) async fn env(context: &Context) -> Result<Exit, CliError> {
    if context.settings.backend == Kind::Aws {
        return of_account(context).await;
    }
    let Some(up) = discover(&context.data_dir) else {
        return Err(CliError::NotUp { data_dir: context.shown_data_dir().into() });
    };
    let settings = &context.settings;
    let secret = Backend::clients_of(settings, &up).warehouse(&settings.secret_id).await;
    let variables = variables(&up, secret.as_ref().ok());
    show(context, &variables)?;
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

/// Of an account: what makes the `aws` command line speak to the same place. A warehouse's password is fetched by whoever
/// may, not printed here.
async fn of_account(context: &Context) -> Result<Exit, CliError> {
    let account = account::open(&context.settings, clients::https()).await?;
    let mut variables = vec![("AWS_REGION", account.region.clone()), ("AWS_DEFAULT_REGION", account.region)];
    if !context.settings.profile.is_empty() {
        variables.push(("AWS_PROFILE", context.settings.profile.clone()));
    }
    show(context, &variables)?;
    context.note("backend = \"aws\": HOST, PORT, USER, DB and passwords of the warehouse are not set; they are the secret's");
    context
        .note(&format!("  aws secretsmanager get-secret-value --secret-id {}", context.settings.secret_id));
    Ok(Exit::Ok)
}

fn show(context: &Context, variables: &[(&'static str, String)]) -> Result<(), CliError> {
    if !context.json {
        return Ok(print_as_is(&exports(variables))?);
    }
    let object: Map<String, Value> =
        variables.iter().map(|(name, value)| (name.to_string(), Value::from(value.as_str()))).collect();
    context.print_json(&object)
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
