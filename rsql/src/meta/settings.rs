//! `\timing`, `\pset` and its short forms, `\rset`.

use crate::lexer::Cursor;
use crate::output::Format;
use crate::session::{Flow, Session};
use crate::variables::truth;

use super::{arguments, only_argument};

/// `\timing [on|off]`
pub(super) fn timing(session: &mut Session, cursor: &mut Cursor) -> Flow {
    match only_argument(session, cursor, "timing") {
        None => session.timing = !session.timing,
        Some(value) => match truth(&value) {
            Some(on) => session.timing = on,
            None => {
                session.command_error("timing", &format!("unrecognized value \"{value}\": Boolean expected"));
                return Flow::Continue;
            }
        },
    }
    session.confirm(if session.timing { "Timing is on." } else { "Timing is off." });
    Flow::Continue
}

/// `\pset NAME [VALUE]`
pub(super) fn pset(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let words = arguments(session, cursor, "pset");
    match words.as_slice() {
        [] => session.command_error("pset", "missing required argument"),
        [name, rest @ ..] => {
            set_layout(session, "pset", &name.text, rest.first().map(|word| word.text.as_str()))
        }
    }
    Flow::Continue
}

/// `\t`, `\x`, `\f`: one setting each.
pub(super) fn switch(session: &mut Session, cursor: &mut Cursor, setting: &str) -> Flow {
    let value = only_argument(session, cursor, setting);
    set_layout(session, setting, setting, value.as_deref());
    Flow::Continue
}

/// `\a`
pub(super) fn toggle_aligned(session: &mut Session) -> Flow {
    let format = if session.layout.format == Format::Aligned { "unaligned" } else { "aligned" };
    set_layout(session, "a", "format", Some(format));
    Flow::Continue
}

fn set_layout(session: &mut Session, command: &str, name: &str, value: Option<&str>) {
    match session.layout.set(name, value) {
        Ok(Some(confirmation)) => session.confirm(&confirmation),
        Ok(None) => {}
        Err(error) => session.command_error(command, &error.to_string()),
    }
}

/// `\rset errorlevel SQLSTATE severity N` and `\rset maxerror N`. The settings that lay out
/// reports are known and told to be without effect.
pub(super) fn rset(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let words = arguments(session, cursor, "rset");
    let words: Vec<&str> =
        words.iter().map(|word| word.text.trim_end_matches(';')).filter(|word| !word.is_empty()).collect();
    let setting = words.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    match (setting.as_str(), words.get(1..).unwrap_or_default()) {
        ("errorlevel", [sqlstate, severity, level]) if severity.eq_ignore_ascii_case("severity") => {
            match level.parse::<u8>() {
                Ok(level) => {
                    session.severities.set_level(sqlstate.trim_matches('"'), level);
                    session.confirm("Errorlevel is on.");
                }
                Err(_) => session.command_error("rset", &format!("severity {level}: 0 to 255 is expected")),
            }
        }
        ("errorlevel", _) => {
            session.command_error("rset", "errorlevel takes: SQLSTATE severity NUMBER");
        }
        ("maxerror", [limit]) => match limit.parse::<u8>() {
            Ok(0) => {
                session.severities.set_limit(None);
                session.confirm("Maxerror is default.");
            }
            Ok(limit) => {
                session.severities.set_limit(Some(limit));
                session.confirm(&format!("Maxerror is {limit}."));
            }
            Err(_) => session.command_error("rset", &format!("maxerror {limit}: 0 to 255 is expected")),
        },
        ("maxerror", _) => session.command_error("rset", "maxerror takes a number"),
        ("heading" | "rtitle" | "rformat" | "titledashes" | "width", _) => {
            session.command_error("rset", &format!("{setting} has no effect in this client"));
        }
        ("", _) => session.command_error("rset", "missing required argument"),
        _ => session.command_error("rset", &format!("unknown setting \"{setting}\"")),
    }
    Flow::Continue
}
