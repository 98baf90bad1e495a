//! One attempt: a script and everything it starts, under a supervisor.
//!
//! The daemon never is a script's parent. It writes the attempt's run file, starts the supervisor with it and then
//! only waits for that to end; how the script ended is in the file. So it makes no difference whether the daemon that
//! waits is the one that started the attempt: [`Attempt::start`] leads to [`Attempt::adopt`], as every restart does.
//!
//! A supervisor is another process, and a script can do to it what it likes: stop it, for instance. So the daemon looks
//! at it now and then and lets it go on. Where the attempt must end and the supervisor does not bring that about, because
//! it is stopped again and again or hangs, the daemon kills it and ends its processes itself.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rsqlflow_config::job::{JobError, JobRequest};
use rsqlflow_supervisor::cgroup;
use rsqlflow_supervisor::process::{ProcessMark, boot_id};
use rsqlflow_supervisor::run_file::{Cause, End, Ended, RunFile, Spec, Stop, VERSION};
use rsqlflow_supervisor::supervise::passes;
use rsqlflow_supervisor::tree::{KILL_PATIENCE, Tree};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;
use tokio::time::Instant;

use crate::classify::Backoff;
use crate::context::Context;
use crate::interrupt::{Interrupt, Interrupts};
use crate::message;
use crate::outcome::AttemptEnd;
use crate::redact::Redactor;
use crate::script::{self, Places, ScriptProblem, Trusted};

/// Why an attempt did not start.
pub(crate) enum NotStarted {
    /// It cannot.
    Never(AttemptEnd),
    /// The host has no room for it now.
    NotYet(String),
}

/// A supervisor that runs.
pub(crate) struct Attempt {
    supervisor: AsyncFd<OwnedFd>,
    mark: ProcessMark,
    file: RunFile,
    log: PathBuf,
    began: Began,
}

/// How often a supervisor is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How often one is looked at that has to end its script.
const CLOSE_LOOK: Duration = Duration::from_secs(1);

/// One that has to end its script and is found stopped so often in a row is not waited for.
const STOPPED_MAX: u32 = 3;

/// What a supervisor needs besides the time that it gives its script.
const MARGIN: Duration = Duration::from_secs(5);

/// What the daemon enforces itself where a supervisor is kept from it.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    /// Longest time of the script.
    time: Option<Duration>,
    /// Longest time without a line.
    silence: Option<Duration>,
}

/// How it came that a supervisor is gone, or is no longer waited for.
enum Went {
    /// It ended.
    Ended,
    /// It was killed, because it did not end its script, for which this was the reason.
    Killed(Cause),
    /// The next daemon waits for it.
    Left,
}

