//! Variable references: how they look, and how values are quoted.

use super::is_word;

/// A reference to a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `:name`, the value as it is.
    Plain(&'a str),
    /// `:'name'`, the value as an SQL literal.
    Literal(&'a str),
    /// `:"name"`, the value as a quoted identifier.
    Identifier(&'a str),
    /// `:{?name}`, whether it is set: TRUE or FALSE.
    Test(&'a str),
}

impl<'a> Reference<'a> {
    /// The variable's name.
    pub fn name(self) -> &'a str {
        match self {
            Self::Plain(name) | Self::Literal(name) | Self::Identifier(name) | Self::Test(name) => name,
        }
    }

    /// What stands in its place, given the variable's value; `None` leaves the reference as it is.
    pub fn expand(self, value: Option<&str>) -> Option<String> {
        match self {
            Self::Plain(_) => value.map(str::to_owned),
            Self::Literal(_) => value.map(quote_literal),
            Self::Identifier(_) => value.map(quote_identifier),
            Self::Test(_) => Some(if value.is_some() { "TRUE" } else { "FALSE" }.to_owned()),
        }
    }
}

/// Reads a reference at the start of `text`, which begins with a colon. Returns it with its length.
pub fn reference_at(text: &str) -> Option<(Reference<'_>, usize)> {
    let after = text.strip_prefix(':')?;
    let name_of = |open: &str, close: char| {
        let inner = after.strip_prefix(open)?;
        let length = inner.find(|c| !is_word(c)).unwrap_or(inner.len());
        let name = inner.get(..length).filter(|name| !name.is_empty())?;
        inner[length..].starts_with(close).then_some((name, 1 + open.len() + length + close.len_utf8()))
    };
    if let Some((name, length)) = name_of("'", '\'') {
        return Some((Reference::Literal(name), length));
    }
    if let Some((name, length)) = name_of("\"", '"') {
        return Some((Reference::Identifier(name), length));
    }
    if let Some((name, length)) = name_of("{?", '}') {
        return Some((Reference::Test(name), length));
    }
    let length = after.find(|c| !is_word(c)).unwrap_or(after.len());
    (length > 0).then(|| (Reference::Plain(&after[..length]), 1 + length))
}

/// `it's` becomes `'it''s'`; a backslash makes it an `E''` string, right under any server setting.
pub fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// `a"b` becomes `"a""b"`.
pub fn quote_identifier(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}
