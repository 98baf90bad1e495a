//! Why a command did not do what was asked: what to say, how to exit, and what to type next.
//!
//! The three belong together, so they are decided here and nowhere else. Messages say what happened; the line after
//! them names the next command where there is one.

use std::path::{Path, PathBuf};

use rsqlflow_config::settings::SettingsError;
use rsqlflow_local::cloud::CloudError;
use rsqlflow_local::data_dir::DataDirError;
use rsqlflow_local::endpoint::EndpointError;
use rsqlflow_trigger::TriggerError;

use crate::exit::Exit;
use crate::screen::{Screen, Tone, tell};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The settings do not hold.
    #[error("{0}")]
    Settings(#[source] SettingsError),
    /// `local.warehouse.url` is not one. Without any of it: it has a password.
    #[error("local.warehouse.url {0}; write postgres://user:password@host:port/dbname")]
    WarehouseUrl(&'static str),
    /// A config file cannot be read.
    #[error("cannot read {file}: {source}")]
    ReadFile {
        /// The file.
        file: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The settings file cannot be written.
    #[error("cannot write {file}: {source}")]
    WriteFile {
        /// The file.
        file: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// Config files are not right; what is wrong has been told.
    #[error("{wrong} of {files} {} not valid", if *wrong == 1 { "is" } else { "are" })]
    InvalidFiles {
        /// How many are wrong.
        wrong: usize,
        /// Of how many, with their noun.
        files: String,
    },
    /// What the trigger says.
    #[error("{0}")]
    Trigger(#[from] TriggerError),
    /// What the trigger function of an account says.
    #[error("{message}")]
    Function {
        /// The kind: one of [`TriggerError::code`], or Lambda's own.
        code: String,
        /// What is wrong.
        message: String,
        /// What it was asked.
        asked: Box<Asked>,
    },
    /// There is no such workflow.
    #[error("there is no workflow `{id}`{}", did_you_mean(.nearest.as_deref()))]
    UnknownWorkflow {
        /// The id asked for.
        id: String,
        /// The nearest there is.
        nearest: Option<String>,
    },
    /// There is no such run.
    #[error("there is no run `{id}`{}", did_you_mean(.nearest.as_deref()))]
    UnknownRun {
        /// The id asked for.
        id: String,
        /// The nearest there is.
        nearest: Option<String>,
    },
    /// The run has an execution and no record.
    #[error(
        "there is no record of run `{id}`: it was removed, or never written. Step Functions says that its execution is \
         {status}"
    )]
    NoRecord {
        /// The run.
        id: String,
        /// Its execution's status.
        status: String,
    },
    /// The job had no such attempt.
    #[error("{job} in run `{run}` has no attempt {attempt}: it had {had}")]
    UnknownAttempt {
        /// The run.
        run: String,
        /// The job, or that it is about all of them.
        job: String,
        /// The attempt asked for.
        attempt: u32,
        /// The last there is.
        had: u32,
    },
    /// The run has no such job.
    #[error("run `{run}` has no job `{job}`{}", did_you_mean(.nearest.as_deref()))]
    UnknownJob {
        /// The run.
        run: String,
        /// The job asked for.
        job: String,
        /// The nearest there is.
        nearest: Option<String>,
    },
    /// `env` without `up`.
    #[error("no `rsqlflow up` is running on {}", .data_dir.display())]
    NotUp {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// A workflow has a schedule and nobody said what schedules start.
    #[error(
        "workflow `{id}` has a schedule, and the settings do not say what schedules start: trigger_arn and \
             scheduler_role_arn are empty"
    )]
    NoTrigger {
        /// The workflow.
        id: String,
    },
    /// Nobody said what schedules start.
    #[error("the settings do not say what schedules start: trigger_arn and scheduler_role_arn are empty")]
    NoSchedules,
    /// The command needs the embedded default and the settings say AWS.
    #[error("`rsqlflow {command}` is for the embedded default; the settings say backend = \"aws\"")]
    NotLocal {
        /// The command.
        command: &'static str,
    },
    /// What was asked cannot be undone, and nobody is there to be asked.
    #[error("{question} There is no terminal to ask at, so nothing was done")]
    Unconfirmed {
        /// The question.
        question: String,
    },
    /// An account refused, or cannot be reached.
    #[error("{said}")]
    Account {
        /// What was refused, to whom and why.
        said: String,
        /// What to do about it.
        next: Option<String>,
        /// How the command exits.
        exit: Exit,
    },
    /// Something was done before this went wrong, or may have been.
    #[error("{said}: {source}")]
    Partly {
        /// What is done and what is not.
        said: String,
        /// What to do once the source is mended.
        then: String,
        /// What went wrong.
        source: Box<CliError>,
    },
    /// A secret that is not the connection of a warehouse.
    #[error("secret {id} is not a JSON object with host, port, username, password and dbname")]
    NotAConnection {
        /// The secret.
        id: String,
    },
    /// `up` where there is one.
    #[error("rsqlflow is already up on {} at {endpoint}, process {pid}", .data_dir.display())]
    AlreadyUp {
        /// The data directory.
        data_dir: PathBuf,
        /// Its endpoint.
        endpoint: String,
        /// Its process.
        pid: u32,
    },
    /// Another process uses the data directory and serves nothing.
    #[error("{} is in use by process {pid}", .data_dir.display())]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// The process.
        pid: String,
    },
    /// The embedded default did not start, or did not do what it should.
    #[error("{what}: {source}")]
    Embedded {
        /// What was being done.
        what: &'static str,
        /// Why it went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Standard output or input failed.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

/// What the trigger function of an account was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// The function's name.
    pub(crate) function: String,
    /// The workflow, where it was named.
    pub(crate) workflow: Option<String>,
    /// The run: the earlier one for a restart.
    pub(crate) run: Option<String>,
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|id| format!("; did you mean `{id}`?")).unwrap_or_default()
}

