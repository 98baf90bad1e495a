//! The condition of an `\if`.
//!
//! RSQL documents comparisons and AND, OR, NOT; this accepts `= == <> != < <= > >=`, the three
//! words in any case, parentheses, `'quoted text'`, numbers, truth words and variables. NOT binds
//! tighter than AND, AND tighter than OR.
//!
//! A variable is one operand, whatever its value holds. Two operands compare as numbers when both look like
//! numbers and at least one is not quoted; `true` and `false` count as 1 and 0 against a number;
//! everything else compares as text.

use std::cmp::Ordering;

use thiserror::Error;

use crate::lexer::argument::unescape;
use crate::lexer::{Lookup, Reference, is_word, reference_at};
use crate::variables::truth;

/// Why a condition cannot be decided.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConditionError {
    /// Nothing to decide.
    #[error("an expression is expected")]
    Empty,
    /// A quote without its end.
    #[error("unterminated quoted string")]
    Unterminated,
    /// A value that is neither true nor false.
    #[error("unrecognized value \"{0}\": Boolean expected")]
    NotBoolean(String),
    /// Something that does not belong there.
    #[error("unexpected \"{0}\"")]
    Unexpected(String),
    /// A `(` without its `)`.
    #[error("missing \")\"")]
    Unclosed,
    /// Deeper than anyone writes.
    #[error("parentheses and NOTs nested too deeply")]
    TooDeep,
}

/// How deep parentheses and NOTs may nest.
const MAX_DEPTH: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Operand { text: String, quoted: bool },
    Compare(Comparison),
    And,
    Or,
    Not,
    Open,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Decides `text`.
pub fn evaluate(text: &str, variables: &dyn Lookup) -> Result<bool, ConditionError> {
    let tokens = tokens(text, variables)?;
    if tokens.is_empty() {
        return Err(ConditionError::Empty);
    }
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let value = parser.or()?;
    match parser.tokens.get(parser.at) {
        None => Ok(value),
        Some(token) => Err(ConditionError::Unexpected(show(token))),
    }
}

/// Where the condition at the start of a line's rest ends: at a backslash outside quotes.
pub fn length(rest: &str) -> usize {
    let mut quote = None;
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some('\''), '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '\\') => return at,
            (None, _) => {}
        }
    }
    rest.len()
}

fn tokens(text: &str, variables: &dyn Lookup) -> Result<Vec<Token>, ConditionError> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        let (token, length) = match c {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '\'' => {
                let mut text = String::new();
                let length = unescape(rest, &mut text).ok_or(ConditionError::Unterminated)?;
                (Token::Operand { text, quoted: true }, length)
            }
            '"' => {
                let length = rest[1..].find('"').ok_or(ConditionError::Unterminated)? + 2;
                (Token::Operand { text: rest[1..length - 1].to_owned(), quoted: true }, length)
            }
            '=' | '<' | '>' | '!' => comparison(rest)?,
            ':' => variable(rest, variables),
            _ => {
                let length =
                    rest.find(|c: char| c.is_whitespace() || "()=<>!'\"".contains(c)).unwrap_or(rest.len());
                let word = &rest[..length];
                let token = match word.to_ascii_lowercase().as_str() {
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    _ => Token::Operand { text: word.to_owned(), quoted: false },
                };
                (token, length)
            }
        };
        found.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

fn comparison(rest: &str) -> Result<(Token, usize), ConditionError> {
    for (sign, comparison) in [
        ("<>", Comparison::NotEqual),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("==", Comparison::Equal),
        ("=", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ] {
        if rest.starts_with(sign) {
            return Ok((Token::Compare(comparison), sign.len()));
        }
    }
    Err(ConditionError::Unexpected(rest.chars().take(1).collect()))
}

fn variable(rest: &str, variables: &dyn Lookup) -> (Token, usize) {
    if let Some((reference, length)) = reference_at(rest) {
        let value = variables.lookup(reference.name());
        match (reference, value) {
            (Reference::Plain(_), Some(value)) => return (plain_value(value), length),
            (Reference::Literal(_) | Reference::Identifier(_), Some(value)) => {
                return (Token::Operand { text: value.to_owned(), quoted: true }, length);
            }
            (Reference::Test(_), value) => {
                let text = if value.is_some() { "TRUE" } else { "FALSE" };
                return (Token::Operand { text: text.to_owned(), quoted: false }, length);
            }
            (_, None) => {
                return (Token::Operand { text: rest[..length].to_owned(), quoted: false }, length);
            }
        }
    }
    let length = 1 + rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1);
    (Token::Operand { text: rest[..length].to_owned(), quoted: false }, length)
}

