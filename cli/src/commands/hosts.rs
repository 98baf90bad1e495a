//! `rsqlflow hosts`.

use chrono::Utc;

use crate::backend::Need;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::print;
use crate::view;

pub(super) async fn hosts(context: &Context) -> Result<Exit, CliError> {
    let backend = context.backend(Need::Records).await?;
    let table = &context.settings.tables.hosts;
    let hosts = rsqlflow_trigger::hosts(&backend.clients.dynamodb, table).await?;
    let now = Utc::now();
    if context.json {
        context.print_json(&view::host_lines(&hosts, now))?;
    } else if hosts.is_empty() {
        context.note("no host has entered itself yet; an agent does when it starts (rsqlflow-agent serve, or rsqlflow up)");
    } else {
        print(&view::hosts(&hosts, context.out, now))?;
    }
    backend.close().await;
    Ok(Exit::Ok)
}
