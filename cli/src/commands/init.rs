//! `rsqlflow init --stack NAME`: the settings file for an account.
//!
//! A file that is there is somebody's work: what would change is shown, and done after a yes or with --force.

use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};

use rsqlflow_config::settings::{Backend as Kind, FILE_NAME};
use serde_json::json;

use crate::args::InitArgs;
use crate::backend::refused::explain;
use crate::backend::{account, clients};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::{print, tell};
use crate::view::lines;
use crate::{settings_file, stack};

pub(super) async fn init(context: &Context, file: Option<&Path>, args: InitArgs) -> Result<Exit, CliError> {
    let path = file.map_or_else(|| PathBuf::from(FILE_NAME), Path::to_path_buf);
    let old = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(source) => return Err(CliError::ReadFile { file: path.display().to_string(), source }),
    };
    let mut given = deployed(context, &args).await?;
    if let Some(old) = &old {
        keep_host(context, &path, old, &mut given);
    }
    let new = settings_file::updated(old.as_deref(), &given).map_err(CliError::Settings)?;
    let shown = path.display();
    match &old {
        Some(old) if *old == new => {
            context.note(&format!("{shown} says so already"));
            told(context, &path, "unchanged")?;
            return Ok(Exit::Ok);
        }
        Some(old) => {
            if !context.json {
                print(&lines(old, &new, context.out))?;
            }
            let somebody = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
            if !args.force && !somebody {
                tell(&format!("{shown} is left as it is; --force changes it"));
                return Ok(Exit::Failed);
            }
            if !context.confirm(&format!("Change {shown}?"), args.force)? {
                return Ok(Exit::Failed);
            }
        }
        None => {}
    }
    // In place: the file keeps its owner and mode, which an agent on this machine depends on.
    std::fs::write(&path, &new)
        .map_err(|source| CliError::WriteFile { file: path.display().to_string(), source })?;
    let account = given.iter().find(|(key, _)| *key == "state_machines.master");
    let account = account.and_then(|(_, arn)| arn.split(':').nth(4)).unwrap_or("?");
    context.note(&format!("{shown} is written, for account {account}; next: rsqlflow config list"));
    told(context, &path, if old.is_some() { "updated" } else { "created" })?;
    Ok(Exit::Ok)
}

/// Leaves `host` of a file that is there as it is: on a machine that does not know its own id, the agent takes its id from
/// it, and two hosts of one id would get each other's jobs. A file that is made gets the stack's DefaultHost.
fn keep_host(context: &Context, path: &Path, old: &str, given: &mut Vec<(&'static str, String)>) {
    let Some(at) = given.iter().position(|(key, _)| *key == "host") else { return };
    let (_, stacks) = given.remove(at);
    let there = old.parse::<toml::Table>().ok();
    let there = there.as_ref().and_then(|table| table.get("host")).and_then(toml::Value::as_str);
    if there != Some(stacks.as_str()) {
        let has = there.map_or_else(|| "has none".into(), |host| format!("says {host}"));
        context.note(&format!(
            "note: host stays as it is: {} {has}, and the stack's DefaultHost is {stacks}. Where workflows that name no \
             host should run there, set it yourself",
            path.display()
        ));
    }
}

/// What became of the file, for programs.
fn told(context: &Context, path: &Path, action: &str) -> Result<(), CliError> {
    if context.json {
        context.print_json(&json!({ "file": path.display().to_string(), "action": action }))
    } else {
        Ok(())
    }
}

/// What the stack says, with the profile that was used where it was named.
async fn deployed(context: &Context, args: &InitArgs) -> Result<Vec<(&'static str, String)>, CliError> {
    let mut settings = context.settings.clone();
    if settings.backend != Kind::Aws {
        // What holds of the embedded default says nothing about the account.
        settings.region = std::env::var("RSQLFLOW_REGION").unwrap_or_default();
    }
    settings.backend = Kind::Aws;
    // The ARNs of the file may be those of another Region than the stack's.
    for arn in [
        &mut settings.state_machines.master,
        &mut settings.state_machines.sequential,
        &mut settings.state_machines.parallel,
        &mut settings.trigger_arn,
        &mut settings.operate_arn,
        &mut settings.scheduler_role_arn,
        &mut settings.dead_letter_arn,
    ] {
        arn.clear();
    }
    if let Some(profile) = &args.profile {
        settings.profile.clone_from(profile);
    }
    if let Some(region) = &args.region {
        settings.region.clone_from(region);
    }
    let account = account::open(&settings, clients::https()).await?;
    context.note(&format!("stack {} ({}, {})", args.stack, account.region, account.identity));
    let read = stack::settings(&account.config, &args.stack).await;
    let mut given = vec![("backend", "aws".to_string())];
    if let Some(profile) = &args.profile {
        given.push(("profile", profile.clone()));
    }
    given.extend(read.map_err(|error| explain(error, &settings))?);
    Ok(given)
}