/// Which process of the agent began an attempt: it knows the password that the script was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Began {
    /// This one.
    Here,
    /// An earlier one.
    Earlier,
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
    /// Checks the script and starts its supervisor. Waits for disks, which may be slow or far away.
    ///
    /// Once this is `Ok`, or a supervisor was started before, [`Attempt::adopt`] says what became of it.
    pub(crate) fn start(
        context: &Context,
        job_id: &str,
        request: &JobRequest,
        attempt: u32,
        started_at: &str,
    ) -> Result<(), NotStarted> {
        let failed = |error: io::Error| {
            use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
            // What is wrong with the host's disk is no fault of the script's, and somebody mends it.
            if matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem) || passes(&error) {
                return NotStarted::NotYet(error.to_string());
            }
            let message = format!("script {} could not be started: {error}", request.script);
            NotStarted::Never(AttemptEnd::without_process(JobError::NotStarted, message))
        };
        // Somebody may have removed it.
        crate::library::write(&context.config.data_dir).map_err(failed)?;
        let places = Places::of(&context.config, &context.lib_dir, Trusted::own());
        let launch = script::resolve(request, &places).map_err(|problem| match problem {
            problem @ ScriptProblem::NotNow { .. } => NotStarted::NotYet(problem.to_string()),
            problem => NotStarted::Never(AttemptEnd::without_process(problem.error(), problem.to_string())),
        })?;
        let mut arguments = Vec::new();
        for argument in launch.arguments {
            arguments.push(argument.into_string().map_err(|argument| {
                failed(io::Error::other(format!("{} is not UTF-8", argument.display())))
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
            cgroup: context.cgroup_of(job_id, attempt),
        };
        let (log, path) = (context.log_path(job_id, attempt), context.run_path(job_id, attempt));
        crate::job_file::make_directory(&context.job_dir(job_id)).map_err(failed)?;
        let file = match RunFile::create(&path, &spec) {
            Ok(file) => file,
            // Somebody has started it, whatever the journal knew of that.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let spawn = || {
            context.started.note(job_id, attempt, &path)?;
            let output = OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
            let label = format!("{}/{}/{attempt}", request.workflow_execution_id, request.job_name);
            // Dropped, it is buried by the runtime once it has ended.
            Command::new(&context.config.supervisor)
                .arg(label)
                .env_clear()
                .current_dir("/")
                .stdin(Stdio::from(file.hand_over()?))
                .stdout(output.try_clone()?)
                .stderr(output)
                .spawn()
        };
        spawn().map(drop).map_err(|error| {
            // They say that a script may have started; none has, and they were made just now.
            context.started.take_back(job_id, attempt);
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_file(&log);
            failed(error)
        })
    }

    /// What became of an attempt: of the one that was just started, or one that an earlier daemon started or was about
    /// to start.
    pub(crate) async fn adopt(
        context: &Context,
        job_id: &str,
        request: &JobRequest,
        attempt: u32,
        began: Began,
    ) -> Found {
        let log = context.log_path(job_id, attempt);
        let Some(file) = run_file(context, job_id, attempt).await else { return Found::Never };
        let mut backoff = Backoff::default();
        // A supervisor says within a millisecond who it is, and is then ready to be told to end.
        let mut pause = Duration::from_micros(500);
        while file.is_supervised() {
            if let Some(mark) = file.mark() {
                match watch(&mark.supervisor) {
                    Ok(Some(supervisor)) => {
                        let mark = mark.supervisor;
                        return Found::Running(Self { supervisor, mark, file, log, began });
                    }
                    // It has just ended.
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, "a supervisor cannot be watched; trying again");
                        backoff.pause().await;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        if let Some(end) = file.end() {
            return Found::Ended(ended(
                &end,
                request,
                &log,
                context.redactor_of(job_id, request, began).await.as_ref(),
            ));
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
        let seconds = |limit: Option<u32>| limit.map(|seconds| Duration::from_secs(seconds.into()));
        let limits =
            Limits { time: seconds(request.timeout_seconds), silence: seconds(request.stall_seconds) };
        let went = self.wait(context.config.grace, limits, interrupts).await;
        let mut killed = false;
        if let Went::Left = went {
            return None;
        }
        if let (Went::Killed(cause), None) = (went, self.file.end()) {
            killed = true;
            let ended = sweep(context, tree(context, job_id, attempt, Some(&self.file))).await;
            let at_ms = rsqlflow_config::time::wall().timestamp_millis();
            let end = End { cause, exit_code: None, signal: None, ended, at_ms };
            if let Err(error) = self.file.set_end(&end) {
                tracing::warn!(%error, "the end of the script cannot be noted");
            }
        }
        let Some(end) = self.file.end() else {
            return Some(lost(context, job_id, attempt, &self.file).await);
        };
        let redactor = context.redactor_of(job_id, request, self.began).await;
        let mut end = ended(&end, request, &self.log, redactor.as_ref());
        if killed {
            end.message.push_str(UNRESPONSIVE);
        }
        Some(end)
    }

    /// How long the script has printed nothing.
    fn silence(&self) -> Duration {
        let printed = std::fs::metadata(&self.log).and_then(|log| log.modified()).ok();
        // A clock that was set back makes it no time at all.
        let since = printed.map(|at| at.elapsed().unwrap_or_default()).unwrap_or_default();
        since.min(self.mark.age())
    }

    /// Waits until the supervisor is gone, and sees to it that it does what it has to.
    async fn wait(&self, grace: Duration, limits: Limits, interrupts: &mut Interrupts) -> Went {
        let overdue_at =
            limits.time.map(|limit| Instant::now() + (limit + MARGIN / 2).saturating_sub(self.mark.age()));
        let mut asked: Option<(Stop, Instant)> = None;
        let mut stopped = 0;
        loop {
            if self.mark.is_stopped() {
                if stopped == 0 {
                    tracing::warn!("the supervisor of the script was stopped; it is made to go on");
                }
                stopped += 1;
                self.signal(Signal::CONT);
            } else {
                stopped = 0;
            }
            let now = Instant::now();
            let overdue = overdue_at.is_some_and(|at| now >= at);
            let silent =
                stopped > 0 && limits.silence.is_some_and(|limit| self.silence() >= limit + MARGIN / 2);
            let cause = match asked {
                Some((stop, deadline)) if stopped >= STOPPED_MAX || now >= deadline => {
                    Some(Cause::Stopped(stop))
                }
                // One that is not stopped keeps the limit, and it knows how long the host slept.
                None if overdue && stopped >= STOPPED_MAX => Some(Cause::TimedOut),
                None if silent && stopped >= STOPPED_MAX => Some(Cause::Stalled),
                _ => None,
            };
            if let Some(cause) = cause {
                tracing::error!(?cause, "the supervisor does not end its script; both are killed");
                self.signal(Signal::KILL);
                // One that waits for a dead disk cannot even be killed.
                let _ = tokio::time::timeout(KILL_PATIENCE, self.supervisor.readable()).await;
                return Went::Killed(cause);
            }
            let look_at = match overdue_at.filter(|_| !overdue) {
                _ if asked.is_some() || overdue || silent => now + CLOSE_LOOK,
                Some(at) => at.min(now + LOOK),
                None => now + LOOK,
            };
            let first = asked.is_none();
            let interrupted = async {
                if first {
                    return interrupts.next().await.stop();
                }
                interrupts.left().await;
                None
            };
            let stop = tokio::select! {
                biased;
                _ = self.supervisor.readable() => return Went::Ended,
                stop = interrupted => stop,
                () = tokio::time::sleep_until(look_at) => continue,
            };
            let Some(stop) = stop else { return Went::Left };
            if let Err(error) = self.file.set_stop(stop) {
                tracing::warn!(%error, "the reason for ending the script cannot be noted");
            }
            self.signal(Signal::TERM);
            // One that is stopped hears of it only once it goes on.
            self.signal(Signal::CONT);
            (asked, stopped) = (Some((stop, now + grace + KILL_PATIENCE + MARGIN)), 0);
        }
    }

    /// One that has ended by now has said how.
    fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(self.supervisor.get_ref(), signal);
    }
}

/// What is added where a supervisor did not do its work.
const UNRESPONSIVE: &str = "; its supervisor did not bring that about and was killed";

/// The run file of an attempt, if there is one. An attempt is not taken for one that never was because there are too
/// many files open.
pub(crate) async fn run_file(context: &Context, job_id: &str, attempt: u32) -> Option<RunFile> {
    let path = context.run_path(job_id, attempt);
    let mut backoff = Backoff::default();
    loop {
        match RunFile::open(&path) {
            Ok(file) => return Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a run file cannot be opened; trying again");
                backoff.pause().await;
            }
        }
    }
}

/// A descriptor that becomes readable when the process ends; none where it has.
fn watch(supervisor: &ProcessMark) -> io::Result<Option<AsyncFd<OwnedFd>>> {
    let Some(supervisor) = supervisor.open()? else { return Ok(None) };
    #[expect(
        deprecated,
        reason = "an OwnedFd keeps its descriptor, which is all that the unsafe one asks for"
    )]
    AsyncFd::with_interest(supervisor, Interest::READABLE).map(Some)
}

