//! Waiting for a run to end, with progress.
//!
//! Waiting is looking at the records now and then: it needs nothing of the backend but reading, so it is the same for
//! AWS and for one machine, and stopping it stops nothing. A backend that is out of reach for a while is waited for.

use std::pin::pin;
use std::time::Duration;

use rsqlflow_agent::Scripts;
use rsqlflow_config::audit::Status;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::backend::refused::may_pass;
use crate::context::Context;
use crate::error::{CliError, nearest};
use crate::exit::Exit;
use crate::interrupt::interrupted;
use crate::progress::Reporter;
use crate::records::Records;
use rsqlflow_trigger::{Audit, TriggerError};

/// How long after a run's end its jobs' records may still be on their way: the agent writes them behind the callback.
const LATE_RECORDS: Duration = Duration::from_secs(5);

/// How many runs are looked through for a name that could be meant.
const RUNS_TO_COMPARE: usize = 200;

/// The records of a run.
///
/// # Errors
/// [`CliError::UnknownRun`] with the nearest one, or what Step Functions says of a run that has no record, or none that
/// can be read.
pub(crate) async fn records(backend: &Backend, run_id: &str) -> Result<Records, CliError> {
    let audit = backend.audit();
    match look(&audit, run_id).await {
        Ok(Some(records)) => Ok(records),
        Ok(None) => {
            if let Ok(Some(status)) = backend.execution_status(run_id).await {
                return Err(CliError::NoRecord { id: run_id.into(), status });
            }
            let runs = audit.runs(None, RUNS_TO_COMPARE).await?;
            let known = runs.iter().map(|run| run.workflow_execution_id.as_str());
            Err(CliError::UnknownRun { id: run_id.into(), nearest: nearest(run_id, known) })
        }
        Err(error) => Err(unread(backend, run_id, error.into()).await),
    }
}

/// The records of a run cannot be read; its execution, which goes on without them, may say how it stands.
async fn unread(backend: &Backend, run_id: &str, error: CliError) -> CliError {
    // Neither will the execution answer.
    if may_pass(&error) {
        return error;
    }
    let stands = match backend.execution_status(run_id).await {
        Ok(Some(status)) => format!("Step Functions says that its execution is {status}"),
        Ok(None) => "Step Functions has no execution of it".into(),
        Err(_) => "how it stands is not known".into(),
    };
    CliError::Partly {
        said: format!("the records of run `{run_id}` cannot be read, and {stands}"),
        then: format!("rsqlflow status {run_id}"),
        source: Box::new(error),
    }
}

async fn look(audit: &Audit, run_id: &str) -> Result<Option<Records>, TriggerError> {
    let Some(run) = audit.run(run_id).await? else { return Ok(None) };
    let jobs = audit.jobs(run_id).await?;
    Ok(Some(Records::new(run, jobs)))
}

/// Waits until the run and its jobs have ended, telling what happens.
///
/// # Errors
/// [`CliError::UnknownRun`], or the backend's when it stays out of reach longer than its patience.
pub(super) async fn until_settled(
    context: &Context,
    backend: &Backend,
    run_id: &str,
    reporter: &mut Reporter,
) -> Result<Records, CliError> {
    let mut pace = backend.pace();
    let mut audit = backend.audit();
    // That of an `rsqlflow up` that was started anew meanwhile.
    let mut anew: Option<Backend> = None;
    let mut records = self::records(backend, run_id).await?;
    let mut ended: Option<Instant> = None;
    let mut reach = Reach::default();
    loop {
        reporter.look(&records);
        if settled(context, &records, &mut ended) {
            return Ok(records);
        }
        if reach.is_lost() {
            pace.long_pause().await;
        } else {
            pace.pause().await;
        }
        match look(&audit, run_id).await {
            Ok(Some(now)) if now != records => {
                records = now;
                pace.quicken();
                reach.is_there();
            }
            Ok(_) => reach.is_there(),
            Err(error) => {
                if let Err(error) = reach.lost(error.into(), pace.patience, |text| reporter.say(text)) {
                    return Err(unread(backend, run_id, error).await);
                }
                if let Some(found) = anew.as_ref().unwrap_or(backend).anew(context) {
                    audit = found.audit();
                    anew = Some(found);
                }
            }
        }
    }
}

