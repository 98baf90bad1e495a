//! A running client: its connection, its variables, what it reads and where it prints.
//!
//! `input` decides what comes next, `meta` commands and `execute` act on it, `report` tells about
//! errors. Everything is one task: a script is a sequence, and so is its log.

mod execute;
mod input;
mod load;
mod report;

use std::time::Instant;

use crate::dialect::Dialect;
use crate::exit::ExitCode;
use crate::interrupt::Interrupt;
use crate::lexer::{Cursor, Lookup};
use crate::meta;
use crate::options::{Action, Options};
use crate::output::{Layout, Terminal};
use crate::severity::Severities;
use crate::source::Source;
use crate::target::Target;
use crate::variables::{Variables, is_valid_name};
use crate::wire::{Connection, WireError};
pub(crate) use execute::Purpose;
use input::Frame;
pub(crate) use input::MAX_DEPTH;

/// What the command that was just met wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Go on.
    Continue,
    /// Leave the input being read, go on with the one around it.
    EndInput,
    /// Leave.
    Exit(ExitCode),
}

/// How the process environment and the server shape a session.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The directory that stands for S3.
    pub s3_root: Option<String>,
    /// What `RSQL_DIALECT` says.
    pub dialect: Option<Dialect>,
    /// Tells of signals.
    pub interrupt: Interrupt,
}

/// A running client.
pub struct Session {
    pub(crate) connection: Connection,
    pub(crate) variables: Variables,
    pub(crate) terminal: Terminal,
    pub(crate) layout: Layout,
    pub(crate) severities: Severities,
    pub(crate) timing: bool,
    pub(crate) frames: Vec<Frame>,
    /// What was sent last, for `\g` and `\p`.
    pub(crate) last_statement: String,
    /// The label a `\goto` is looking for.
    pub(crate) jump: Option<String>,
    options: Options,
    dialect: Dialect,
    s3_root: Option<String>,
    interrupt: Interrupt,
    /// Did the last statement of the input being read fail?
    failed: bool,
}

impl Session {
    /// A session on an open connection. The error is a sentence about an option that cannot be.
    pub fn new(
        connection: Connection,
        target: &Target,
        options: Options,
        surroundings: Surroundings,
    ) -> Result<Self, String> {
        let mut variables = Variables::default();
        for (name, value) in [
            ("HOST", target.host.clone()),
            ("PORT", target.port.to_string()),
            ("USER", target.user.clone()),
            ("DBNAME", target.database.clone()),
        ] {
            variables.set(name, value);
        }
        let asked = options.variables.iter().map(|(name, _)| name);
        if let Some(name) =
            options.given.iter().map(|(name, _)| name).chain(asked).find(|name| !is_valid_name(name))
        {
            return Err(format!("invalid variable name: \"{name}\""));
        }
        for (name, value) in &options.given {
            variables.set_given(name, value.clone());
        }
        for (name, value) in &options.variables {
            match value {
                // The arguments of a job's SQL file are `:1`, `:2`; psql's scripts have no such names.
                Some(value) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                    variables.set_given(name, value.clone());
                }
                Some(value) => variables.set(name, value.clone()),
                None => variables.unset(name),
            }
        }
        let mut layout = Layout::default();
        for (name, value) in &options.layout {
            layout.set(name, Some(value)).map_err(|error| format!("-P {name}: {error}"))?;
        }
        let mut terminal = Terminal::default();
        if let Some(file) = &options.output {
            terminal.redirect(Some(file)).map_err(|error| format!("cannot write to {file}: {error}"))?;
        }
        let version = connection.parameter("server_version");
        let dialect = surroundings.dialect.unwrap_or_else(|| Dialect::of_server(version));
        tracing::debug!(?version, ?dialect, "connected");
        Ok(Self {
            connection,
            variables,
            terminal,
            layout,
            severities: Severities::default(),
            timing: false,
            frames: Vec::new(),
            last_statement: String::new(),
            jump: None,
            options,
            dialect,
            s3_root: surroundings.s3_root,
            interrupt: surroundings.interrupt,
            failed: false,
        })
    }

    /// Runs everything that was asked for and says how to leave.
    pub async fn run(mut self) -> ExitCode {
        let code = self.run_actions().await;
        self.terminal.flush();
        let broken = self.terminal.is_broken();
        self.connection.close().await;
        if code == ExitCode::Success && broken { ExitCode::Failure } else { code }
    }

    async fn run_actions(&mut self) -> ExitCode {
        let actions = self.options.actions.clone();
        if actions.is_empty() {
            return match self.run_source(Source::stdin()).await {
                Flow::Exit(code) => code,
                Flow::Continue | Flow::EndInput => self.end_code(),
            };
        }
        let mut last_command_failed = false;
        for action in actions {
            let source = match &action {
                Action::Command(text) => Source::command(text),
                Action::File(name) => match Source::open(name) {
                    Ok(source) => source,
                    Err(error) => {
                        self.terminal.error(&format!("rsql: error: {name}: {error}\n"));
                        return ExitCode::Failure;
                    }
                },
            };
            self.failed = false;
            if let Flow::Exit(code) = self.run_source(source).await {
                return code;
            }
            last_command_failed = self.failed && matches!(action, Action::Command(_));
        }
        if last_command_failed { ExitCode::Failure } else { self.end_code() }
    }

    /// The end of all input: psql's 0, or BTEQ's highest severity for those who ask for it.
    fn end_code(&self) -> ExitCode {
        match self.severities.highest() {
            highest if self.options.exit_with_severity && highest > 0 => ExitCode::Severity(highest),
            _ => ExitCode::Success,
        }
    }

    /// Tells how long something took, if `\timing` is on.
    pub(crate) fn print_timing(&mut self, start: Instant) {
        if self.timing {
            let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
            self.terminal.print(&format!("Time: {milliseconds:.3} ms\n"));
        }
    }

    /// The statement being read, or the last one sent.
    pub(crate) fn buffer_or_last(&self) -> String {
        let buffer = self.frames.last().filter(|frame| frame.scanner.has_statement());
        buffer.map_or_else(|| self.last_statement.clone(), |frame| frame.scanner.text().to_owned())
    }

    /// Prints a confirmation, unless `-q` asks for none.
    pub(crate) fn confirm(&mut self, text: &str) {
        if !self.is_quiet() {
            self.terminal.print(&format!("{text}\n"));
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.options.quiet || self.variables.is_on("QUIET")
    }

    fn echoes(&self, what: &str) -> bool {
        let option = match what {
            "all" => self.options.echo_all,
            "queries" => self.options.echo_queries,
            _ => self.options.echo_errors,
        };
        option || self.variables.lookup("ECHO") == Some(what)
    }

    /// Passes a meta command on; the cursor is behind its backslash.
    async fn command(&mut self, cursor: &mut Cursor) -> Result<Flow, WireError> {
        meta::run(self, cursor).await
    }
}
