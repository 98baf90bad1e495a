//! One attempt: a script and everything it starts, under a supervisor.
//!
//! The daemon never is a script's parent. It writes the attempt's run file, starts the supervisor with it and then
//! only waits for that to end; how the script ended is in the file. So it makes no difference whether the daemon that
//! waits is the one that started the attempt: [`Attempt::start`] and [`Attempt::adopt`] lead to the same place.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rsqlflow_config::job::{JobError, JobRequest};
use rsqlflow_supervisor::cgroup;
use rsqlflow_supervisor::process::{ProcessMark, boot_id};
use rsqlflow_supervisor::run_file::{Cause, End, Ended, RunFile, Spec, Stop, VERSION};
use rsqlflow_supervisor::tree::Tree;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

use crate::context::Context;
use crate::interrupt::{Interrupt, Interrupts};
use crate::message;
use crate::outcome::AttemptEnd;
use crate::redact::Redactor;
use crate::script::{self, Places, Trusted};

/// A supervisor that has its file has said who it is within milliseconds; this only guards against what cannot be.
const MARK_PATIENCE: Duration = Duration::from_secs(10);

/// Why an attempt did not start.
pub(crate) enum NotStarted {
    /// It cannot.
    Never(AttemptEnd),
    /// The disk has no room for its files.
    DiskFull(std::io::Error),
}

/// A supervisor that runs.
pub(crate) struct Attempt {
    supervisor: AsyncFd<OwnedFd>,
    file: RunFile,
    log: PathBuf,
}

/// What an earlier daemon left of an attempt.
pub(crate) enum Found {
    /// Its supervisor lives.
    Running(Attempt),
    /// Its supervisor has said how it ended.
    Ended(AttemptEnd),
    /// Its script never started.
    Never,
    /// Nobody saw how it ended.
    Lost(AttemptEnd),
}

