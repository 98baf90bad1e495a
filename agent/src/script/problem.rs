//! Why a script does not start, told to whoever reads the run's failure: what is wrong, and what repairs it.

use std::path::PathBuf;

use rsqlflow_config::job::JobError;
use rsqlflow_supervisor::supervise::passes;

use super::modes::ModesProblem;

/// Why a script does not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScriptProblem {
    #[error("the scripts directory {} cannot be opened: {reason}", .path.display())]
    NoDirectory { path: PathBuf, reason: String },
    #[error("script {script} {problem}")]
    BadName { script: String, problem: String },
    #[error("script {script} does not exist in {}", .directory.display())]
    Missing { script: String, directory: PathBuf },
    #[error("script {script} is a symbolic link that leads out of {}", .directory.display())]
    Outside { script: String, directory: PathBuf },
    #[error("script {script} is a directory")]
    Directory { script: String },
    #[error("script {script} is not a regular file")]
    Special { script: String },
    #[error("script {script} cannot be read: {reason}")]
    Unreadable { script: String, reason: String },
    /// Passes by itself.
    #[error("script {script} cannot be read now: {reason}")]
    NotNow { script: String, reason: String },
    #[error("script {script} is refused (agent.strict_modes): {problem}")]
    Modes { script: String, problem: ModesProblem },
    #[error(
        "script {script} is empty: it may not have been copied whole. One that does nothing on purpose holds: exit 0"
    )]
    Empty { script: String },
    #[error("script {script} has DOS line ends; convert it, for instance with: sed -i 's/\\r$//' {}", .path.display())]
    DosLineEnd { script: String, path: PathBuf },
    #[error(
        "script {script} has a first line of more than {max} bytes, which the kernel does not read to its end"
    )]
    FirstLineTooLong { script: String, max: usize },
    #[error("script {script} asks for the interpreter {interpreter}, which does not exist on this host")]
    NoInterpreter { script: String, interpreter: String },
    #[error(
        "script {script} asks for the interpreter {interpreter}, which is not the whole path of a program"
    )]
    RelativeInterpreter { script: String, interpreter: String },
    #[error("script {script} asks for the interpreter {interpreter}, which is not executable")]
    InterpreterNotExecutable { script: String, interpreter: String },
    #[error(
        "script {script} begins with #!{env} {words}, which the kernel hands on as one name; write #!{env} -S {words}"
    )]
    EnvWithWords { script: String, env: String, words: String },
    #[error("script {script} runs with {program}, which is in none of the directories {path}")]
    NoEnvProgram { script: String, program: String, path: String },
    #[error("script {script} is a binary program without the executable bit; set it with: chmod +x {script}")]
    NotExecutable { script: String },
    #[error("script {script} is a program for {wanted}, and this host is {host}; build it for {host}")]
    OtherArchitecture { script: String, wanted: String, host: &'static str },
    #[error(
        "script {script} is a program that needs the loader {loader}, which does not exist on this host; build it for \
         this host's C library, or statically"
    )]
    NoLoader { script: String, loader: String },
    #[error("script {script} is no whole program: {problem}")]
    BrokenProgram { script: String, problem: &'static str },
    #[error("{program} is in none of the directories {path}")]
    NoProgram { program: &'static str, path: String },
}

impl ScriptProblem {
    /// That a file cannot be read.
    pub(super) fn unreadable(script: &str, error: &std::io::Error) -> Self {
        let (script, reason) = (script.to_owned(), error.to_string());
        if passes(error) { Self::NotNow { script, reason } } else { Self::Unreadable { script, reason } }
    }

    pub(crate) fn error(&self) -> JobError {
        match self {
            Self::NoDirectory { .. }
            | Self::BadName { .. }
            | Self::Missing { .. }
            | Self::Outside { .. }
            | Self::Directory { .. }
            | Self::Special { .. }
            | Self::Unreadable { .. }
            | Self::NotNow { .. } => JobError::ScriptNotFound,
            Self::Modes { .. }
            | Self::Empty { .. }
            | Self::DosLineEnd { .. }
            | Self::FirstLineTooLong { .. }
            | Self::NoInterpreter { .. }
            | Self::RelativeInterpreter { .. }
            | Self::InterpreterNotExecutable { .. }
            | Self::EnvWithWords { .. }
            | Self::NoEnvProgram { .. }
            | Self::NotExecutable { .. }
            | Self::OtherArchitecture { .. }
            | Self::NoLoader { .. }
            | Self::BrokenProgram { .. }
            | Self::NoProgram { .. } => JobError::NotStarted,
        }
    }
}
