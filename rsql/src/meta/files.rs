//! Files and the operating system: `\i`, `\run`, `\o`, `\!`.

use std::path::Path;

use crate::exit::ExitCode;
use crate::lexer::Cursor;
use crate::lexer::argument::Argument;
use crate::session::{Flow, MAX_DEPTH, Session};
use crate::source::{Source, SourceKind};

use super::{arguments, file_argument, given, whole_line};

/// `\i FILE`
pub(super) fn include(session: &mut Session, cursor: &mut Cursor, command: &str) -> Flow {
    match file_argument(session, cursor, command) {
        Some(argument) => open(session, command, &argument, &argument.text, 0),
        None => missing(session, command),
    }
}

/// `\ir FILE`: relative to the file that says so.
pub(super) fn include_relative(session: &mut Session, cursor: &mut Cursor, command: &str) -> Flow {
    let Some(argument) = file_argument(session, cursor, command) else { return missing(session, command) };
    let here = session.frames.last().map(|frame| frame.source.kind().clone());
    let path = match here {
        Some(SourceKind::File(file)) => {
            let directory = Path::new(&file).parent().map(Path::to_path_buf).unwrap_or_default();
            directory.join(&argument.text).display().to_string()
        }
        _ => argument.text.clone(),
    };
    open(session, command, &argument, &path, 0)
}

/// `\run file=FILE [skip=LINES]`; a bare `\run FILE` is taken too.
pub(super) fn run(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let mut file = None;
    let mut skip = 0;
    for word in arguments(session, cursor, "run") {
        let text = word.text.trim_end_matches([';', ',']);
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("file=") {
            file = Some((text["file=".len()..].trim_matches('"').to_owned(), word));
        } else if let Some(count) = lower.strip_prefix("skip=") {
            match count.parse() {
                Ok(count) => skip = count,
                Err(_) => session.command_error("run", &format!("skip={count}: a number is expected")),
            }
        } else if !text.is_empty() {
            file = Some((text.trim_matches('"').to_owned(), word));
        }
    }
    match file {
        Some((name, word)) => open(session, "run", &word, &name, skip),
        None => missing(session, "run"),
    }
}

/// An included file that cannot be read is told and the script goes on, unless ON_ERROR_STOP is on.
fn open(session: &mut Session, command: &str, argument: &Argument, name: &str, skip: u64) -> Flow {
    if session.frames.len() >= MAX_DEPTH {
        session.command_error(command, &format!("{name}: files include each other too deeply"));
        return Flow::Continue;
    }
    let opened = match given::include_problem(argument, Path::new(name)) {
        Some(problem) => Err(problem),
        None => Source::open(name).map_err(|error| error.to_string()),
    };
    match opened {
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
    let file = file_argument(session, cursor, "o");
    let redirected = match &file {
        Some(file) => given::output_problem(file)
            .map_or(Ok(()), Err)
            .and_then(|()| session.terminal.redirect(Some(&file.text)).map_err(|error| error.to_string())),
        None => session.terminal.redirect(None).map_err(|error| error.to_string()),
    };
    if let Err(problem) = redirected {
        let file = file.map(|file| file.text).unwrap_or_default();
        session.command_error("o", &format!("{file}: {problem}"));
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