/// How the processes of an attempt are found where no supervisor knows them.
fn tree(context: &Context, job_id: &str, attempt: u32, file: Option<&RunFile>) -> Tree {
    let script = file.and_then(|file| file.mark()?.script).filter(ProcessMark::exists);
    let spec = file.and_then(|file| file.spec().ok());
    Tree {
        root: None,
        group: script.map(|script| script.pid),
        job_id: Some(job_id.to_owned()),
        cgroup: spec.map_or_else(|| context.cgroup_of(job_id, attempt), |spec| spec.cgroup),
    }
}

/// Ends the processes of an attempt.
async fn sweep(context: &Context, tree: Tree) -> Ended {
    let grace = context.config.grace;
    let sweep = tokio::task::spawn_blocking(move || {
        let ended = tree.end(grace);
        tree.cgroup.as_deref().inspect(|directory| cgroup::remove(directory));
        ended
    });
    sweep.await.unwrap_or(Ended::Survived)
}

/// The supervisor was killed: what it left is ended from here.
async fn lost(context: &Context, job_id: &str, attempt: u32, file: &RunFile) -> AttemptEnd {
    let ended = sweep(context, tree(context, job_id, attempt, Some(file))).await;
    tracing::warn!(attempt, ?ended, "the supervisor of a script was killed");
    host_lost("the supervisor of the script was killed; how the script would have ended is not known", ended)
}

