//! Cutting a script into statements and meta commands.
//!
//! [`Scanner`] reads SQL as psql does: it knows quotes, dollar quotes, nested comments and
//! parentheses well enough to see where a statement ends and where a backslash starts a command,
//! and no more. On the way it puts variable values in (`:name`, `:'name'`, `:"name"`). Meta command
//! arguments have their own rules, see [`argument`].
//!
//! Promise: without variables nothing of the input is lost or changed, except the backslash of
//! `\;` and `\:`; and no input makes it panic.

pub mod argument;
pub mod backquotes;
mod cursor;
mod reference;
mod scanner;

pub use cursor::Cursor;
pub use reference::{Reference, quote_identifier, quote_literal, reference_at};
pub(crate) use scanner::dollar_tag;
pub use scanner::{Mark, Scanner, Stop};

#[cfg(test)]
mod tests;

/// Where variable values come from.
pub trait Lookup {
    /// The value of a variable, if it is set.
    fn lookup(&self, name: &str) -> Option<&str>;

    /// Whether its value came with the job: from people who may choose values, and neither commands nor files.
    fn is_given(&self, _name: &str) -> bool {
        false
    }
}

/// A character that may be part of an unquoted name or keyword.
pub(crate) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}
