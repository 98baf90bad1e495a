//! A statement, its tokens, and the changes made to it so far.
//!
//! Changes are collected as pieces to cut and text to put in their place and are carried out at the end, so
//! that rules can look at the statement as it was written. What is cut leaves its line ends
//! behind: an error's line number stays true.

use super::token::{Kind, Token, tokens};

/// A statement being translated.
pub(super) struct Rewrite<'a> {
    sql: &'a str,
    tokens: Vec<Token>,
    changes: Vec<Change>,
}

struct Change {
    start: usize,
    end: usize,
    text: String,
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(sql: &'a str) -> Self {
        Self { sql, tokens: tokens(sql), changes: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn kind(&self, index: usize) -> Option<Kind> {
        self.tokens.get(index).map(|token| token.kind)
    }

    /// The token as it is written; nothing behind the last one.
    pub(super) fn text(&self, index: usize) -> &'a str {
        self.tokens.get(index).map_or("", |token| &self.sql[token.start..token.end])
    }

    /// The text from one token up to and without another.
    pub(super) fn between(&self, from: usize, to: usize) -> &'a str {
        match (self.tokens.get(from), to.checked_sub(1).and_then(|last| self.tokens.get(last))) {
            (Some(first), Some(last)) if from < to => &self.sql[first.start..last.end],
            _ => "",
        }
    }

    /// An unquoted word in lower case; nothing for any other token.
    pub(super) fn keyword(&self, index: usize) -> String {
        if self.kind(index) == Some(Kind::Word) {
            self.text(index).to_ascii_lowercase()
        } else {
            String::new()
        }
    }

    pub(super) fn is(&self, index: usize, word: &str) -> bool {
        if self.kind(index) == Some(Kind::Word) {
            self.text(index).eq_ignore_ascii_case(word)
        } else {
            self.kind(index) == Some(Kind::Sign) && self.text(index) == word
        }
    }

    /// Do these words stand here?
    pub(super) fn are(&self, index: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, word)| self.is(index + offset, word))
    }

    /// Of the parenthesis at `open`, the index of the one that closes it.
    pub(super) fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        for index in open..self.len() {
            if self.is(index, "(") {
                depth += 1;
            } else if self.is(index, ")") {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index);
                }
            }
        }
        None
    }

    /// The index behind a possibly qualified name at `index`.
    pub(super) fn after_name(&self, index: usize) -> usize {
        let mut at = index + 1;
        while self.is(at, ".") {
            at += 2;
        }
        at
    }

    /// Cuts the tokens from `from` up to and without `to`.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        let newlines = self.between(from, to).matches('\n').count();
        self.replace(from, to, "\n".repeat(newlines));
    }

    /// Puts `text` in place of the tokens from `from` up to and without `to`.
    pub(super) fn replace(&mut self, from: usize, to: usize, text: impl Into<String>) {
        if let (Some(first), Some(last)) =
            (self.tokens.get(from), to.checked_sub(1).and_then(|last| self.tokens.get(last)))
        {
            let (start, end) = (first.start, last.end);
            self.changes.push(Change { start, end, text: text.into() });
        }
    }

    /// Puts `text` in front of a token.
    pub(super) fn insert_before(&mut self, index: usize, text: impl Into<String>) {
        let start = self.tokens.get(index).map_or(self.sql.len(), |token| token.start);
        self.changes.push(Change { start, end: start, text: text.into() });
    }

    /// The translated statement, `None` if nothing changed. Where changes overlap the outer one
    /// wins: it was made with the whole in view.
    pub(super) fn finish(mut self) -> Option<String> {
        if self.changes.is_empty() {
            return None;
        }
        self.changes.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
        let mut out = String::with_capacity(self.sql.len());
        let mut at = 0;
        for change in &self.changes {
            if change.start < at {
                continue;
            }
            out.push_str(&self.sql[at..change.start]);
            out.push_str(&change.text);
            at = change.end;
        }
        out.push_str(&self.sql[at..]);
        Some(out)
    }
}