/// Waits until this process carries no run any more: not those that an earlier process left and this one has taken up,
/// nor those that other commands have started here. Ctrl-C leaves them.
///
/// # Errors
/// Step Functions'.
async fn until_idle(context: &Context, backend: &Backend) -> Result<Scripts, CliError> {
    let mut pace = backend.pace();
    // One for all rounds: a signal may come between two.
    let mut stop = pin!(interrupted());
    let mut told = false;
    loop {
        let Some(others) = others(backend).await? else { return Ok(Scripts::End) };
        if !std::mem::replace(&mut told, true) {
            context.note(&format!(
                "this process carries {others} too; waiting for the end. Ctrl-C leaves: scripts go on, and the next \
                 rsqlflow up takes them up"
            ));
        }
        tokio::select! {
            () = pace.pause() => {}
            () = &mut stop => return Ok(Scripts::GoOn),
        }
    }
}

/// The runs that this process carries, for people.
async fn others(backend: &Backend) -> Result<Option<String>, CliError> {
    let running = backend.running().await?;
    Ok(running.first().map(|first| match running.len() - 1 {
        0 => format!("run {first}"),
        more => format!("run {first} and {more} more"),
    }))
}

/// Whether waiting for the records has an end: nothing will change any more, or the run ended so long ago that what is
/// missing will not come; a host that died leaves the records of its jobs as they are. `ended` is when the run was first
/// seen to have ended.
pub(super) fn settled(context: &Context, records: &Records, ended: &mut Option<Instant>) -> bool {
    if !records.run.execution_status.is_final() {
        return false;
    }
    let since = *ended.get_or_insert_with(Instant::now);
    records.settled() || since.elapsed() > late_records(context, records)
}

/// For how long the backend has been out of reach.
#[derive(Default)]
pub(super) struct Reach {
    lost: Option<Instant>,
}

impl Reach {
    /// Whether the last try did not reach it.
    fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// It has answered.
    pub(super) fn is_there(&mut self) {
        self.lost = None;
    }

    /// A try went wrong. That the backend is out of reach is told once and borne for as long as the patience lasts.
    ///
    /// # Errors
    /// What went wrong, where it is anything else or the patience is over.
    pub(super) fn lost(
        &mut self,
        error: CliError,
        patience: Duration,
        say: impl FnOnce(&str),
    ) -> Result<(), CliError> {
        if !may_pass(&error) {
            return Err(error);
        }
        let since = *self.lost.get_or_insert_with(|| {
            say("the backend is out of reach; still trying");
            Instant::now()
        });
        if since.elapsed() >= patience { Err(error) } else { Ok(()) }
    }
}

/// Ends a command that may carry runs: waits for the others that this process carries, then closes the backend. A
/// command that was refused waits for nobody: the runs that an earlier process left are left to the next one. That
/// nobody reads the output is no such reason: the command's own run is among those that are waited for.
///
/// # Errors
/// The command's own, or that of the wait.
pub(crate) async fn leave(
    context: &Context,
    backend: Backend,
    ended: Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    if !backend.carries_runs() {
        backend.close().await;
        return ended;
    }
    let refused = ended.as_ref().is_err_and(|error| !matches!(error, CliError::Output(_)));
    let scripts = if refused {
        match others(&backend).await {
            Ok(None) => Ok(Scripts::End),
            Ok(Some(others)) => {
                context.note(&format!(
                    "note: {others} is left as it was found: scripts go on, and the next rsqlflow up takes them up"
                ));
                Ok(Scripts::GoOn)
            }
            Err(error) => Err(error),
        }
    } else {
        until_idle(context, &backend).await
    };
    // Where nobody can say whether there are others, theirs are not ended.
    backend.leave(*scripts.as_ref().unwrap_or(&Scripts::GoOn)).await;
    ended.and_then(|exit| scripts.map(|_| exit))
}

/// A cancelled run's scripts learn of it with their next heartbeat and get their grace.
fn late_records(context: &Context, records: &Records) -> Duration {
    match records.run.execution_status {
        Status::Cancelled | Status::TimedOut => {
            let heartbeat = context.settings.heartbeat_seconds.div_ceil(3);
            LATE_RECORDS + Duration::from_secs((heartbeat + context.settings.agent.grace_seconds).into())
        }
        Status::Triggered | Status::Running | Status::Completed | Status::Failed | Status::Skipped => {
            LATE_RECORDS
        }
    }
}

/// How a command that waited for the run exits.
pub(super) fn exit(records: &Records) -> Exit {
    match records.run.execution_status {
        Status::Completed => Exit::Ok,
        Status::Triggered
        | Status::Running
        | Status::Failed
        | Status::TimedOut
        | Status::Cancelled
        | Status::Skipped => Exit::Failed,
    }
}
