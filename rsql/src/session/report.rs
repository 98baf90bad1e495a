//! Telling about errors and notices, and what follows from an error.

use crate::exit::ExitCode;
use crate::output::message;
use crate::wire::{ServerMessage, WireError};

use super::{Flow, Session};

impl Session {
    /// `rsql`, or `rsql:FILE:LINE` in a file.
    pub(crate) fn prefix(&self) -> String {
        match self.place() {
            Some((file, line)) => format!("rsql:{file}:{line}"),
            None => "rsql".to_owned(),
        }
    }

    /// Tells about a statement's error and sets the status variables. Call [`Self::after_error`]
    /// once the server is ready again.
    pub(super) fn report_error(&mut self, error: &ServerMessage, statement: &str) {
        self.failed = true;
        self.variables.record_error(error);
        let mut text = message::error(&self.prefix(), error, statement);
        if self.echoes("errors") {
            text += &format!("STATEMENT:  {statement}\n");
        }
        self.terminal.error(&text);
    }

    /// What the script wants to happen after an error: go on, or leave.
    pub(super) fn after_error(&mut self, error: &ServerMessage) -> Flow {
        if let Some(code) = self.interrupt.code() {
            return Flow::Exit(code);
        }
        if let Some(severity) = self.severities.record(&error.code) {
            return Flow::Exit(ExitCode::Severity(severity));
        }
        if self.variables.is_on("ON_ERROR_STOP") {
            let code = if self.in_command() { ExitCode::Failure } else { ExitCode::Stopped };
            return Flow::Exit(code);
        }
        Flow::Continue
    }

    pub(super) fn report_notice(&mut self, notice: &ServerMessage) {
        let prefix = self.place().map(|_| self.prefix());
        self.terminal.error(&message::notice(prefix.as_deref(), notice));
    }

    pub(super) fn connection_lost(&mut self, error: &WireError) -> Flow {
        let prefix = self.prefix();
        let text = match error {
            WireError::Fatal(last) => message::error(&prefix, last, ""),
            WireError::Io(source) => format!("{prefix}: ERROR:  {error}: {source}\n"),
            WireError::Closed | WireError::Protocol(_) => format!("{prefix}: ERROR:  {error}\n"),
        };
        self.terminal.error(&format!("{text}rsql: connection to server was lost\n"));
        Flow::Exit(ExitCode::Connection)
    }

    /// Tells about a meta command that went wrong; the script goes on, as in psql.
    pub(crate) fn command_error(&mut self, command: &str, reason: &str) {
        let prefix = self.prefix();
        self.terminal.error(&format!("{prefix}: \\{command}: {reason}\n"));
    }
}
