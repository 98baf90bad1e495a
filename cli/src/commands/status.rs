//! `rsqlflow status`.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{run, wait};
use crate::args::StatusArgs;
use crate::backend::{Backend, Need};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::records::Records;
use crate::screen::print;
use crate::trouble::{self, Trouble};
use crate::view;

/// What `status --json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    records: &'a Records,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hosts_in_trouble: Vec<Trouble>,
}

pub(super) async fn status(context: &Context, args: StatusArgs) -> Result<Exit, CliError> {
    let backend = context.backend(Need::Records).await?;
    let records = wait::records(&backend, &args.run).await?;
    let goes_on = !records.settled();
    // Without an `up` there is no host that could be in trouble.
    let stands_still = records.is_open() && backend.carries_runs();
    if stands_still {
        context.note("no rsqlflow up is running, so this run stands still; it goes on with: rsqlflow up");
    } else if args.watch && goes_on {
        return run::watch(context, &backend, &args.run).await;
    }
    let now = Utc::now();
    let hosts_in_trouble = if records.is_open() && !stands_still {
        troubles(context, &backend, &records, now).await
    } else {
        Vec::new()
    };
    if context.json {
        context.print_json(&Shown { records: &records, hosts_in_trouble })?;
    } else {
        print(&view::status(&records, &hosts_in_trouble, context.out, now))?;
    }
    backend.close().await;
    Ok(if args.watch { wait::exit(&records) } else { Exit::Ok })
}

/// The hosts that keep the run waiting. Who may not read the table of hosts is told so, and the run all the same.
async fn troubles(
    context: &Context,
    backend: &Backend,
    records: &Records,
    now: DateTime<Utc>,
) -> Vec<Trouble> {
    match rsqlflow_trigger::hosts(&backend.clients.dynamodb, &context.settings.tables.hosts).await {
        Ok(hosts) => trouble::of_run(records, &hosts, now),
        Err(error) => {
            context.note(&format!("note: whether its hosts can report is not known: {error}"));
            Vec::new()
        }
    }
}