/// A value may carry its own quotes: `-v state="'done'"`.
fn plain_value(value: &str) -> Token {
    let mut text = String::new();
    if value.starts_with('\'') && unescape(value, &mut text) == Some(value.len()) {
        return Token::Operand { text, quoted: true };
    }
    Token::Operand { text: value.to_owned(), quoted: false }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn next_is(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at) == Some(token);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<bool, ConditionError> {
        let mut value = self.and()?;
        while self.next_is(&Token::Or) {
            value |= self.and()?;
        }
        Ok(value)
    }

    fn and(&mut self) -> Result<bool, ConditionError> {
        let mut value = self.not()?;
        while self.next_is(&Token::And) {
            value &= self.not()?;
        }
        Ok(value)
    }

    fn not(&mut self) -> Result<bool, ConditionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ConditionError::TooDeep);
        }
        let value = if self.next_is(&Token::Not) { !self.not()? } else { self.compare()? };
        self.depth -= 1;
        Ok(value)
    }

    fn compare(&mut self) -> Result<bool, ConditionError> {
        if self.next_is(&Token::Open) {
            let value = self.or()?;
            return if self.next_is(&Token::Close) { Ok(value) } else { Err(ConditionError::Unclosed) };
        }
        let left = self.operand()?;
        let Some(Token::Compare(comparison)) = self.tokens.get(self.at) else {
            return truth(left.0).ok_or_else(|| ConditionError::NotBoolean(left.0.to_owned()));
        };
        self.at += 1;
        let right = self.operand()?;
        Ok(comparison.holds(order(left, right)))
    }

    fn operand(&mut self) -> Result<(&'a str, bool), ConditionError> {
        let token = self.tokens.get(self.at).ok_or(ConditionError::Empty)?;
        match token {
            Token::Operand { text, quoted } => {
                self.at += 1;
                Ok((text, *quoted))
            }
            other => Err(ConditionError::Unexpected(show(other))),
        }
    }
}

fn order((left, left_quoted): (&str, bool), (right, right_quoted): (&str, bool)) -> Ordering {
    if !(left_quoted && right_quoted) {
        let numbers = (number(left, right), number(right, left));
        if let (Some(left), Some(right)) = numbers {
            return left.compare(right);
        }
    }
    left.cmp(right)
}

/// Counts go up to 2^64 - 1, which a float cannot tell apart.
#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Fraction(f64),
}

impl Number {
    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => left.cmp(&right),
            (left, right) => left.float().total_cmp(&right.float()),
        }
    }

    fn float(self) -> f64 {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "compared with a fraction, which is no more precise"
            )]
            Self::Whole(value) => value as f64,
            // Minus zero equals zero.
            Self::Fraction(value) => value + 0.0,
        }
    }
}

fn number(text: &str, other: &str) -> Option<Number> {
    let text = text.trim();
    if let Ok(value) = text.parse::<i128>() {
        return Some(Number::Whole(value));
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    match text.parse::<f64>() {
        Ok(value) if numeric && value.is_finite() => Some(Number::Fraction(value)),
        _ if other.trim().parse::<i128>().is_ok() => {
            let value = match text.to_ascii_lowercase().as_str() {
                "true" => 1,
                "false" => 0,
                _ => return None,
            };
            Some(Number::Whole(value))
        }
        _ => None,
    }
}

fn show(token: &Token) -> String {
    match token {
        Token::Operand { text, .. } => text.clone(),
        Token::Compare(_) => "comparison".into(),
        Token::And => "AND".into(),
        Token::Or => "OR".into(),
        Token::Not => "NOT".into(),
        Token::Open => "(".into(),
        Token::Close => ")".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn decide(text: &str) -> Result<bool, String> {
        let variables = HashMap::from([
            ("ERROR", "1"),
            ("ERRORCODE", "42P01"),
            ("ACTIVITYCOUNT", "18446744073709551615"),
            ("msg", "relation \"t\" does not exist"),
            ("state", "'done'"),
            ("empty", ""),
            ("flag", "true"),
        ]);
        evaluate(text, &variables).map_err(|error| error.to_string())
    }

    #[test]
    fn scripts_conditions_are_decided_as_they_are_meant() {
        for (text, expected) in [
            (":ERROR <> 0", true),
            (":ERROR = 0", false),
            (":ERROR=1", true),
            (":'ERRORCODE' = '42P01'", true),
            (":'ERRORCODE' <> '00000'", true),
            (":ERRORCODE = '42P01'", true),
            (":ACTIVITYCOUNT > 18446744073709551614", true),
            (":ACTIVITYCOUNT = 18446744073709551615", true),
            (":ERROR", true),
            ("not :ERROR", false),
            ("NOT :ERROR = 0", true),
            (":ERROR <> 0 AND (:ACTIVITYCOUNT = 0 or :'ERRORCODE' >= '4')", true),
            ("0 or 1 and 0", false),
            (":state = 'done'", true),
            (":msg = 'relation \"t\" does not exist'", true),
            (":'empty' = ''", true),
            (":empty = ''", true),
            (":flag <> 0", true),
            ("false <> 0", false),
            ("10 > 9", true),
            ("'10' > '9'", false),
            ("'10' > 9", true),
            ("1.50 = 1.5", true),
            ("-1 < 0", true),
            ("-0.0 = 0", true),
            ("00000 = 0", true),
            ("t", true),
            ("of", false),
            (":{?ERROR}", true),
            (":{?gone}", false),
            ("'it''s' = 'it\\'s'", true),
        ] {
            assert_eq!(decide(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_decided_says_why() {
        for (text, expected) in [
            ("", "an expression is expected"),
            (":gone", "unrecognized value \":gone\": Boolean expected"),
            ("'open", "unterminated quoted string"),
            ("(1 = 1", "missing \")\""),
            ("1 = 1)", "unexpected \")\""),
            ("1 =", "an expression is expected"),
            ("= 1", "unexpected \"comparison\""),
            ("1 1", "unexpected \"1\""),
        ] {
            assert_eq!(decide(text), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(decide(&"(".repeat(10_000)), Err(ConditionError::TooDeep.to_string()));
    }

    proptest! {
        #[test]
        fn no_condition_panics(text in "([()=<>!:'\" a1\\\\]|not |and |:ERROR|é){0,20}") {
            let _ = decide(&text);
            let length = length(&text);
            prop_assert!(text.is_char_boundary(length));
        }
    }
}
