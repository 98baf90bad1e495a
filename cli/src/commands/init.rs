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
    let given = deployed(context, &args).await?;
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
    context.note(&format!("{shown} is written; next: rsqlflow config list"));
    told(context, &path, if old.is_some() { "updated" } else { "created" })?;
    Ok(Exit::Ok)
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
    // The file's state machines may be those of another Region than the stack's.
    settings.state_machines.master.clear();
    if let Some(profile) = &args.profile {
        settings.profile.clone_from(profile);
    }
    if let Some(region) = &args.region {
        settings.region.clone_from(region);
    }
    let account = account::open(&settings, clients::https()).await?;
    context.note(&format!("stack {} ({})", args.stack, account.description));
    let read = stack::settings(&account.config, &args.stack).await;
    let mut given = vec![("backend", "aws".to_string())];
    if let Some(profile) = &args.profile {
        given.push(("profile", profile.clone()));
    }
    given.extend(read.map_err(|error| explain(error, &settings))?);
    Ok(given)
}
