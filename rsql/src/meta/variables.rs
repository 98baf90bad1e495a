//! `\set` and `\unset`.

use crate::lexer::Cursor;
use crate::session::{Flow, Session};
use crate::variables::is_valid_name;

use super::{arguments, only_argument};

/// `\set [NAME [VALUE...]]`: the values are put together without anything between; without a name
/// all variables are listed.
pub(super) fn set(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let words = arguments(session, cursor, "set");
    let Some((name, values)) = words.split_first() else {
        let all: String =
            session.variables.iter().map(|(name, value)| format!("{name} = '{value}'\n")).collect();
        session.terminal.print(&all);
        return Flow::Continue;
    };
    if !is_valid_name(&name.text) {
        session.command_error("set", &format!("invalid variable name: \"{}\"", name.text));
        return Flow::Continue;
    }
    let value: String = values.iter().map(|value| value.text.as_str()).collect();
    // Put together of what came with the job, it is no more the script's own than that was.
    if values.iter().any(|value| !value.given.is_empty()) {
        session.variables.set_given(&name.text, value);
    } else {
        session.variables.set(&name.text, value);
    }
    Flow::Continue
}

/// `\unset NAME`
pub(super) fn unset(session: &mut Session, cursor: &mut Cursor) -> Flow {
    match only_argument(session, cursor, "unset") {
        Some(name) => session.variables.unset(&name),
        None => session.command_error("unset", "missing required argument"),
    }
    Flow::Continue
}
