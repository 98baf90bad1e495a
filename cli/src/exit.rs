//! How a command ends, for the scripts and schedulers that call it.
//!
//! Four codes and no more: a caller has to know whether the run went wrong, whether it asked wrongly, or whether
//! nobody answered. They are documented in `--help`, and a test keeps that text and this list the same.

use std::process::ExitCode;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done; a run that was waited for has completed.
    Ok,
    /// A run failed, timed out or was cancelled, or what was asked for could not be done.
    Failed,
    /// The command line, a config item or the settings are not right, or name what does not exist.
    Usage,
    /// AWS, or the embedded default, could not be reached.
    Unreachable,
}

impl Exit {
    /// Every code there is.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Failed, Self::Usage, Self::Unreachable];

    /// The code.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
        }
    }

    /// What it says, as `--help` has it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; a run that was waited for completed",
            Self::Failed => "a run failed, timed out or was cancelled, or the operation failed",
            Self::Usage => "wrong usage, settings or config item, or no such workflow, run or job",
            Self::Unreachable => "could not reach the backend",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
