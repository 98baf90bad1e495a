//! `rsqlflow status`.

use chrono::Utc;

use super::{run, wait};
use crate::args::StatusArgs;
use crate::backend::Need;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::print;
use crate::view;

pub(super) async fn status(context: &Context, args: StatusArgs) -> Result<Exit, CliError> {
    let backend = context.backend(Need::Records).await?;
    let records = wait::records(&backend, &args.run).await?;
    let goes_on = !records.settled();
    if args.watch && goes_on && backend.carries_runs() {
        context.note("no rsqlflow up is running, so this run stands still; it goes on with: rsqlflow up");
    } else if args.watch && goes_on {
        return run::watch(context, &backend, &args.run).await;
    }
    if context.json {
        context.print_json(&records)?;
    } else {
        print(&view::status(&records, context.out, Utc::now()))?;
    }
    backend.close().await;
    Ok(if args.watch { wait::exit(&records) } else { Exit::Ok })
}
