//! `rsqlflow demo`: the whole thing on this machine, from nothing.
//!
//! A nightly load as a data engineer would set it up: source files appear in S3 (TPC-H tables, generated), scripts lie
//! in the scripts directory, a config item names them, a run loads the warehouse. Every step is the product's own; the
//! demo only brings the files and looks at the result. Running it again is safe, because the load is.

mod data;
mod scripts;
mod tables;

use chrono::Utc;
use rsqlflow_config::validate;
use rsqlflow_trigger::{Put, Reconciled, StartRequest};

use crate::args::DemoArgs;
use crate::backend::{Backend, Need};
use crate::commands::{run, wait};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::records::Records;
use crate::screen::{Tone, print, tell};

/// The item that is stored and run.
const ITEM: &str = include_str!("../../config/examples/retail-load.yaml");

/// Where the source leaves its files, below `s3/` in the data directory and below `s3://` in the scripts.
const BUCKET: &str = "rsqlflow-demo";

/// Shows a nightly load: data, scripts, a workflow, its run, the tables and the audit trail.
pub(crate) async fn demo(context: &Context, args: DemoArgs) -> Result<Exit, CliError> {
    let backend = context.backend_told(Need::Runs).await?;
    if !backend.is_local() {
        return Err(CliError::NotLocal { command: "demo" });
    }
    let ended = shown(context, &backend, &args).await;
    wait::leave(context, backend, ended).await
}

async fn shown(context: &Context, backend: &Backend, args: &DemoArgs) -> Result<Exit, CliError> {
    let step = |text: &str| tell(&format!("\n{}", context.err.paint(Tone::Strong, text)));

    step("The warehouse");
    let warehouse = tables::Warehouse::find(backend, &context.settings.secret_id).await?;
    tell(&format!("  {}", warehouse.description()));

    step("Source files");
    let prefix = format!("{BUCKET}/tpch/sf-{}", args.scale_factor);
    let dir = context.data_dir.join("s3").join(&prefix);
    let factor = args.scale_factor;
    let written = tokio::task::spawn_blocking({
        let dir = dir.clone();
        move || data::generate(&dir, factor)
    })
    .await
    .map_err(CliError::embedded("generating the source files"))??;
    for (table, rows) in written {
        let what = if rows == 0 { "is there".to_string() } else { format!("{rows} rows written") };
        tell(&format!("  s3://{prefix}/{table}.tbl  {what}"));
    }

    step("Scripts and config item");
    let place = scripts::unpack(&context.settings.scripts_dir)?;
    tell(&format!("  {place}"));
    let mut workflow =
        validate::workflow_from_text(ITEM).map_err(CliError::embedded("reading the demo's item"))?;
    // It is shown once: an `rsqlflow up` of this directory is not to repeat it every night.
    (workflow.schedule, workflow.schedule_timezone) = (None, None);
    let put = backend.items().put(&workflow).await?;
    // As `config put` does: an item that had a schedule does not leave it behind.
    let schedule = match backend.schedules() {
        Some(schedules) => schedules.reconcile(&workflow, Utc::now()).await?,
        None => Reconciled::None,
    };
    let replaced = match (put, schedule) {
        (Put::Updated, Reconciled::Deleted) => {
            "; it replaces the item that was there, and its schedule is deleted"
        }
        (Put::Updated, _) => "; it replaces the item that was there",
        (_, Reconciled::Deleted) => "; a schedule that it had is deleted",
        _ => "",
    };
    tell(&format!(
        "  workflow {} in table {}{replaced}",
        workflow.workflow_id, context.settings.tables.config
    ));

    step("The run");
    let request = StartRequest {
        workflow_id: workflow.workflow_id,
        workflow_execution_id: None,
        parameters: [("data_prefix".to_string(), format!("s3://{prefix}"))].into(),
        started_by: context.person(),
        ..StartRequest::default()
    };
    let started = backend.start(request).await?;
    let run_id = &started.workflow_execution_id;
    let exit = run::watch(context, backend, run_id).await?;
    if exit != Exit::Ok {
        return Ok(exit);
    }

    step("The tables");
    print(&warehouse.counts().await?)?;
    step("The audit trail");
    let records = wait::records(backend, run_id).await?;
    print(&audit(context, &records))?;

    step("Now your own");
    tell("  rsqlflow up &                       the same, for as long as you like");
    tell(&format!("  rsqlflow status {run_id}"));
    tell(&format!("  rsqlflow logs {run_id} retail/90_validate.sh"));
    tell("  rsqlflow run retail-load --param load_date=1998-08-03 --param price_change_percent=5 --wait");
    Ok(Exit::Ok)
}

/// The records as their tables hold them.
fn audit(context: &Context, records: &Records) -> String {
    let run = &records.run;
    let plain = |text: &str| (Tone::Plain, text.to_string());
    let tables = &context.settings.tables;
    let mut page = format!("{}\n", tables.workflow_audit);
    page.push_str(&context.out.table(
        &[
            "workflow_execution_id",
            "workflow_id",
            "execution_status",
            "execution_start_ts",
            "execution_end_ts",
            "started_by",
        ],
        vec![vec![
            plain(&run.workflow_execution_id),
            plain(&run.workflow_id),
            (run.execution_status.into(), run.execution_status.to_string()),
            plain(&run.execution_start_ts),
            plain(run.execution_end_ts.as_deref().unwrap_or_default()),
            plain(&run.started_by),
        ]],
    ));
    page.push_str(&format!("\n{}\n", tables.job_audit));
    let rows = records.jobs.iter().map(|job| {
        vec![
            plain(&job.job_name),
            (job.execution_status.into(), job.execution_status.to_string()),
            plain(&job.execution_start_ts),
            plain(job.execution_end_ts.as_deref().unwrap_or_default()),
            plain(&job.exit_code.map(|code| code.to_string()).unwrap_or_default()),
            plain(&job.attempt.to_string()),
            plain(&job.instance_id),
            plain(job.ssm_command_id.as_deref().unwrap_or_default()),
        ]
    });
    page.push_str(&context.out.table(
        &[
            "job_name",
            "execution_status",
            "execution_start_ts",
            "execution_end_ts",
            "exit_code",
            "attempt",
            "instance_id",
            "ssm_command_id",
        ],
        rows.collect(),
    ));
    page
}
