//! The SQL side of the lexer: one state that lives on from line to line.

use super::cursor::Cursor;
use super::reference::{Reference, reference_at};
use super::{Lookup, is_word};

/// Why the scanner stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A statement is complete; [`Scanner::take`] it.
    Statement,
    /// A meta command begins; the cursor is behind its backslash.
    Command,
    /// The line is used up.
    EndOfLine,
}

/// What the scanner is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Inside {
    #[default]
    Nothing,
    /// `'...'`; a backslash escapes or is itself.
    Quote { escapes: bool },
    /// `"..."`
    Identifier,
    /// `$tag$ ... $tag$`; the tag is kept beside, this is only the fact.
    Dollar,
    /// `/* ... */`, nested so deep.
    Comment { depth: usize },
}

/// A place to go back to when the branch of an `\if` turns out not to be taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    length: usize,
    parentheses: usize,
    bodies: usize,
    words: usize,
    meaningful: bool,
}

/// Collects the statement being read.
#[derive(Debug)]
pub struct Scanner {
    buffer: String,
    inside: Inside,
    dollar_tag: String,
    parentheses: usize,
    /// The first words of the statement, to see `CREATE FUNCTION`.
    first_words: Vec<String>,
    /// Open `BEGIN`s and `CASE`s of a function body written in SQL.
    bodies: usize,
    /// Something besides blanks and comments is in the buffer.
    meaningful: bool,
    /// A backslash in an ordinary literal is itself (PostgreSQL) rather than an escape (Redshift).
    standard_strings: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Scanner {
    /// An empty scanner. `standard_strings` is the server's `standard_conforming_strings`.
    pub fn new(standard_strings: bool) -> Self {
        Self {
            buffer: String::new(),
            inside: Inside::Nothing,
            dollar_tag: String::new(),
            parentheses: 0,
            first_words: Vec::new(),
            bodies: 0,
            meaningful: false,
            standard_strings,
        }
    }

    /// Takes the statement without the blank space before it; the scanner is empty afterwards.
    pub fn take(&mut self) -> String {
        let statement = std::mem::replace(self, Self::new(self.standard_strings)).buffer;
        let trimmed = statement.trim_start();
        if trimmed.len() == statement.len() { statement } else { trimmed.to_owned() }
    }

    /// Does the buffer hold anything to send?
    pub fn has_statement(&self) -> bool {
        self.meaningful
    }

    /// The text collected so far.
    pub fn text(&self) -> &str {
        &self.buffer
    }

    /// Remembers where the buffer is.
    pub fn mark(&self) -> Mark {
        Mark {
            length: self.buffer.len(),
            parentheses: self.parentheses,
            bodies: self.bodies,
            words: self.first_words.len(),
            meaningful: self.meaningful,
        }
    }

    /// Drops what came after `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        self.buffer.truncate(mark.length);
        self.parentheses = mark.parentheses;
        self.bodies = mark.bodies;
        self.first_words.truncate(mark.words);
        self.meaningful = mark.meaningful;
        self.inside = Inside::Nothing;
    }

    /// Reads on from `cursor` until something is to be done. Without `variables` none are put in.
    pub fn scan(&mut self, cursor: &mut Cursor, variables: Option<&dyn Lookup>) -> Stop {
        loop {
            if cursor.rest().is_empty() {
                return Stop::EndOfLine;
            }
            let consumed = match self.inside {
                Inside::Nothing => match self.scan_sql(cursor, variables) {
                    Ok(consumed) => consumed,
                    Err(stop) => return stop,
                },
                Inside::Quote { escapes } => self.scan_quote(cursor.rest(), escapes),
                Inside::Identifier => self.scan_until(cursor.rest(), "\""),
                Inside::Dollar => {
                    let tag = std::mem::take(&mut self.dollar_tag);
                    let consumed = self.scan_until(cursor.rest(), &tag);
                    self.dollar_tag = tag;
                    consumed
                }
                Inside::Comment { depth } => self.scan_comment(cursor.rest(), depth),
            };
            cursor.advance(consumed);
        }
    }

    fn keep(&mut self, text: &str) -> usize {
        self.buffer.push_str(text);
        text.len()
    }

