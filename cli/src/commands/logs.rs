//! `rsqlflow logs`: what the jobs of a run printed.

use std::time::Duration;

use rsqlflow_config::audit::JobAudit;
use rsqlflow_config::visible;
use tokio::time::Instant;

use super::wait;
use crate::args::LogsArgs;
use crate::backend::{Backend, Need};
use crate::context::Context;
use crate::error::{CliError, nearest};
use crate::exit::Exit;
use crate::logs::{CloudWatch, Line, Merge, Stream, streams};
use crate::records::{Place, Records, State};
use crate::screen::{Screen, Tone, for_people, print_as_is};
use crate::script_line::on_terminal;

/// How long after the end lines may still be on their way: the agent ships them behind the callback.
const LATE_LINES: Duration = Duration::from_secs(2);

/// Text is written in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// How lines are printed.
#[derive(Debug, Clone, Copy)]
struct How {
    /// With the job before each.
    several: bool,
    /// Byte for byte: to a pipe, a file, or a terminal where that was asked for.
    raw: bool,
}

pub(super) async fn logs(context: &Context, args: LogsArgs) -> Result<Exit, CliError> {
    let backend = context.backend(Need::Records).await?;
    let shown = show(context, &backend, &args).await;
    backend.close().await;
    shown
}

async fn show(context: &Context, backend: &Backend, args: &LogsArgs) -> Result<Exit, CliError> {
    let mut records = wait::records(backend, &args.run).await?;
    check_job(&records, args)?;
    let source =
        |backend: &Backend| CloudWatch::new(backend.clients.logs.clone(), &context.settings.log_group);
    let mut merge = Merge::new(source(backend));
    // That of an `rsqlflow up` that was started anew meanwhile.
    let mut anew: Option<Backend> = None;
    let how =
        How { several: args.job.is_none() && records.jobs().len() > 1, raw: args.raw || !context.out.obeys };
    let wanted = |records: &Records| {
        let mut streams = streams(records);
        streams.retain(|stream| {
            args.job.as_ref().is_none_or(|job| *job == stream.job)
                && args.attempt.is_none_or(|attempt| attempt == stream.attempt)
        });
        streams
    };
    let mut pace = backend.pace();
    let mut quiet_since: Option<Instant> = None;
    let mut ended: Option<Instant> = None;
    let mut reach = wait::Reach::default();
    loop {
        let settled = wait::settled(context, &records, &mut ended);
        merge.add(wanted(&records));
        let printed = match pass(context, &mut merge, how).await {
            Ok(printed) => printed,
            Err(error) if args.follow => {
                reach.lost(error, pace.patience, |text| context.note(text))?;
                if let Some(found) = anew.as_ref().unwrap_or(backend).anew(context) {
                    merge.read_from(source(&found));
                    anew = Some(found);
                }
                pace.long_pause().await;
                continue;
            }
            Err(error) => return Err(error),
        };
        if !args.follow {
            if printed == 0 && merge.is_empty() {
                let over = records.run.execution_status.is_final();
                let ran = |place: &Place<'_>| matches!(place.state, State::Accepted(_) | State::NoRecord);
                let what = match &args.job {
                    Some(job)
                        if over && !records.jobs().iter().any(|place| place.name == job && ran(place)) =>
                    {
                        format!("{job} never ran in this run")
                    }
                    None if over && !records.jobs().iter().any(ran) => "no job of this run ever ran".into(),
                    _ if over => "nothing was printed".to_string(),
                    _ => "nothing has been printed yet".to_string(),
                };
                context.note(&format!("{what}; next: rsqlflow status {}", args.run));
            }
            return Ok(Exit::Ok);
        }
        if settled {
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if printed == 0 && since.elapsed() >= LATE_LINES {
                return Ok(Exit::Ok);
            }
        } else if backend.carries_runs() {
            context.note("no rsqlflow up is running, so this run stands still; it goes on with: rsqlflow up");
            return Ok(Exit::Ok);
        }
        pace.long_pause().await;
        match wait::records(anew.as_ref().unwrap_or(backend), &args.run).await {
            Ok(now) => {
                records = now;
                reach.is_there();
            }
            Err(error) => reach.lost(error, pace.patience, |text| context.note(text))?,
        }
    }
}

fn check_job(records: &Records, args: &LogsArgs) -> Result<(), CliError> {
    let of = |job: &JobAudit| args.job.as_ref().is_none_or(|name| *name == job.job_name);
    let had = records.jobs.iter().filter(|job| of(job)).map(|job| job.attempt).max();
    if let (Some(attempt), Some(had)) = (args.attempt, had)
        && attempt > had
        && records.run.execution_status.is_final()
    {
        let job = args.job.clone().unwrap_or_else(|| "a job".into());
        return Err(CliError::UnknownAttempt { run: args.run.clone(), job, attempt, had });
    }
    let Some(job) = &args.job else { return Ok(()) };
    let places = records.jobs();
    if places.iter().any(|place| place.name == job) {
        return Ok(());
    }
    let nearest = nearest(job, places.iter().map(|place| place.name));
    Err(CliError::UnknownJob { run: args.run.clone(), job: job.clone(), nearest })
}

/// Prints everything there is now; how many lines that was.
async fn pass(context: &Context, merge: &mut Merge<CloudWatch>, how: How) -> Result<usize, CliError> {
    let mut text = String::new();
    let mut lines = 0;
    merge.begin();
    loop {
        let (stream, line) = match merge.next().await {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(error) => {
                // The lines before it are not given out again.
                print_as_is(&text)?;
                return Err(error);
            }
        };
        lines += 1;
        if context.json {
            text.push_str(&json(stream, &line)?);
        } else {
            text.push_str(&plain(stream, &line, how, context.out));
        }
        if text.len() >= PIECE {
            print_as_is(&text)?;
            text.clear();
        }
    }
    print_as_is(&text)?;
    Ok(lines)
}

fn json(stream: &Stream, line: &Line) -> Result<String, CliError> {
    let timestamp =
        chrono::DateTime::from_timestamp_millis(line.timestamp).map(rsqlflow_config::time::format);
    let value = serde_json::json!({
        "timestamp": timestamp,
        "job_name": stream.job,
        "attempt": stream.attempt,
        "message": line.message,
    });
    let text = serde_json::to_string(&value).map_err(std::io::Error::from)?;
    Ok(visible::json(&text).into_owned() + "\n")
}

fn plain(stream: &Stream, line: &Line, how: How, screen: Screen) -> String {
    let message = line.message.trim_end_matches('\n');
    let message = if how.raw { message.into() } else { on_terminal(message, screen.colour()) };
    let attempt = if stream.attempt > 1 { format!("#{}", stream.attempt) } else { String::new() };
    if how.several {
        let prefix = for_people(&screen.paint(Tone::Faint, &format!("{}{attempt} |", stream.job)));
        format!("{prefix} {message}\n")
    } else {
        format!("{message}\n")
    }
}
