//! `rsqlflow up`: the embedded default in the foreground.

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use rsqlflow_config::settings::Backend as Kind;

pub(super) async fn up(context: &Context) -> Result<Exit, CliError> {
    if context.settings.backend == Kind::Aws {
        return Err(CliError::NotLocal { command: "up" });
    }
    Ok(Exit::Failed)
}
