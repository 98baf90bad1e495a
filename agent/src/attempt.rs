//! One attempt: a script's process from its start to the end of the last of its descendants.
//!
//! The process leads a group of its own, reads nothing, and prints to a file. It ends by itself, or is ended because
//! it takes too long, is silent for too long, or nobody waits for it any more; then everything it started is ended
//! with it. What a script leaves running in its group when it ends is ended as well.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rsqlflow_config::job::{JobError, JobRequest};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::context::Context;
use crate::message;
use crate::outcome::AttemptEnd;
use crate::process::{Ended, ProcessMark, Tree};
use crate::script::{self, Places};

/// After the tree is gone its leader is reaped at once; this only guards against what cannot be.
const REAP_PATIENCE: Duration = Duration::from_secs(1);

/// Why a job must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Nobody waits for it any more.
    Gone,
    /// The agent stops.
    Stopping,
}

impl Interrupt {
    pub(crate) fn end(self) -> AttemptEnd {
        match self {
            Self::Gone => AttemptEnd::without_process(
                JobError::Cancelled,
                "nobody waits for the job any more: its run was stopped, or its task timed out",
            ),
            Self::Stopping => AttemptEnd::without_process(
                JobError::HostLost,
                "the agent was stopped before the script had ended",
            ),
        }
    }
}

/// Where interrupts come from.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts {
    pub gone: watch::Receiver<bool>,
    pub stopping: watch::Receiver<bool>,
}

impl Interrupts {
    pub(crate) async fn next(&mut self) -> Interrupt {
        async fn is_set(flag: &mut watch::Receiver<bool>) {
            if flag.wait_for(|set| *set).await.is_err() {
                // Nobody can set it any more.
                std::future::pending::<()>().await;
            }
        }
        tokio::select! {
            () = is_set(&mut self.gone) => Interrupt::Gone,
            () = is_set(&mut self.stopping) => Interrupt::Stopping,
        }
    }

    pub(crate) fn now(&self) -> Option<Interrupt> {
        if *self.gone.borrow() {
            Some(Interrupt::Gone)
        } else {
            self.stopping.borrow().then_some(Interrupt::Stopping)
        }
    }
}

/// A script's process that runs.
pub(crate) struct Attempt {
    child: Child,
    tree: Tree,
    log: PathBuf,
    began: Instant,
    pub process: ProcessMark,
}

/// What came first.
enum Event {
    Exited(std::io::Result<ExitStatus>),
    TimedOut(u32),
    Stalled(u32),
    Interrupted(Interrupt),
}

