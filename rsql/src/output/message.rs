//! Errors and notices as text.
//!
//! The first line of an error is what the agent and the log readers of RSQL's users look for:
//!
//! ```text
//! rsql: ERROR:  relation "x" does not exist
//! SQLSTATE: 42P01
//! LINE 1: select * from x;
//!                       ^
//! DETAIL:  ...
//! HINT:  ...
//! ```
//!
//! Statements that come from a file have `rsql:FILE:LINE:` in front, LINE being the last line of
//! the statement.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::wire::ServerMessage;

/// How much of a statement's line an error shows, in columns.
const EXCERPT_WIDTH: usize = 60;
/// How many characters behind the place are kept when the line is cut.
const MIN_BEHIND: usize = 10;

/// An error, with its place in `statement`. `prefix` is `rsql` or `rsql:FILE:LINE`.
pub fn error(prefix: &str, error: &ServerMessage, statement: &str) -> String {
    let severity = if error.severity.is_empty() { "ERROR" } else { &error.severity };
    let mut text = format!("{prefix}: {severity}:  {}\n", error.message);
    if !error.code.is_empty() {
        text += &format!("SQLSTATE: {}\n", error.code);
    }
    if let Some(position) = error.position {
        text += &excerpt(statement, position);
    } else if let (Some(query), Some(position)) = (&error.internal_query, error.internal_position) {
        text += &excerpt(query, position);
    }
    details(error, &mut text);
    if let Some(context) = &error.context {
        text += &format!("CONTEXT:  {context}\n");
    }
    text
}

/// A notice, without its context, as in psql. Only statements that come from a file have a `prefix`.
pub fn notice(prefix: Option<&str>, notice: &ServerMessage) -> String {
    let prefix = prefix.map(|prefix| format!("{prefix}: ")).unwrap_or_default();
    let mut text = format!("{prefix}{}:  {}\n", notice.severity, notice.message);
    details(notice, &mut text);
    text
}

fn details(message: &ServerMessage, text: &mut String) {
    for (label, field) in [("DETAIL", &message.detail), ("HINT", &message.hint)] {
        if let Some(field) = field {
            *text += &format!("{label}:  {field}\n");
        }
    }
}

/// The line that holds character `position` (from 1), with a caret under it.
fn excerpt(statement: &str, position: usize) -> String {
    let at = statement.char_indices().nth(position.saturating_sub(1)).map_or(statement.len(), |(at, _)| at);
    let start = statement[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let number = statement[..start].matches('\n').count() + 1;
    let line = statement[start..].lines().next().unwrap_or("").replace(['\t', '\r'], " ");
    let before = statement[start..at].replace(['\t', '\r'], " ");

    // A long line is cut behind the place, and before it where that is not enough.
    let place = before.chars().count();
    let mut shown: Vec<char> = line.chars().collect();
    let width = |shown: &[char]| shown.iter().map(|c| c.width().unwrap_or(0)).sum::<usize>();
    let (mut skip, mut cut) = (0, false);
    if width(&shown) > EXCERPT_WIDTH {
        while width(&shown) > EXCERPT_WIDTH && shown.len() > place + MIN_BEHIND {
            shown.pop();
            cut = true;
        }
        while width(&shown[skip..]) > EXCERPT_WIDTH && skip < place {
            skip += 1;
        }
    }
    let dots = if skip > 0 { "..." } else { "" };
    let shown: String = shown[skip..].iter().collect::<String>() + if cut { "..." } else { "" };
    let label = format!("LINE {number}: {dots}");
    let before: String = before.chars().skip(skip).collect();
    let caret = label.width() + before.width();
    format!("{label}{shown}\n{:caret$}^\n", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_place() {
        let mut found = ServerMessage::local("42P01", "relation \"nope\" does not exist");
        found.position = Some(18);
        let found = found.with_hint("create it");
        insta::assert_snapshot!(error("rsql:load.sql:7", &found, "select *\n  from\tnope\n where x;"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let mut found = ServerMessage::local("42703", "column \"here\" does not exist");
        let statement = format!("select {} here {}", "a, ".repeat(60), ", b".repeat(60));
        found.position = statement.find("here").map(|at| at + 1);
        let text = error("rsql", &found, &statement);
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[3].find('^').unwrap();
        assert_eq!(&lines[2][caret..caret + 4], "here", "{text}");
    }

    #[test]
    fn any_position_is_survived() {
        for position in [0, 1, 5, 6, 7, 99] {
            let mut found = ServerMessage::local("42601", "é");
            found.position = Some(position);
            error("rsql", &found, "é\nü\n漢");
        }
    }
}