/// The run file of an attempt is gone: what runs of it is ended, for nobody could say how it ends.
pub(crate) async fn end_unfiled(context: &Context, job_id: &str, attempt: u32, message: &str) -> AttemptEnd {
    let ended = sweep(context, tree(context, job_id, attempt, None)).await;
    tracing::warn!(attempt, ?ended, "the run file of an attempt is gone");
    host_lost(message, ended)
}

fn host_lost(message: &str, ended: Ended) -> AttemptEnd {
    let mut end = AttemptEnd::without_process(JobError::HostLost, message);
    match ended {
        Ended::Already => {}
        Ended::Terminated | Ended::Killed => {
            end.message.push_str("; processes that it left running were ended")
        }
        Ended::Survived => end.message.push_str(SURVIVED),
    }
    end
}

/// Ends what runs under the run files of a job that is not known: nobody could be told how it ends, and its task may
/// have been given to another host. False where the agent stops meanwhile and leaves that to the next.
pub(crate) async fn end_stray(context: &Context, job_id: &str, path: &Path) -> bool {
    let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).unwrap_or(0);
    let Ok(file) = RunFile::open(path) else { return true };
    let mark = file.mark().map(|mark| mark.supervisor);
    let supervisor = mark.filter(|_| file.is_supervised()).and_then(|mark| Some((watch(&mark).ok()??, mark)));
    let tree = tree(context, job_id, number, Some(&file));
    if let Some((supervisor, mark)) = supervisor {
        let attempt = Attempt { supervisor, mark, file, log: PathBuf::new(), began: Began::Earlier };
        let mut gone = Interrupts::always(Interrupt::Gone, context.stop.clone());
        if let Went::Left = attempt.wait(context.config.grace, Limits::default(), &mut gone).await {
            return false;
        }
    }
    let ended = sweep(context, tree).await;
    tracing::warn!(job_id, attempt = number, ?ended, "the script of a job that is not known was ended");
    true
}

const SURVIVED: &str = "; some of its processes could not be ended, not even with KILL";

/// What the supervisor saw, in the words of audit records.
///
/// Without a redactor nothing of the output is quoted.
fn ended(end: &End, request: &JobRequest, log: &Path, redactor: Option<&Redactor>) -> AttemptEnd {
    let of_failure = |how: &str| match redactor {
        Some(redactor) => message::of_failure(log, how, redactor),
        None => format!("{how}; what it printed is in its log"),
    };
    let limit = |message: String| {
        let how = if end.ended == Ended::Killed { " with KILL" } else { "" };
        match redactor.and_then(|redactor| message::last_lines(log, redactor)) {
            Some(lines) => format!("{message}{how}; its last output:\n{lines}"),
            None => format!("{message}{how}"),
        }
    };
    let (error, mut message) = match (&end.cause, end.exit_code) {
        (Cause::Exited, Some(code)) if request.is_success(code) => {
            (None, format!("completed with exit code {code}"))
        }
        (Cause::Exited, Some(code)) => (Some(JobError::ExitCode), of_failure(&format!("exit code {code}"))),
        (Cause::Exited, None) => {
            let how = format!("ended by signal {}", end.signal.unwrap_or(0));
            (Some(JobError::Signal), of_failure(&how))
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
    AttemptEnd {
        error,
        exit_code: end.exit_code,
        signal: end.signal,
        ended_at: rsqlflow_config::time::of_millis(end.at_ms),
        message,
    }
}