impl Attempt {
    /// Checks the script and starts it.
    pub(crate) fn start(
        context: &Context,
        job_id: &str,
        request: &JobRequest,
        attempt: u32,
    ) -> Result<Self, AttemptEnd> {
        let places = Places {
            scripts_dir: &context.config.scripts_dir,
            lib_dir: &context.lib_dir,
            path: &context.config.path,
            strict_modes: context.config.strict_modes,
        };
        let launch = script::resolve(request, &places)
            .map_err(|problem| AttemptEnd::without_process(problem.error(), problem.to_string()))?;
        let log = context.log_path(job_id, attempt);
        let start = || {
            let output = OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
            Command::new(&launch.program)
                .args(&launch.arguments)
                .env_clear()
                .envs(context.environment(job_id, request, attempt))
                .current_dir(&context.config.scripts_dir)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output)
                .process_group(0)
                .spawn()
        };
        let began = Instant::now();
        match start() {
            Ok(child) => {
                // A child that was not waited for has an id.
                let pid = child.id().unwrap_or(0);
                let tree = Tree { group: child.id(), job_id: job_id.to_owned() };
                Ok(Self { child, tree, log, began, process: ProcessMark::of(pid) })
            }
            Err(error) => {
                // The file says that a process may have started; none has.
                let _ = std::fs::remove_file(&log);
                let message = format!(
                    "script {} could not be started with {}: {error}",
                    request.script,
                    launch.program.display()
                );
                Err(AttemptEnd::without_process(JobError::NotStarted, message))
            }
        }
    }

    /// Waits for the end of the process and of everything it started, or brings it about.
    pub(crate) async fn finish(
        mut self,
        context: &Context,
        request: &JobRequest,
        interrupts: &mut Interrupts,
    ) -> AttemptEnd {
        let grace = context.config.grace;
        let event = tokio::select! {
            biased;
            status = self.child.wait() => Event::Exited(status),
            interrupt = interrupts.next() => Event::Interrupted(interrupt),
            limit = passed(self.began, request.timeout_seconds) => Event::TimedOut(limit),
            limit = silent(&self.log, request.stall_seconds) => Event::Stalled(limit),
        };
        let redactor = context.secrets.redactor(&request.task_token, &request.secret_id);
        let (mut end, ended) = match event {
            Event::Exited(Ok(status)) => {
                let ended =
                    if self.tree.group_has_members() { self.tree.end(grace).await } else { Ended::Already };
                (exited(status, request, &self.log, &redactor), ended)
            }
            Event::Exited(Err(error)) => {
                let ended = self.tree.end(grace).await;
                let message = format!("the script's end could not be seen: {error}");
                (AttemptEnd::without_process(JobError::HostLost, message), ended)
            }
            Event::Interrupted(interrupt) => {
                let ended = self.end(grace).await;
                (ended.apply(interrupt.end()), ended.tree)
            }
            Event::TimedOut(limit) => {
                let ended = self.end(grace).await;
                let message = format!("ran longer than timeout_seconds = {limit} and was ended");
                (self.limit(JobError::TimedOut, message, &redactor, &ended), ended.tree)
            }
            Event::Stalled(limit) => {
                let ended = self.end(grace).await;
                let message = format!("printed nothing for stall_seconds = {limit} and was ended");
                (self.limit(JobError::Stalled, message, &redactor, &ended), ended.tree)
            }
        };
        if ended == Ended::Survived {
            end.message.push_str("; some of its processes could not be ended, not even with KILL");
        }
        end
    }

    async fn end(&mut self, grace: Duration) -> LeaderEnd {
        let tree = self.tree.end(grace).await;
        // Reaped only now: until then nobody else can get its process id, which is the group's.
        let status = tokio::time::timeout(REAP_PATIENCE, self.child.wait()).await.ok().and_then(Result::ok);
        LeaderEnd { tree, status }
    }

    fn limit(
        &self,
        error: JobError,
        mut message: String,
        redactor: &crate::redact::Redactor,
        ended: &LeaderEnd,
    ) -> AttemptEnd {
        if ended.tree == Ended::Killed {
            message.push_str(" with KILL");
        }
        if let Some(lines) = message::last_lines(&self.log, redactor) {
            message.push_str(&format!("; its last output:\n{lines}"));
        }
        ended.apply(AttemptEnd::without_process(error, message))
    }
}

/// How a leader that we ended went.
struct LeaderEnd {
    tree: Ended,
    status: Option<ExitStatus>,
}

impl LeaderEnd {
    fn apply(&self, end: AttemptEnd) -> AttemptEnd {
        AttemptEnd {
            exit_code: self.status.and_then(|status| status.code()),
            signal: self.status.and_then(|status| status.signal()),
            ..end
        }
    }
}

fn exited(
    status: ExitStatus,
    request: &JobRequest,
    log: &Path,
    redactor: &crate::redact::Redactor,
) -> AttemptEnd {
    let (error, message) = match (status.code(), status.signal()) {
        (Some(code), _) if request.is_success(code) => (None, format!("completed with exit code {code}")),
        (Some(code), _) => {
            (Some(JobError::ExitCode), message::of_failure(log, &format!("exit code {code}"), redactor))
        }
        (None, signal) => {
            let signal = signal.unwrap_or(0);
            (Some(JobError::Signal), message::of_failure(log, &format!("ended by signal {signal}"), redactor))
        }
    };
    AttemptEnd {
        error,
        exit_code: status.code(),
        signal: status.signal(),
        ended_at: rsqlflow_config::time::now(),
        message,
    }
}

/// Ready once the limit has passed; never without one.
async fn passed(began: Instant, limit: Option<u32>) -> u32 {
    match limit {
        Some(limit) => {
            tokio::time::sleep_until((began + Duration::from_secs(limit.into())).into()).await;
            limit
        }
        None => std::future::pending().await,
    }
}

/// Ready once the log has not grown for as long as the limit says, give or take a tenth.
async fn silent(log: &Path, limit: Option<u32>) -> u32 {
    let Some(limit) = limit else { return std::future::pending().await };
    let allowed = Duration::from_secs(limit.into());
    let look = (allowed / 10).clamp(Duration::from_millis(50), Duration::from_secs(10));
    let mut length = 0;
    let mut grown = Instant::now();
    loop {
        tokio::time::sleep(look).await;
        let now = std::fs::metadata(log).map_or(length, |data| data.len());
        if now != length {
            length = now;
            grown = Instant::now();
        } else if grown.elapsed() >= allowed {
            return limit;
        }
    }
}