impl Attempt {
    /// Checks the script and starts its supervisor.
    pub(crate) fn start(
        context: &Context,
        job_id: &str,
        request: &JobRequest,
        attempt: u32,
        started_at: &str,
    ) -> Result<Self, NotStarted> {
        let places = Places::of(&context.config, &context.lib_dir, Trusted::own());
        let launch = script::resolve(request, &places).map_err(|problem| {
            NotStarted::Never(AttemptEnd::without_process(problem.error(), problem.to_string()))
        })?;
        let failed = |error: std::io::Error| {
            if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
                return NotStarted::DiskFull(error);
            }
            let message = format!("script {} could not be started: {error}", request.script);
            NotStarted::Never(AttemptEnd::without_process(JobError::NotStarted, message))
        };
        let mut arguments = Vec::new();
        for argument in launch.arguments {
            arguments.push(argument.into_string().map_err(|argument| {
                failed(std::io::Error::other(format!("{} is not UTF-8", argument.display())))
            })?);
        }
        let spec = Spec {
            version: VERSION,
            job_id: job_id.to_owned(),
            attempt,
            started_at: started_at.to_owned(),
            program: launch.program,
            arguments,
            environment: context.environment(job_id, request, attempt),
            directory: context.config.scripts_dir.clone(),
            timeout_seconds: request.timeout_seconds,
            stall_seconds: request.stall_seconds,
            grace_ms: u64::try_from(context.config.grace.as_millis()).unwrap_or(u64::MAX),
            cgroup: context.cgroup.as_ref().map(|all| all.join(format!("job-{job_id}-{attempt}"))),
        };
        let (log, path) = (context.log_path(job_id, attempt), context.run_path(job_id, attempt));
        let start = || {
            crate::job_file::make_directory(&context.job_dir(job_id))?;
            let file = RunFile::create(&path, &spec)?;
            let output = OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
            let label = format!("{}/{}/{attempt}", request.workflow_execution_id, request.job_name);
            let child = Command::new(&context.config.supervisor)
                .arg(label)
                .env_clear()
                .current_dir("/")
                .stdin(Stdio::from(file.hand_over()?))
                .stdout(output.try_clone()?)
                .stderr(output)
                .spawn()?;
            // A child that was not waited for has an id. It is buried by the runtime once it has ended.
            let mark = ProcessMark::of(child.id().unwrap_or(0));
            // Opened anew: the lock is the supervisor's alone.
            Self::of(&mark, RunFile::open(&path)?, log.clone())
                .unwrap_or_else(|| Err(std::io::Error::other("its supervisor ended at once")))
        };
        start().map_err(|error| {
            // They say that a script may have started; none has.
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_file(&log);
            failed(error)
        })
    }

    fn of(mark: &ProcessMark, file: RunFile, log: PathBuf) -> Option<std::io::Result<Self>> {
        let supervisor = mark.open()?;
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its descriptor, which is all that the unsafe one asks for"
        )]
        let watched = AsyncFd::with_interest(supervisor, Interest::READABLE);
        Some(watched.map(|supervisor| Self { supervisor, file, log }))
    }

    /// What became of an attempt that an earlier daemon started or was about to start.
    pub(crate) async fn adopt(context: &Context, job_id: &str, request: &JobRequest, attempt: u32) -> Found {
        let (log, path) = (context.log_path(job_id, attempt), context.run_path(job_id, attempt));
        let Ok(file) = RunFile::open(&path) else { return Found::Never };
        let waiting = tokio::time::Instant::now();
        while file.is_supervised() {
            if let Some(mark) = file.mark() {
                match Self::of(&mark.supervisor, file, log.clone()) {
                    Some(Ok(running)) => return Found::Running(running),
                    // It has just ended.
                    _ => return Box::pin(Self::adopt(context, job_id, request, attempt)).await,
                }
            }
            if waiting.elapsed() > MARK_PATIENCE {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if let Some(end) = file.end() {
            return Found::Ended(ended(&end, request, &log, &context.redactor(request)));
        }
        match file.mark() {
            None => Found::Never,
            Some(mark) if mark.supervisor.boot_id != boot_id() => Found::Lost(AttemptEnd::without_process(
                JobError::HostLost,
                "the host was started anew while the script ran; how far it got is not known",
            )),
            Some(_) => Found::Lost(lost(context, job_id, attempt, &file).await),
        }
    }

    /// Waits for the end of the script and of everything it started, or brings it about. `None` where the daemon
    /// leaves it to the next.
    pub(crate) async fn finish(
        self,
        context: &Context,
        job_id: &str,
        request: &JobRequest,
        attempt: u32,
        interrupts: &mut Interrupts,
    ) -> Option<AttemptEnd> {
        let interrupt = tokio::select! {
            biased;
            _ = self.supervisor.readable() => None,
            interrupt = interrupts.next() => Some(interrupt),
        };
        if let Some(interrupt) = interrupt {
            let stop = interrupt.stop()?;
            if let Err(error) = self.file.set_stop(stop) {
                tracing::warn!(%error, "the reason for ending the script cannot be noted");
            }
            // One that has ended by now has said how.
            let _ = pidfd_send_signal(self.supervisor.get_ref(), Signal::TERM);
            tokio::select! {
                biased;
                _ = self.supervisor.readable() => {}
                () = interrupts.left() => return None,
            }
        }
        if let Some(end) = self.file.end() {
            return Some(ended(&end, request, &self.log, &context.redactor(request)));
        }
        Some(lost(context, job_id, attempt, &self.file).await)
    }
}

/// The supervisor was killed: what it left is ended from here.
async fn lost(context: &Context, job_id: &str, attempt: u32, file: &RunFile) -> AttemptEnd {
    let script = file.mark().and_then(|mark| mark.script).filter(ProcessMark::exists);
    let tree = Tree {
        root: None,
        group: script.map(|script| script.pid),
        job_id: Some(job_id.to_owned()),
        cgroup: file.spec().ok().and_then(|spec| spec.cgroup),
    };
    let grace = context.config.grace;
    let sweep = tokio::task::spawn_blocking(move || {
        let ended = tree.end(grace);
        tree.cgroup.as_deref().inspect(|directory| cgroup::remove(directory));
        ended
    });
    let ended = sweep.await.unwrap_or(Ended::Survived);
    tracing::warn!(attempt, ?ended, "the supervisor of a script was killed");
    let mut end = AttemptEnd::without_process(
        JobError::HostLost,
        "the supervisor of the script was killed; how the script would have ended is not known",
    );
    if ended == Ended::Survived {
        end.message.push_str(SURVIVED);
    }
    end
}

const SURVIVED: &str = "; some of its processes could not be ended, not even with KILL";

/// What the supervisor saw, in the words of audit records.
fn ended(end: &End, request: &JobRequest, log: &Path, redactor: &Redactor) -> AttemptEnd {
    let limit = |message: String| {
        let how = if end.ended == Ended::Killed { " with KILL" } else { "" };
        match message::last_lines(log, redactor) {
            Some(lines) => format!("{message}{how}; its last output:\n{lines}"),
            None => format!("{message}{how}"),
        }
    };
    let (error, mut message) = match (&end.cause, end.exit_code) {
        (Cause::Exited, Some(code)) if request.is_success(code) => {
            (None, format!("completed with exit code {code}"))
        }
        (Cause::Exited, Some(code)) => {
            (Some(JobError::ExitCode), message::of_failure(log, &format!("exit code {code}"), redactor))
        }
        (Cause::Exited, None) => {
            let how = format!("ended by signal {}", end.signal.unwrap_or(0));
            (Some(JobError::Signal), message::of_failure(log, &how, redactor))
        }
        (Cause::NotStarted(why), _) => {
            (Some(JobError::NotStarted), format!("script {} could not be started: {why}", request.script))
        }
        (Cause::TimedOut, _) => {
            let seconds = request.timeout_seconds.unwrap_or(0);
            (
                Some(JobError::TimedOut),
                limit(format!("ran longer than timeout_seconds = {seconds} and was ended")),
            )
        }
        (Cause::Stalled, _) => {
            let seconds = request.stall_seconds.unwrap_or(0);
            (
                Some(JobError::Stalled),
                limit(format!("printed nothing for stall_seconds = {seconds} and was ended")),
            )
        }
        (Cause::Stopped(Stop::Gone), _) => (Some(JobError::Cancelled), Interrupt::Gone.message().into()),
        (Cause::Stopped(Stop::Killed), _) => (Some(JobError::Killed), Interrupt::Killed.message().into()),
        (Cause::Stopped(Stop::Stopping), _) => {
            (Some(JobError::HostLost), Interrupt::Stopping.message().into())
        }
        (Cause::Terminated, _) => (
            Some(JobError::HostLost),
            "the supervisor of the script was told to end, as a host does that shuts down".into(),
        ),
    };
    match end.ended {
        Ended::Survived => message.push_str(SURVIVED),
        Ended::Terminated | Ended::Killed if end.cause == Cause::Exited => {
            message.push_str("; processes that it left running were ended");
        }
        _ => {}
    }
    let ended_at = chrono::DateTime::from_timestamp_millis(end.at_ms).unwrap_or_default();
    AttemptEnd {
        error,
        exit_code: end.exit_code,
        signal: end.signal,
        ended_at: rsqlflow_config::time::format(ended_at),
        message,
    }
}
