//! Files and the operating system: `\i`, `\run`, `\o`, `\!`.

use std::path::Path;

use crate::exit::ExitCode;
use crate::lexer::Cursor;
use crate::session::{Flow, MAX_DEPTH, Session};
use crate::source::{Source, SourceKind};

use super::{arguments, only_argument, whole_line};

/// `\i FILE`
pub(super) fn include(session: &mut Session, cursor: &mut Cursor, command: &str) -> Flow {
    match only_argument(session, cursor, command) {
        Some(name) => open(session, command, &name, 0),
        None => missing(session, command),
    }
}

/// `\ir FILE`: relative to the file that says so.
pub(super) fn include_relative(session: &mut Session, cursor: &mut Cursor, command: &str) -> Flow {
    let Some(name) = only_argument(session, cursor, command) else { return missing(session, command) };
    let here = session.frames.last().map(|frame| frame.source.kind().clone());
    let path = match here {
        Some(SourceKind::File(file)) => {
            let directory = Path::new(&file).parent().map(Path::to_path_buf).unwrap_or_default();
            directory.join(&name).display().to_string()
        }
        _ => name,
    };
    open(session, command, &path, 0)
}

/// `\run file=FILE [skip=LINES]`; a bare `\run FILE` is taken too.
pub(super) fn run(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let mut file = None;
    let mut skip = 0;
    for word in arguments(session, cursor, "run") {
        let text = word.text.trim_end_matches([';', ',']);
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("file=") {
            file = Some(text["file=".len()..].trim_matches('"').to_owned());
        } else if let Some(count) = lower.strip_prefix("skip=") {
            match count.parse() {
                Ok(count) => skip = count,
                Err(_) => session.command_error("run", &format!("skip={count}: a number is expected")),
            }
        } else if !text.is_empty() {
            file = Some(text.trim_matches('"').to_owned());
        }
    }
    match file {
        Some(name) => open(session, "run", &name, skip),
        None => missing(session, "run"),
    }
}

/// An included file that cannot be read is told and the script goes on, unless ON_ERROR_STOP is on.
fn open(session: &mut Session, command: &str, name: &str, skip: u64) -> Flow {
    if session.frames.len() >= MAX_DEPTH {
        session.command_error(command, &format!("{name}: files include each other too deeply"));
        return Flow::Continue;
    }
    match Source::open(name) {
        Ok(mut source) => {
            let mut skipped = 0;
            while skipped < skip && matches!(source.read_line(), Ok(Some(_))) {
                skipped += 1;
            }
            if skip > 0 {
                session.terminal.print(&format!("{skipped} records skipped in RUN file.\n"));
            }
            session.push_source(source);
            Flow::Continue
        }
        Err(error) => {
            session.command_error(command, &format!("{name}: {error}"));
            let stop = session.variables.is_on("ON_ERROR_STOP");
            if stop { Flow::Exit(ExitCode::Stopped) } else { Flow::Continue }
        }
    }
}

/// `\o [FILE]`
pub(super) fn output(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let file = only_argument(session, cursor, "o");
    if let Err(error) = session.terminal.redirect(file.as_deref()) {
        let file = file.unwrap_or_default();
        session.command_error("o", &format!("{file}: {error}"));
    }
    Flow::Continue
}

/// `\! COMMAND` and `\os COMMAND`: the rest of the line goes to the shell as it is.
pub(super) fn shell(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let command = whole_line(cursor);
    session.terminal.flush();
    if let Err(error) = crate::shell::run(&command) {
        session.command_error("!", &error.to_string());
    }
    Flow::Continue
}

fn missing(session: &mut Session, command: &str) -> Flow {
    session.command_error(command, "missing required argument");
    Flow::Continue
}
