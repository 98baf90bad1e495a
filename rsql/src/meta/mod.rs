//! Meta commands: a backslash, a name in any case, arguments.
//!
//! Here is only who does what; each group of commands has a file of its own. A command that is not known is told on
//! stderr and the script goes on, as in psql.

mod control;
mod echo;
mod files;
mod given;
mod settings;
mod variables;

use crate::lexer::Cursor;
use crate::lexer::argument::{Argument, command_name, next_argument, skip_arguments, skip_separator};
use crate::lexer::backquotes::{MustBeNumber, ShellCommand};
use crate::session::{Flow, Purpose, Session};
use crate::shell;
use crate::wire::WireError;

/// Reads and runs the command behind the backslash at which `cursor` stands.
pub(crate) async fn run(session: &mut Session, cursor: &mut Cursor) -> Result<Flow, WireError> {
    let written = command_name(cursor);
    // BTEQ people end commands with a semicolon.
    let name = written.trim_end_matches(';').to_ascii_lowercase();

    // These decide what is run, so they are looked at even where nothing is.
    match name.as_str() {
        "if" => return Ok(control::begin_if(session, cursor)),
        "elseif" | "elif" => return Ok(control::else_if(session, cursor, &name)),
        "else" => return Ok(control::otherwise(session)),
        "endif" => return Ok(control::end_if(session)),
        "label" => return Ok(control::label(session, cursor)),
        _ => {}
    }
    if !session.is_active() {
        match name.as_str() {
            "!" | "os" => drop(cursor.take_line()),
            _ => skip_arguments(cursor),
        }
        return Ok(Flow::Continue);
    }
    let flow = match name.as_str() {
        "" => Flow::Continue,
        "exit" => control::exit(session, cursor),
        "q" | "quit" => control::quit(session, cursor),
        "goto" => control::goto(session, cursor),
        "echo" => echo::echo(session, cursor, echo::Stream::Stdout),
        "qecho" => echo::echo(session, cursor, echo::Stream::Results),
        "warn" => echo::echo(session, cursor, echo::Stream::Stderr),
        "remark" => echo::remark(session, cursor),
        "set" => variables::set(session, cursor),
        "unset" => variables::unset(session, cursor),
        "gset" => {
            let prefix = arguments(session, cursor, &name).into_iter().next();
            let prefix = prefix.map(|argument| argument.text).unwrap_or_default();
            return send_buffer(session, Purpose::Set(prefix)).await;
        }
        "g" => {
            skip_arguments(cursor);
            return send_buffer(session, Purpose::Print).await;
        }
        "p" | "print" => {
            let text = session.buffer_or_last();
            session.terminal.print(&format!("{}\n", text.trim_end()));
            Flow::Continue
        }
        "r" | "reset" => {
            if let Some(frame) = session.frames.last_mut() {
                frame.scanner.take();
            }
            session.confirm("Query buffer reset (cleared).");
            Flow::Continue
        }
        "i" | "include" => files::include(session, cursor, &name),
        "ir" | "include_relative" => files::include_relative(session, cursor, &name),
        "run" => files::run(session, cursor),
        "os" | "!" => files::shell(session, cursor),
        "o" | "out" => files::output(session, cursor),
        "timing" => settings::timing(session, cursor),
        "pset" => settings::pset(session, cursor),
        "a" => settings::toggle_aligned(session),
        "t" => settings::switch(session, cursor, "tuples_only"),
        "x" => settings::switch(session, cursor, "expanded"),
        "f" => settings::switch(session, cursor, "fieldsep"),
        "rset" => settings::rset(session, cursor),
        _ => {
            skip_arguments(cursor);
            let prefix = session.prefix();
            session.terminal.error(&format!("{prefix}: error: invalid command \\{written}\n"));
            return Ok(Flow::Continue);
        }
    };
    skip_separator(cursor);
    Ok(flow)
}

/// `\g` and `\gset`: the buffer, or the last statement if it is empty, is sent without a semicolon.
async fn send_buffer(session: &mut Session, purpose: Purpose) -> Result<Flow, WireError> {
    let Some(frame) = session.frames.last_mut() else { return Ok(Flow::Continue) };
    let statement =
        if frame.scanner.has_statement() { frame.scanner.take() } else { session.last_statement.clone() };
    if statement.is_empty() {
        return Ok(Flow::Continue);
    }
    session.execute(&statement, purpose).await
}

/// Reads all arguments of a command. What is wrong with them is told; what was read counts.
fn arguments(session: &mut Session, cursor: &mut Cursor, command: &str) -> Vec<Argument> {
    let mut found = Vec::new();
    loop {
        let mut failure = None;
        let terminal = &mut session.terminal;
        let mut capture = |command: Result<ShellCommand, MustBeNumber>| {
            terminal.flush();
            let captured = match command {
                Ok(command) => {
                    shell::capture(&command).map_err(|error| format!("`{}`: {error}", command.text))
                }
                Err(wrong) => Err(wrong.to_string()),
            };
            captured.unwrap_or_else(|error| {
                failure = Some(error);
                String::new()
            })
        };
        let next = next_argument(cursor, &session.variables, &mut capture);
        if let Some(failure) = failure {
            session.command_error(command, &failure);
        }
        match next {
            Ok(Some(argument)) => found.push(argument),
            Ok(None) => return found,
            Err(error) => {
                session.command_error(command, &error.to_string());
                return found;
            }
        }
    }
}

/// Reads the one argument of a command, without the semicolon that BTEQ people put behind it;
/// more of them are told and ignored.
fn only_argument(session: &mut Session, cursor: &mut Cursor, command: &str) -> Option<String> {
    file_argument(session, cursor, command).map(|argument| argument.text)
}

/// The same with what is known of its parts, for commands that open the file of that name.
fn file_argument(session: &mut Session, cursor: &mut Cursor, command: &str) -> Option<Argument> {
    let mut all = arguments(session, cursor, command).into_iter();
    let first = all.next();
    for extra in all {
        if extra.text != ";" {
            session.command_error(command, &format!("extra argument \"{}\" ignored", extra.text));
        }
    }
    let mut first = first?;
    first.text.truncate(first.text.trim_end_matches(';').len());
    (!first.text.is_empty()).then_some(first)
}

/// Takes the rest of the line as one text: `\!` and `\os` have arguments of their own kind.
fn whole_line(cursor: &mut Cursor) -> String {
    cursor.take_line().trim().to_owned()
}
