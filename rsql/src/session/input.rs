//! What is read, and what comes next: the stack of inputs, statements, commands, jumps.

use crate::condition::Branches;
use crate::exit::ExitCode;
use crate::lexer::{Cursor, Lookup, Scanner, Stop};
use crate::source::{Source, SourceKind};
use crate::wire::WireError;

use super::execute::Purpose;
use super::{Flow, Session};

/// How deep `\i` may nest; a file that includes itself ends here.
pub(crate) const MAX_DEPTH: usize = 200;

/// An input being read, with everything that ends when it does.
pub(crate) struct Frame {
    pub(crate) source: Source,
    pub(crate) scanner: Scanner,
    pub(crate) branches: Branches,
    /// The rest of the line that included another file.
    pending: Option<Cursor>,
}

impl Session {
    /// Runs one input, and what it includes, to its end.
    pub(super) async fn run_source(&mut self, source: Source) -> Flow {
        self.push_source(source);
        let flow = match self.run_frames().await {
            Ok(flow) => flow,
            Err(error) => self.connection_lost(&error),
        };
        self.frames.clear();
        if flow == Flow::Continue
            && let Some(label) = self.jump.take()
        {
            self.terminal.error(&format!("rsql: \\goto: label {label} was not found\n"));
            return Flow::Exit(ExitCode::Stopped);
        }
        flow
    }

    /// Reads `source` next, then goes on where the current one is.
    pub(crate) fn push_source(&mut self, source: Source) {
        // A server that does not tell is an old one, such as Redshift, where a backslash escapes.
        let standard_strings = self.connection.parameter("standard_conforming_strings") == Some("on");
        self.frames.push(Frame {
            source,
            scanner: Scanner::new(standard_strings),
            branches: Branches::default(),
            pending: None,
        });
    }

    async fn run_frames(&mut self) -> Result<Flow, WireError> {
        while let Some(frame) = self.frames.last_mut() {
            if let Some(code) = self.interrupt.code() {
                return Ok(Flow::Exit(code));
            }
            let cursor = match frame.pending.take() {
                Some(cursor) => Some(cursor),
                None => match frame.source.read_line() {
                    Ok(line) => line.map(|line| {
                        if self.echoes("all") {
                            self.terminal.print(&line);
                        }
                        Cursor::new(line)
                    }),
                    Err(error) => {
                        let prefix = self.prefix();
                        self.terminal.error(&format!("{prefix}: error: cannot read the input: {error}\n"));
                        return Ok(Flow::Exit(ExitCode::Failure));
                    }
                },
            };
            let flow = match cursor {
                Some(cursor) => self.run_line(cursor).await?,
                None => self.end_of_input().await?,
            };
            match flow {
                Flow::Continue => {}
                Flow::EndInput => drop(self.frames.pop()),
                Flow::Exit(code) => return Ok(Flow::Exit(code)),
            }
        }
        Ok(Flow::Continue)
    }

    async fn run_line(&mut self, mut cursor: Cursor) -> Result<Flow, WireError> {
        loop {
            let active = self.is_active();
            let depth = self.frames.len();
            let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Continue) };
            let variables: Option<&dyn Lookup> = if active { Some(&self.variables) } else { None };
            let flow = match frame.scanner.scan(&mut cursor, variables) {
                Stop::EndOfLine => return Ok(Flow::Continue),
                Stop::Statement if active => {
                    if frame.scanner.has_statement() {
                        let statement = frame.scanner.take();
                        self.execute(&statement, Purpose::Print).await?
                    } else {
                        frame.scanner.take();
                        Flow::Continue
                    }
                }
                Stop::Statement => {
                    self.drop_skipped();
                    Flow::Continue
                }
                Stop::Command => self.command(&mut cursor).await?,
            };
            if flow != Flow::Continue {
                return Ok(flow);
            }
            if self.frames.len() > depth {
                // The command included a file; the rest of this line waits for its end.
                if let Some(frame) = self.frames.get_mut(depth - 1) {
                    frame.pending = Some(cursor);
                }
                return Ok(Flow::Continue);
            }
        }
    }

    /// The last statement needs no semicolon; open conditionals are told.
    async fn end_of_input(&mut self) -> Result<Flow, WireError> {
        let active = self.is_active();
        let Some(frame) = self.frames.last_mut() else { return Ok(Flow::EndInput) };
        let statement = (active && frame.scanner.has_statement()).then(|| frame.scanner.take());
        let unclosed = !frame.branches.is_empty() && self.jump.is_none();
        let mut flow = Flow::Continue;
        if let Some(statement) = statement {
            flow = self.execute(&statement, Purpose::Print).await?;
        }
        if unclosed {
            let prefix = self.prefix();
            self.terminal.error(&format!("{prefix}: reached EOF without finding closing \\endif(s)\n"));
        }
        Ok(if flow == Flow::Continue { Flow::EndInput } else { flow })
    }

    /// Is the script being run here, neither in a branch not taken nor jumped over?
    pub(crate) fn is_active(&self) -> bool {
        self.jump.is_none() && self.frames.last().is_none_or(|frame| frame.branches.active())
    }

    /// Forgets what was read where nothing is run.
    pub(crate) fn drop_skipped(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            let mark = frame.branches.mark();
            frame.scanner.rewind(mark);
        }
    }

    /// Is the input being read a `-c`?
    pub(super) fn in_command(&self) -> bool {
        self.frames.first().is_some_and(|frame| *frame.source.kind() == SourceKind::Command)
    }

    /// The line being read and, if it is a file, its name.
    pub(super) fn place(&self) -> Option<(&str, u64)> {
        let source = &self.frames.last()?.source;
        match source.kind() {
            SourceKind::File(name) => Some((name, source.line())),
            SourceKind::Stdin | SourceKind::Command => None,
        }
    }
}