impl CliError {
    /// From what the embedded default says.
    pub(crate) fn embedded<E>(what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |error| Self::Embedded { what, source: error.into() }
    }

    /// From an SDK client's error, keeping the service's own code and message.
    pub(crate) fn aws<E, R>(action: &'static str) -> impl FnOnce(aws_sdk_sfn::error::SdkError<E, R>) -> Self
    where
        E: aws_sdk_sfn::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |error| Self::Trigger(TriggerError::aws(action, error))
    }

    /// Of a run that was recorded and not started, as far as that is known.
    pub(crate) fn not_started(
        run: &str,
        certain: bool,
        stays_open: Option<&TriggerError>,
        source: Box<Self>,
    ) -> Self {
        let (said, then) = if certain {
            let open = stays_open
                .map(|why| format!(" (its record stays open for a quarter of an hour, because {why})"));
            let said = format!("run `{run}` was not started{}", open.unwrap_or_default());
            (said, "the same command again; --id may be the same".into())
        } else {
            let said = format!("whether run `{run}` was started is not known");
            (said, format!("rsqlflow status {run}; the same command with --id {run} is the same run"))
        };
        Self::Partly { said, then, source }
    }

    /// How the command exits.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Settings(_)
            | Self::WarehouseUrl(_)
            | Self::ReadFile { .. }
            | Self::InvalidFiles { .. }
            | Self::UnknownWorkflow { .. }
            | Self::UnknownRun { .. }
            | Self::NoRecord { .. }
            | Self::UnknownJob { .. }
            | Self::UnknownAttempt { .. }
            | Self::NoTrigger { .. }
            | Self::NoSchedules
            | Self::Unconfirmed { .. }
            | Self::NotLocal { .. } => Exit::Usage,
            Self::Trigger(error) => trigger_exit(error),
            Self::Function { code, .. } => function_exit(code),
            Self::Account { exit, .. } => *exit,
            Self::Partly { source, .. } => source.exit(),
            Self::NotAConnection { .. } | Self::AlreadyUp { .. } | Self::WriteFile { .. } => Exit::Failed,
            Self::NotUp { .. } | Self::InUse { .. } | Self::Embedded { .. } => Exit::Unreachable,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Output(_) => Exit::Failed,
        }
    }

    /// What to type next, where that is known.
    pub(crate) fn next(&self) -> Option<String> {
        match self {
            Self::Settings(SettingsError::NotDeployed(_)) => {
                Some("rsqlflow init --stack NAME    reads them from the stack".into())
            }
            Self::Account { next, .. } => next.clone(),
            Self::Partly { then, source, .. } => Some(match source.next() {
                Some(next) => format!("{next}; then {then}"),
                None => then.clone(),
            }),
            Self::Settings(_) | Self::WarehouseUrl(_) => {
                Some("rsqlflow config defaults    prints every setting".into())
            }
            Self::InvalidFiles { .. } => Some("rsqlflow config schema    prints what a file may have".into()),
            Self::UnknownWorkflow { .. } => Some("rsqlflow config list".into()),
            Self::UnknownRun { .. } => Some("rsqlflow runs".into()),
            Self::NoRecord { .. } => Some(
                "aws stepfunctions describe-execution; what its jobs printed is in CloudWatch Logs".into(),
            ),
            Self::UnknownJob { run, .. } | Self::UnknownAttempt { run, .. } => {
                Some(format!("rsqlflow status {run}    lists its jobs"))
            }
            Self::NotUp { .. } => Some("rsqlflow up".into()),
            Self::AlreadyUp { .. } => Some("eval \"$(rsqlflow env)\"".into()),
            Self::InUse { .. } => Some("wait for that process, or use another --data-dir".into()),
            Self::NoTrigger { .. } | Self::NoSchedules => {
                Some("rsqlflow config defaults    says what they are".into())
            }
            Self::Unconfirmed { .. } => Some("the same command with --yes".into()),
            Self::NotLocal { .. } => Some("RSQLFLOW_BACKEND=local rsqlflow ...".into()),
            Self::Trigger(error) => trigger_next(error),
            Self::Function { code, message, asked } => function_next(code, message, asked),
            Self::Embedded { source, .. } => embedded_next(source.as_ref()),
            Self::ReadFile { .. }
            | Self::WriteFile { .. }
            | Self::NotAConnection { .. }
            | Self::Output(_) => None,
        }
    }

    /// Says it on standard error.
    pub(crate) fn tell(&self, screen: Screen) {
        if self.exit() == Exit::Ok {
            return;
        }
        tell(&format!("{} {self}", screen.paint(Tone::Bad, "error:")));
        // What a message's own text does not have: the causes below it. The trigger's messages have all of theirs.
        let mut cause = match self {
            Self::Trigger(_) | Self::Partly { .. } => None,
            _ => std::error::Error::source(self).and_then(std::error::Error::source),
        };
        while let Some(error) = cause {
            tell(&format!("  because: {error}"));
            cause = error.source();
        }
        if let Some(next) = self.next() {
            tell(&format!("{} {next}", screen.paint(Tone::Faint, "next:")));
        }
    }
}

