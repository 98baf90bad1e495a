//! `\echo` and `\remark`.

use crate::lexer::Cursor;
use crate::session::{Flow, Session};

use super::arguments;

/// Where an echo goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// `\echo`
    Stdout,
    /// `\qecho`: where query results go.
    Results,
    /// `\warn`
    Stderr,
}

/// `\echo [-n] TEXT...`
pub(super) fn echo(session: &mut Session, cursor: &mut Cursor, stream: Stream) -> Flow {
    let mut words = arguments(session, cursor, "echo");
    let mut end = "\n";
    if words.first().is_some_and(|word| word.text == "-n" && !word.quoted) {
        words.remove(0);
        end = "";
    }
    let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let text = words.join(" ") + end;
    match stream {
        Stream::Stdout => session.terminal.print(&text),
        Stream::Results => session.terminal.result(|out| out.write_all(text.as_bytes())),
        Stream::Stderr => session.terminal.error(&text),
    }
    Flow::Continue
}

/// `\remark TEXT...`: as `\echo`, with `//` for a new line and without double quotes.
///
/// The `//` of an address (`s3://bucket`) is left alone: nobody wants it to be a new line.
pub(super) fn remark(session: &mut Session, cursor: &mut Cursor) -> Flow {
    let words = arguments(session, cursor, "remark");
    let words: Vec<String> = words
        .iter()
        .filter(|word| word.text != ";")
        .map(|word| match word.text.strip_suffix(';') {
            Some(text) if text.ends_with('"') => text.replace('"', ""),
            _ if word.quoted && word.text.starts_with('"') => word.text.replace('"', ""),
            _ => word.text.clone(),
        })
        .collect();
    let text = break_lines(&words.join(" "));
    session.terminal.print(&format!("{text}\n"));
    Flow::Continue
}

fn break_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("//") {
        out.push_str(&rest[..at]);
        let address = out.ends_with(':') && rest[at + 2..].starts_with(|c: char| !c.is_whitespace());
        out.push_str(if address { "//" } else { "\n" });
        rest = &rest[at + 2..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::break_lines;

    #[test]
    fn two_slashes_break_a_line_but_not_an_address() {
        assert_eq!(break_lines("a//b// c"), "a\nb\n c");
        assert_eq!(break_lines("from s3://b/p// done"), "from s3://b/p\n done");
        assert_eq!(break_lines("step:// next"), "step:\n next");
    }
}
