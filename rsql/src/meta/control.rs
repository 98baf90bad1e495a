//! Where the script goes on: `\if`, `\goto`, `\exit` and their company.

use crate::condition::{Misplaced, expression};
use crate::exit::ExitCode;
use crate::lexer::Cursor;
use crate::lexer::argument::{next_argument, skip_arguments, skip_separator};
use crate::session::{Flow, Session};

use super::only_argument;

/// `\if CONDITION`
pub(super) fn begin_if(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let text = condition_text(cursor);
    let needed = session.is_active();
    let value = needed && decide(session, "if", &text);
    let jumping = session.jump.is_some();
    if let Some(frame) = session.frames.last_mut() {
        let mark = frame.scanner.mark();
        // While a jump looks for its label no branch is taken.
        frame.branches.begin(mark, || value && !jumping);
    }
    Flow::Continue
}

/// `\elseif CONDITION`
pub(super) fn else_if(session: &mut Session, cursor: &mut Cursor, name: &str) -> Flow {
    let text = condition_text(cursor);
    session.drop_skipped_if_inactive();
    // The condition is decided only if it matters, which only the branches know; deciding needs
    // the session. So they are taken out for a moment.
    let Some(frame) = session.frames.last_mut() else { return Flow::Continue };
    let mark = frame.scanner.mark();
    let mut branches = std::mem::take(&mut frame.branches);
    let jumping = session.jump.is_some();
    let result = branches.else_if(mark, || !jumping && decide(session, name, &text));
    if let Some(frame) = session.frames.last_mut() {
        frame.branches = branches;
    }
    told(session, name, result)
}

/// `\else`
pub(super) fn otherwise(session: &mut Session) -> Flow {
    session.drop_skipped_if_inactive();
    let result = session.frames.last_mut().map_or(Ok(()), |frame| {
        let mark = frame.scanner.mark();
        frame.branches.otherwise(mark)
    });
    told(session, "else", result)
}

/// `\endif`
pub(super) fn end_if(session: &mut Session) -> Flow {
    session.drop_skipped_if_inactive();
    let result = session.frames.last_mut().map_or(Ok(()), |frame| frame.branches.end());
    told(session, "endif", result)
}

impl Session {
    /// A branch that was not run leaves nothing in the statement buffer.
    fn drop_skipped_if_inactive(&mut self) {
        if !self.is_active() {
            self.drop_skipped();
        }
    }
}

fn told(session: &mut Session, name: &str, result: Result<(), Misplaced>) -> Flow {
    if let Err(misplaced) = result {
        session.command_error(name, &misplaced.to_string());
    }
    Flow::Continue
}

fn condition_text(cursor: &mut Cursor) -> String {
    let length = expression::length(cursor.line_rest());
    let text = cursor.line_rest()[..length].to_owned();
    cursor.advance_line(length);
    skip_separator(cursor);
    text
}

/// A condition that cannot be decided is told and counts as false, as in psql.
fn decide(session: &mut Session, name: &str, text: &str) -> bool {
    match expression::evaluate(text, &session.variables) {
        Ok(value) => value,
        Err(error) => {
            session.command_error(name, &error.to_string());
            false
        }
    }
}

/// `\goto LABEL`: forward to `\label LABEL`.
pub(super) fn goto(session: &mut Session, cursor: &mut Cursor) -> Flow {
    match only_argument(session, cursor, "goto") {
        Some(label) => session.jump = Some(label),
        None => session.command_error("goto", "missing required argument"),
    }
    Flow::Continue
}

/// `\label LABEL`: ends a jump that looks for it. Names are compared without regard to case.
pub(super) fn label(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let Some(target) = session.jump.clone() else {
        skip_arguments(cursor);
        return Flow::Continue;
    };
    let mut no_shell = |_| String::new();
    let name = next_argument(cursor, &session.variables, &mut no_shell).ok().flatten();
    skip_arguments(cursor);
    let name = name.map(|argument| argument.text).unwrap_or_default();
    let name = name.trim_end_matches(';');
    let found = name.eq_ignore_ascii_case(&target);
    session.terminal.print(&format!("\\label {name} {}\n", if found { "processed" } else { "ignored" }));
    if found {
        session.jump = None;
        if let Some(frame) = session.frames.last_mut() {
            // What was jumped over is no part of the next statement.
            frame.scanner.take();
            frame.branches.land();
        }
    }
    Flow::Continue
}

/// `\exit [n]`: leave everything. Without a number it is a success.
pub(super) fn exit(session: &mut Session, cursor: &mut Cursor) -> Flow {
    match only_argument(session, cursor, "exit") {
        None => Flow::Exit(ExitCode::Script(0)),
        Some(code) => Flow::Exit(script_code(session, "exit", &code)),
    }
}

/// `\quit [n]`: leave; in an included file without a number, leave only that file.
pub(super) fn quit(session: &mut Session, cursor: &mut Cursor) -> Flow {
    match only_argument(session, cursor, "quit") {
        Some(code) => Flow::Exit(script_code(session, "quit", &code)),
        None if session.frames.len() > 1 => Flow::EndInput,
        None => Flow::Exit(ExitCode::Success),
    }
}

/// A process status is one byte; the shell would show the rest of a division by 256, so do we.
/// Text such as an SQLSTATE has no number: the script wanted to fail, so it does.
fn script_code(session: &mut Session, name: &str, text: &str) -> ExitCode {
    match text.parse::<i64>() {
        Ok(code) => ExitCode::Script(u8::try_from(code.rem_euclid(256)).unwrap_or(1)),
        Err(_) => {
            session.command_error(name, &format!("\"{text}\" is not a number, leaving with 1"));
            ExitCode::Script(1)
        }
    }
}
