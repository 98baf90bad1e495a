//! What the process tells its caller.
//!
//! The agent that runs scripts looks at nothing but this number, so every way to leave has one
//! variant and the mapping is written out in full.

/// Why `rsql` ends, and with which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// The input was run to its end, or `\quit` was met: 0.
    Success,
    /// A bad option, an unreadable file, output that could not be written, or a failed `-c`: 1.
    Failure,
    /// No connection could be made, or it was lost: 2.
    Connection,
    /// The script was stopped before its end, by `ON_ERROR_STOP` or a missing label: 3.
    Stopped,
    /// A severity, from `\rset maxerror` or `--exit-status severity`.
    Severity(u8),
    /// A signal ended it: 128 and the signal's number.
    Interrupted(u8),
    /// The script said so with `\exit n`.
    Script(u8),
}

impl ExitCode {
    /// The process status.
    pub fn status(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Connection => 2,
            Self::Stopped => 3,
            Self::Severity(severity) => severity,
            Self::Interrupted(signal) => 128 + signal.min(127),
            Self::Script(code) => code,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.status())
    }
}