/// What helps the embedded default.
fn embedded_next(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<String> {
    if let Some(EndpointError::Bind { .. }) = source.downcast_ref() {
        return Some(
            "free the port, or set local.listen: RSQLFLOW_LOCAL_LISTEN=127.0.0.1:0 is any free one".into(),
        );
    }
    let CloudError::DataDir(DataDirError::Io { source, path, .. }) = source.downcast_ref()? else {
        return None;
    };
    match source.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "use another --data-dir, or let this user write {}, which root or another user may have made",
            path.display()
        )),
        _ => Some("use another --data-dir".into()),
    }
}

fn trigger_exit(error: &TriggerError) -> Exit {
    match error {
        TriggerError::UnknownWorkflow { .. }
        | TriggerError::UnknownRun(_)
        | TriggerError::InvalidWorkflow { .. }
        | TriggerError::InvalidRunId { .. }
        | TriggerError::InvalidParameter { .. }
        | TriggerError::RunOfAnother { .. }
        | TriggerError::UnknownJob { .. }
        | TriggerError::JobSwitchedOff { .. }
        | TriggerError::UnknownStage { .. }
        | TriggerError::NoHost(_)
        | TriggerError::JobTooLarge { .. }
        | TriggerError::TooLarge { .. } => Exit::Usage,
        TriggerError::Disabled(_)
        | TriggerError::RunExists { .. }
        | TriggerError::Ended { .. }
        | TriggerError::NotEnded { .. }
        | TriggerError::JobsNotEnded { .. }
        | TriggerError::StoppedJustNow { .. }
        | TriggerError::RestartedBefore { .. }
        | TriggerError::NotAsItWas(_)
        | TriggerError::NothingToRun
        | TriggerError::Contended(_)
        | TriggerError::Record { .. } => Exit::Failed,
        TriggerError::NotStarted { source, .. } | TriggerError::NotClosed { source, .. } => {
            trigger_exit(source)
        }
        TriggerError::Aws { unreachable: true, .. } => Exit::Unreachable,
        TriggerError::Aws { unreachable: false, .. } => Exit::Failed,
    }
}

