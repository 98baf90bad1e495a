//! A line that a script printed, on a terminal.
//!
//! A script prints what it reads, and a terminal obeys it: it renames its window, moves its cursor over what stands
//! there, reports back as if typed. So control characters are written out. Plain colours and bold are left, because a
//! log with them reads better and they can do no more than that: no hidden text, no background in the text's colour.
//! They end with their line.

use rsqlflow_config::visible::{misleads, push_escape};

/// Longest list of numbers of a sequence that is left.
const SEQUENCE_MAX: usize = 16;

/// The line without anything that a terminal would obey, but for colours where those are wanted.
pub(crate) fn on_terminal(message: &str, colours: bool) -> String {
    let lines = message.split('\n').map(|line| one(line.strip_suffix('\r').unwrap_or(line), colours));
    lines.collect::<Vec<_>>().join("\n")
}

fn one(line: &str, colours: bool) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut coloured = false;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = colour(rest).filter(|_| colours) {
            shown.push_str(&rest[..length]);
            coloured = true;
            rest = &rest[length..];
            continue;
        }
        if misleads(c) {
            push_escape(&mut shown, c);
        } else {
            shown.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    if coloured {
        shown.push_str("\u{1b}[0m");
    }
    shown
}

/// The length of a sequence at the start of `text` that only colours text or makes it bold (ECMA-48, 8.3.117).
fn colour(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix("\u{1b}[")?;
    let length =
        numbers.find(|c: char| !(c.is_ascii_digit() || c == ';')).filter(|length| *length <= SEQUENCE_MAX)?;
    let plain = |number: &str| {
        matches!(number.parse(), Ok(0u16 | 1 | 3 | 4 | 22..=24 | 31..=37 | 39 | 91..=97)) || number.is_empty()
    };
    (numbers[length..].starts_with('m') && numbers[..length].split(';').all(plain)).then_some(length + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_and_end_with_their_line() {
        assert_eq!(
            on_terminal("a \u{1b}[1;32mok\u{1b}[m b\tc", true),
            "a \u{1b}[1;32mok\u{1b}[m b\tc\u{1b}[0m"
        );
        assert_eq!(on_terminal("\u{1b}[31mx\ny\r", true), "\u{1b}[31mx\u{1b}[0m\ny");
        assert_eq!(on_terminal("\u{1b}[31mx", false), "\\x1b[31mx");
        assert_eq!(on_terminal("plain größe 🚀", true), "plain größe 🚀");
    }

    #[test]
    fn nothing_else_is_obeyed() {
        for evil in [
            "\u{1b}]0;title\u{7}",
            "\u{1b}[2J",
            "\u{1b}[8mhidden",
            "\u{1b}[30;40mhidden",
            "\u{1b}[7m",
            "\u{1b}[1A",
            "\u{1b}[6n",
            "\u{1b}P+q\u{1b}\\",
            "\u{9b}31m",
            "10%\r100%",
            "\u{1b}[31",
            "\u{1b}[?25l",
            "\u{1b}c",
            "\u{202e}x",
            "\u{1b}[1;1;1;1;1;1;1;1;1;1;1;1m",
            "\u{1b}[38;5;0m",
        ] {
            let shown = on_terminal(evil, true);
            assert!(!shown.contains(misleads), "{shown:?}");
        }
        assert_eq!(on_terminal("10%\r100%\u{7}", true), "10%\\r100%\\x07");
    }
}
