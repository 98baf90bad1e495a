//! `rsqlflow up`: the embedded default in the foreground, until Ctrl-C, SIGTERM or SIGHUP.
//!
//! What it prints on standard output when it is ready is all that it prints there.

use rsqlflow_agent::Scripts;
use rsqlflow_config::settings::Backend as Kind;
use rsqlflow_config::time;
use rsqlflow_local::endpoint::{Endpoint, discover};
use serde_json::json;

use super::files::counted;
use super::schedule::{Soonest, soonest};
use crate::backend::{Embedded, Need, Warehouse};
use crate::clock::in_zone;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::interrupted;
use crate::screen::{Tone, print, tell};

pub(super) async fn up(context: &Context) -> Result<Exit, CliError> {
    if context.settings.backend == Kind::Aws {
        return Err(CliError::NotLocal { command: "up" });
    }
    if let Some(up) = discover(&context.data_dir) {
        let data_dir = context.shown_data_dir().into();
        return Err(CliError::AlreadyUp { data_dir, endpoint: up.url, pid: up.pid });
    }
    // From here on a signal is noticed, even before there is anything to stop.
    let stop = interrupted();
    context.note(&format!("backend: local ({})", context.shown_data_dir()));
    if !context.settings.scripts_dir.is_dir() {
        warn(context, &format!("there is no scripts directory {}", context.settings.scripts_dir.display()));
    }
    let mut embedded = Embedded::open(context, Need::Runs).await?;
    let endpoint = embedded.serve().await?;
    let soonest = match embedded.schedules() {
        Some(schedules) => soonest(&schedules).await?,
        None => (0, None),
    };
    embedded.fire_schedules();
    ready(context, &embedded, &endpoint, &soonest)?;
    tokio::select! {
        () = stop => {}
        why = embedded.failed() => {
            embedded.close(Scripts::GoOn).await;
            return Err(CliError::embedded("the agent cannot go on")(format!(
                "its journal {why}: start `rsqlflow up` again, which goes on with the jobs from their own files; scripts \
                 that run go on"
            )));
        }
    }
    let jobs = embedded.unsettled_jobs().await;
    if jobs > 0 {
        context.note(&format!("stopping; {} not settled, scripts that run are ended", counted(jobs, "job")));
    } else {
        context.note("stopping");
    }
    tokio::select! {
        () = embedded.close(Scripts::End) => {}
        () = interrupted() => tell("left at once; the next `rsqlflow up` cleans up"),
    }
    Ok(Exit::Ok)
}

fn ready(
    context: &Context,
    embedded: &Embedded,
    endpoint: &Endpoint,
    (schedules, next): &Soonest,
) -> Result<(), CliError> {
    let scripts = context.settings.scripts_dir.display().to_string();
    let data_dir = embedded.data_dir().display().to_string();
    let warehouse = embedded.warehouse();
    if let Warehouse::Missing(error) = &warehouse {
        warn(context, &format!("scripts that use the warehouse will fail: {error}"));
    }
    if context.json {
        // One line, because whoever starts this waits for it.
        let line = json!({
            "endpoint": endpoint.url,
            "region": endpoint.region,
            "data_dir": data_dir,
            "scripts_dir": scripts,
            "host": context.settings.host,
            "warehouse": match &warehouse {
                Warehouse::Private => Some("private"),
                Warehouse::Elsewhere(place) => Some(place.as_str()),
                Warehouse::Missing(_) => None,
            },
            "schedules": schedules,
            "next": next.as_ref().map(|(id, at, _)| json!({ "workflow_id": id, "utc": time::format(*at) })),
            "pid": endpoint.pid,
        });
        print(&format!("{line}\n"))?;
    } else {
        let warehouse = match &warehouse {
            Warehouse::Private => "a private PostgreSQL cluster, started with its first use",
            Warehouse::Elsewhere(place) => place,
            Warehouse::Missing(_) => "none",
        };
        let upcoming = match next {
            None => "none that will fire".to_string(),
            Some((id, at, schedule)) => format!("{schedules}; next {id} at {}", in_zone(*at, schedule.zone)),
        };
        let name = |name: &str| context.out.paint(Tone::Faint, &format!("{name:<11}"));
        print(&format!(
            "{}{}\n{}{data_dir}\n{}{scripts}\n{}{warehouse}\n{}{upcoming}\n",
            name("endpoint"),
            context.out.paint(Tone::Strong, &endpoint.url),
            name("data"),
            name("scripts"),
            name("warehouse"),
            name("schedules"),
        ))?;
        context.note(
            "ready; in another shell: rsqlflow run WORKFLOW, or eval \"$(rsqlflow env)\"; Ctrl-C stops",
        );
    }
    Ok(())
}

fn warn(context: &Context, text: &str) {
    tell(&format!("{} {text}", context.err.paint(Tone::Busy, "warning:")));
}
