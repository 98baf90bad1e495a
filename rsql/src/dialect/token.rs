//! The tokens of one complete statement, with their places.

use crate::lexer::is_word;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or an unquoted name.
    Word,
    /// A name in double quotes.
    Identifier,
    /// A literal in quotes or dollar quotes.
    Text,
    /// Digits.
    Number,
    /// One other character.
    Sign,
}

/// A token; blanks and comments are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) fn tokens(sql: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = sql[at..].chars().next() {
        let rest = &sql[at..];
        let (kind, length) = match first {
            c if c.is_whitespace() => (None, c.len_utf8()),
            '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (None, comment(rest)),
            '\'' => (Some(Kind::Text), quoted(rest, '\'', false)),
            'e' | 'E' if rest[1..].starts_with('\'') => {
                (Some(Kind::Text), 1 + quoted(&rest[1..], '\'', true))
            }
            '"' => (Some(Kind::Identifier), quoted(rest, '"', false)),
            '$' => match crate::lexer::dollar_tag(rest) {
                Some(tag) => {
                    let body = rest[tag.len()..].find(tag);
                    (Some(Kind::Text), body.map_or(rest.len(), |body| body + 2 * tag.len()))
                }
                None => (Some(Kind::Sign), 1),
            },
            '0'..='9' => {
                let length = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
                (Some(Kind::Number), length)
            }
            c if is_word(c) => {
                (Some(Kind::Word), rest.find(|c| !(is_word(c) || c == '$')).unwrap_or(rest.len()))
            }
            c => (Some(Kind::Sign), c.len_utf8()),
        };
        if let Some(kind) = kind {
            found.push(Token { kind, start: at, end: at + length });
        }
        at += length;
    }
    found
}

fn comment(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return at + 1;
            }
        }
    }
    text.len()
}