fn trigger_next(error: &TriggerError) -> Option<String> {
    let about = match error {
        TriggerError::UnknownWorkflow { id, .. }
        | TriggerError::InvalidWorkflow { id, .. }
        | TriggerError::Disabled(id)
        | TriggerError::NoHost(id) => About { workflow: Some(id), run: None },
        TriggerError::RunExists { id, .. }
        | TriggerError::Ended { id, .. }
        | TriggerError::NotEnded { id, .. }
        | TriggerError::JobsNotEnded { run: id, .. }
        | TriggerError::StoppedJustNow { run: id, .. }
        | TriggerError::RestartedBefore { by: id, .. }
        | TriggerError::RunOfAnother { id, .. }
        | TriggerError::NotAsItWas(id)
        | TriggerError::UnknownRun(id) => About { workflow: None, run: Some(id) },
        // Of an account, `explain` says more.
        TriggerError::Aws { unreachable: true, .. } => {
            return Some("rsqlflow up, and the same command again".into());
        }
        // Told as `CliError::Partly`.
        TriggerError::NotStarted { .. } | TriggerError::NotClosed { .. } => return None,
        TriggerError::InvalidRunId { .. }
        | TriggerError::InvalidParameter { .. }
        | TriggerError::TooLarge { .. }
        | TriggerError::JobTooLarge { .. }
        | TriggerError::UnknownJob { .. }
        | TriggerError::JobSwitchedOff { .. }
        | TriggerError::UnknownStage { .. }
        | TriggerError::NothingToRun
        | TriggerError::Contended(_)
        | TriggerError::Aws { .. }
        | TriggerError::Record { .. } => About::default(),
    };
    next_of(error.code(), &about)
}

/// What an error is about, where that is known.
#[derive(Debug, Default)]
struct About<'a> {
    workflow: Option<&'a str>,
    run: Option<&'a str>,
}

/// What helps with an error of the trigger, by its kind: the same whether it was this program that did it or the function.
fn next_of(code: &str, about: &About<'_>) -> Option<String> {
    match code {
        "Rsql.UnknownWorkflow" => Some("rsqlflow config list".into()),
        "Rsql.UnknownRun" => Some("rsqlflow runs".into()),
        "Rsql.InvalidWorkflow" | "Rsql.WorkflowDisabled" | "Rsql.NoHost" => {
            about.workflow.map(|id| format!("rsqlflow config get {id}"))
        }
        "Rsql.RunExists" | "Rsql.RunEnded" | "Rsql.RunNotEnded" | "Rsql.RestartedBefore" => {
            about.run.map(|id| format!("rsqlflow status {id}"))
        }
        // Without the workflow, and without --as-it-was.
        "Rsql.RunOfAnother" | "Rsql.NotAsItWas" => {
            about.run.map(|id| format!("rsqlflow run --restart-from {id}"))
        }
        _ => None,
    }
}