    /// One token outside quotes and comments. Returns how far it went in the innermost layer.
    fn scan_sql(&mut self, cursor: &mut Cursor, variables: Option<&dyn Lookup>) -> Result<usize, Stop> {
        let on_line = cursor.on_line();
        let rest = cursor.rest();
        let Some(first) = rest.chars().next() else { return Ok(0) };
        if first.is_whitespace() {
            return Ok(self.keep(&rest[..first.len_utf8()]));
        }
        if rest.starts_with("--") {
            let end = rest.find('\n').unwrap_or(rest.len());
            return Ok(self.keep(&rest[..end]));
        }
        if rest.starts_with("/*") {
            self.inside = Inside::Comment { depth: 1 };
            return Ok(self.keep("/*"));
        }
        match first {
            '\\' if !on_line => return Ok(self.keep("\\")),
            '\\' if rest.starts_with("\\;") || rest.starts_with("\\:") => {
                let literal = rest[1..2].to_owned();
                self.meaningful = true;
                self.keep(&literal);
                return Ok(2);
            }
            '\\' => {
                cursor.advance(1);
                return Err(Stop::Command);
            }
            ';' => {
                self.keep(";");
                if self.parentheses == 0 && self.bodies == 0 {
                    cursor.advance(1);
                    return Err(Stop::Statement);
                }
                return Ok(1);
            }
            _ => self.meaningful = true,
        }
        match first {
            '\'' => {
                self.inside = Inside::Quote { escapes: !self.standard_strings };
                Ok(self.keep("'"))
            }
            '"' => {
                self.inside = Inside::Identifier;
                Ok(self.keep("\""))
            }
            '$' => {
                if let Some(tag) = dollar_tag(rest) {
                    self.inside = Inside::Dollar;
                    tag.clone_into(&mut self.dollar_tag);
                    return Ok(self.keep(tag));
                }
                Ok(self.keep("$"))
            }
            '(' => {
                self.parentheses += 1;
                Ok(self.keep("("))
            }
            ')' => {
                self.parentheses = self.parentheses.saturating_sub(1);
                Ok(self.keep(")"))
            }
            ':' => Ok(self.scan_colon(cursor, variables)),
            c if is_word(c) => Ok(self.scan_word(rest)),
            c => Ok(self.keep(&rest[..c.len_utf8()])),
        }
    }

    fn scan_colon(&mut self, cursor: &mut Cursor, variables: Option<&dyn Lookup>) -> usize {
        let rest = cursor.rest();
        if rest.starts_with("::") || rest.starts_with(":=") {
            let pair = rest[..2].to_owned();
            return self.keep(&pair);
        }
        let (Some(variables), Some((reference, length))) = (variables, reference_at(rest)) else {
            return self.keep(":");
        };
        let name = reference.name().to_owned();
        let Some(value) = reference.expand(variables.lookup(&name)) else {
            return self.keep(":");
        };
        if matches!(reference, Reference::Plain(_)) {
            if cursor.is_reading(&name) {
                return self.keep(":");
            }
            // A plain value is read like input: it may hold quotes, several tokens, even statements.
            cursor.advance(length);
            cursor.push_value(&name, &value);
            return 0;
        }
        self.keep(&value);
        length
    }

    fn scan_word(&mut self, rest: &str) -> usize {
        let length = rest.find(|c| !(is_word(c) || c == '$')).unwrap_or(rest.len());
        let word = &rest[..length];
        self.keep(word);
        if word.eq_ignore_ascii_case("e") && rest[length..].starts_with('\'') {
            self.inside = Inside::Quote { escapes: true };
            return length + self.keep("'");
        }
        if self.first_words.len() < 4 {
            self.first_words.push(word.to_ascii_lowercase());
        }
        if self.parentheses == 0 && self.creates_routine() {
            if word.eq_ignore_ascii_case("begin") || (self.bodies > 0 && word.eq_ignore_ascii_case("case")) {
                self.bodies += 1;
            } else if word.eq_ignore_ascii_case("end") {
                self.bodies = self.bodies.saturating_sub(1);
            }
        }
        length
    }

    /// `CREATE [OR REPLACE] FUNCTION|PROCEDURE`, whose body may hold semicolons.
    fn creates_routine(&self) -> bool {
        let words: Vec<&str> = self.first_words.iter().map(String::as_str).collect();
        matches!(
            words.as_slice(),
            ["create", "function" | "procedure", ..]
                | ["create", "or", "replace", "function" | "procedure", ..]
        )
    }

    fn scan_quote(&mut self, rest: &str, escapes: bool) -> usize {
        let end = rest.find(|c| c == '\'' || (escapes && c == '\\'));
        let Some(end) = end else { return self.keep(rest) };
        if rest[end..].starts_with('\'') {
            // A doubled quote closes and opens again, which comes to the same.
            if !rest[end + 1..].starts_with('\'') {
                self.inside = Inside::Nothing;
                return self.keep(&rest[..=end]);
            }
            return self.keep(&rest[..end + 2]);
        }
        let escaped = rest[end + 1..].chars().next().map_or(0, char::len_utf8);
        self.keep(&rest[..end + 1 + escaped])
    }

    fn scan_until(&mut self, rest: &str, close: &str) -> usize {
        match rest.find(close) {
            Some(start) => {
                self.inside = Inside::Nothing;
                self.keep(&rest[..start + close.len()])
            }
            None => self.keep(rest),
        }
    }

    fn scan_comment(&mut self, rest: &str, depth: usize) -> usize {
        let (open, close) = (rest.find("/*"), rest.find("*/"));
        match (open, close) {
            (Some(open), close) if close.is_none_or(|close| open < close) => {
                self.inside = Inside::Comment { depth: depth + 1 };
                self.keep(&rest[..open + 2])
            }
            (_, Some(close)) => {
                self.inside = if depth > 1 { Inside::Comment { depth: depth - 1 } } else { Inside::Nothing };
                self.keep(&rest[..close + 2])
            }
            _ => self.keep(rest),
        }
    }
}

/// `$$` or `$tag$` at the start of `text`.
pub(crate) fn dollar_tag(text: &str) -> Option<&str> {
    let after = text.strip_prefix('$')?;
    let length = after.find(|c| !is_word(c)).unwrap_or(after.len());
    let tag = &after[..length];
    let valid = after[length..].starts_with('$') && !tag.starts_with(|c: char| c.is_ascii_digit());
    valid.then(|| &text[..length + 2])
}
