//! Arguments of meta commands.
//!
//! Blanks separate them; `'...'` takes C-style escapes, `"..."` keeps its quotes, `` `...` `` is run
//! by the shell and gives its output ([`super::backquotes`]), variables are put in outside `'...'` and `"..."`. A
//! backslash outside quotes ends the arguments: it begins the next command, and `\\` goes back to SQL.

use super::Lookup;
use super::backquotes::{MustBeNumber, ShellCommand, shell_command};
use super::cursor::Cursor;
use super::reference::{Reference, reference_at};

/// An argument, and where its parts are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The text after all expansion.
    pub text: String,
    /// Part of it was quoted.
    pub quoted: bool,
    /// Values in it that came with the job ([`Lookup::is_given`]), and what commands made of such values.
    pub given: Vec<String>,
}

/// An argument whose quote is never closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unterminated quoted string")]
pub struct Unterminated;

/// Runs what stands in backquotes and returns what it prints.
pub type Shell<'a> = &'a mut dyn FnMut(Result<ShellCommand, MustBeNumber>) -> String;

/// Reads the name of a meta command: everything up to a blank or a backslash.
pub fn command_name(cursor: &mut Cursor) -> String {
    let rest = cursor.line_rest();
    // `\!ls` and `\!` may be followed by anything at once.
    let length = if rest.starts_with('!') || rest.starts_with('?') {
        1
    } else {
        rest.find(|c: char| c.is_whitespace() || c == '\\').unwrap_or(rest.len())
    };
    let name = rest[..length].to_owned();
    cursor.advance_line(length);
    name
}

/// Skips the `\\` that ends a command's arguments, if it stands here.
pub fn skip_separator(cursor: &mut Cursor) {
    if cursor.line_rest().starts_with("\\\\") {
        cursor.advance_line(2);
    }
}

/// The next argument, `None` at the end of them.
pub fn next_argument(
    cursor: &mut Cursor,
    variables: &dyn Lookup,
    shell: Shell<'_>,
) -> Result<Option<Argument>, Unterminated> {
    let blanks = cursor.line_rest().len() - cursor.line_rest().trim_start().len();
    cursor.advance_line(blanks);
    let rest = cursor.line_rest().to_owned();
    let mut at = 0;
    let mut argument = Argument { text: String::new(), quoted: false, given: Vec::new() };
    while let Some(c) = rest[at..].chars().next() {
        match c {
            '\\' => break,
            c if c.is_whitespace() => break,
            '\'' => {
                argument.quoted = true;
                at += unescape(&rest[at..], &mut argument.text).ok_or_else(|| give_up(cursor))?;
            }
            '"' => {
                argument.quoted = true;
                let length = rest[at + 1..].find('"').ok_or_else(|| give_up(cursor))? + 2;
                argument.text.push_str(&rest[at..at + length]);
                at += length;
            }
            '`' => {
                argument.quoted = true;
                let length = rest[at + 1..].find('`').ok_or_else(|| give_up(cursor))?;
                let command = shell_command(&rest[at + 1..=at + length], variables);
                let given = command.as_ref().is_ok_and(|command| command.given);
                let printed = shell(command);
                argument.text.push_str(&printed);
                if given {
                    argument.given.push(printed);
                }
                at += length + 2;
            }
            ':' => {
                let name = reference_at(&rest[at..]).map(|(reference, _)| reference.name());
                if let Some(value) =
                    name.filter(|name| variables.is_given(name)).and_then(|name| variables.lookup(name))
                {
                    argument.given.push(value.to_owned());
                }
                at += expand(&rest[at..], variables, &mut argument.text);
            }
            c => {
                argument.text.push(c);
                at += c.len_utf8();
            }
        }
    }
    cursor.advance_line(at);
    Ok((at > 0).then_some(argument))
}

/// Passes over the arguments without running or expanding anything.
pub fn skip_arguments(cursor: &mut Cursor) {
    let rest = cursor.line_rest();
    let mut quote = None;
    let mut escaped = false;
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        match (quote, c) {
            (Some('\''), '\\') if !escaped => escaped = true,
            (Some(open), c) => {
                if c == open && !escaped {
                    quote = None;
                }
                escaped = false;
            }
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '\\') => {
                end = at;
                break;
            }
            (None, _) => {}
        }
    }
    cursor.advance_line(end);
    skip_separator(cursor);
}

fn give_up(cursor: &mut Cursor) -> Unterminated {
    cursor.take_line();
    Unterminated
}

/// Puts a variable's value in; returns how much of `text` was used.
pub(crate) fn expand(text: &str, variables: &dyn Lookup, out: &mut String) -> usize {
    if let Some((reference, length)) = reference_at(text)
        && let Some(value) = reference.expand(variables.lookup(reference.name()))
    {
        // The blank before `E'...'` keeps SQL tokens apart and has no business here.
        let literal = matches!(reference, Reference::Literal(_));
        out.push_str(if literal { value.trim_start() } else { &value });
        return length;
    }
    out.push(':');
    1
}

/// Reads a single-quoted string at the start of `text` with its escapes; returns its length.
pub(crate) fn unescape(text: &str, out: &mut String) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
                out.push('\'');
            }
            '\'' => return Some(at + 1),
            '\\' => {
                let (_, escape) = chars.next()?;
                match escape {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'b' => out.push('\u{8}'),
                    'r' => out.push('\r'),
                    'f' => out.push('\u{c}'),
                    '0'..='7' => {
                        let mut value = escape.to_digit(8).unwrap_or(0);
                        for _ in 0..2 {
                            let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(8)) else { break };
                            value = value * 8 + digit;
                            chars.next();
                        }
                        out.push(char::from_u32(value & 0xff).unwrap_or('?'));
                    }
                    'x' if chars.peek().is_some_and(|(_, c)| c.is_ascii_hexdigit()) => {
                        let mut value = 0;
                        for _ in 0..2 {
                            let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(16)) else { break };
                            value = value * 16 + digit;
                            chars.next();
                        }
                        out.push(char::from_u32(value).unwrap_or('?'));
                    }
                    other => out.push(other),
                }
            }
            c => out.push(c),
        }
    }
    None
}
