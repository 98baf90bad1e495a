//! `rsqlflow demo`: the whole thing on this machine, from nothing.

use crate::args::DemoArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;

/// Shows a nightly load: data, scripts, a workflow, its run and its logs.
pub(crate) async fn demo(context: &Context, _args: DemoArgs) -> Result<Exit, CliError> {
    context.note("the demo is not part of this build; start with: rsqlflow config put FILE");
    Ok(Exit::Failed)
}