/// The same of an error of the trigger function, by its kind.
fn function_exit(code: &str) -> Exit {
    match code {
        "Rsql.UnknownWorkflow"
        | "Rsql.UnknownRun"
        | "Rsql.InvalidWorkflow"
        | "Rsql.InvalidRunId"
        | "Rsql.InvalidParameter"
        | "Rsql.RunOfAnother"
        | "Rsql.UnknownJob"
        | "Rsql.UnknownStage"
        | "Rsql.NoHost"
        | "Rsql.InputTooLarge"
        | "Rsql.InvalidEvent" => Exit::Usage,
        "Rsql.Unreachable" => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// The same of what the function said. Of a run that another goes on from it names the other first.
fn function_next(code: &str, message: &str, asked: &Asked) -> Option<String> {
    if !code.starts_with("Rsql.") {
        return Some(format!("the log group /aws/lambda/{} has what the function said", asked.function));
    }
    let other = (code == "Rsql.RestartedBefore").then(|| message.split('`').nth(1)).flatten();
    let about = About { workflow: asked.workflow.as_deref(), run: other.or(asked.run.as_deref()) };
    next_of(code, &about)
}

/// The known name that is near enough to a wrong one to be meant.
pub(crate) fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let distance = |name: &&str| strsim::damerau_levenshtein(name, wanted);
    let near = |name: &&str| {
        distance(name) <= 1 + name.chars().count() / 3
            || (wanted.chars().count() > 3 && (name.starts_with(wanted) || name.ends_with(wanted)))
    };
    known.into_iter().filter(near).min_by_key(distance).map(str::to_string)
}

/// The name of a config file in messages: `-` is standard input.
pub(crate) fn file_name(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".into() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_could_be_meant() {
        let runs = ["nightly-20261121-030000-4f2a1c", "weekly-1"];
        assert_eq!(nearest("weekly-2", runs).as_deref(), Some("weekly-1"));
        assert_eq!(nearest("nightly-20261121", runs).as_deref(), Some("nightly-20261121-030000-4f2a1c"));
        assert_eq!(nearest("4f2a1c", runs).as_deref(), Some("nightly-20261121-030000-4f2a1c"));
        assert_eq!(nearest("other", runs), None);
    }

    /// What the function says has the exit code that the same error has here.
    #[test]
    fn an_error_exits_the_same_wherever_it_comes_from() {
        let id = || "x".to_string();
        let status = rsqlflow_config::audit::Status::Running;
        let errors = [
            TriggerError::UnknownWorkflow { id: id(), known: None },
            TriggerError::Disabled(id()),
            TriggerError::NoHost(id()),
            TriggerError::InvalidRunId { id: id(), problem: id() },
            TriggerError::InvalidParameter { name: id(), problem: id() },
            TriggerError::RunExists { id: id(), of: id() },
            TriggerError::TooLarge { size: 1 },
            TriggerError::JobTooLarge { job: id(), size: 1 },
            TriggerError::UnknownRun(id()),
            TriggerError::Ended { id: id(), status },
            TriggerError::NotEnded { id: id(), status },
            TriggerError::JobsNotEnded { run: id(), jobs: vec![] },
            TriggerError::StoppedJustNow { run: id(), jobs: vec![], seconds: 1 },
            TriggerError::RunOfAnother { id: id(), workflow: id() },
            TriggerError::RestartedBefore { id: id(), by: id() },
            TriggerError::NotAsItWas(id()),
            TriggerError::UnknownJob { job: id(), known: None },
            TriggerError::JobSwitchedOff { job: id(), stage: id() },
            TriggerError::UnknownStage { wanted: id(), known: id() },
            TriggerError::NothingToRun,
            TriggerError::Contended(id()),
            TriggerError::Aws { action: "x", message: id(), unreachable: true },
            TriggerError::Aws { action: "x", message: id(), unreachable: false },
            TriggerError::Record { table: id(), message: id() },
        ];
        for error in errors {
            assert_eq!(function_exit(error.code()), trigger_exit(&error), "{error:?}");
            if matches!(error, TriggerError::Aws { .. }) {
                continue;
            }
            let asked = Asked { function: id(), workflow: Some(id()), run: Some(id()) };
            let next = function_next(error.code(), &error.to_string(), &asked);
            assert_eq!(next, trigger_next(&error), "{error:?}");
        }
        assert_eq!(function_exit("Sandbox.Timedout"), Exit::Failed);
        let other = TriggerError::RestartedBefore { id: "old".into(), by: "new".into() };
        let next = function_next(other.code(), &other.to_string(), &Asked::default());
        assert_eq!(next.as_deref(), Some("rsqlflow status new"));
    }

    #[test]
    fn errors_name_the_next_command() {
        let unknown = CliError::UnknownRun { id: "x".into(), nearest: Some("y".into()) };
        assert_eq!(unknown.to_string(), "there is no run `x`; did you mean `y`?");
        assert_eq!((unknown.exit(), unknown.next().as_deref()), (Exit::Usage, Some("rsqlflow runs")));
        let invalid = CliError::InvalidFiles { wrong: 1, files: "2 files".into() };
        assert_eq!(invalid.to_string(), "1 of 2 files is not valid");
        let gone: CliError = TriggerError::Aws { action: "x", message: "y".into(), unreachable: true }.into();
        assert_eq!(gone.exit(), Exit::Unreachable);
    }
}
