//! `\if`, `\elseif`, `\else`, `\endif`: which part of a script is run.
//!
//! [`expression`] decides a single condition, [`Branches`] remembers where in nested conditionals
//! the script is.

pub mod expression;

use thiserror::Error;

use crate::lexer::Mark;

/// Where one `\if` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a branch that is run.
    Taken,
    /// In a branch that is not run, none was yet.
    Waiting,
    /// In a branch that is not run, because another was or because the outer one is not run.
    Done,
}

#[derive(Debug)]
struct Branch {
    state: State,
    seen_else: bool,
    /// The statement buffer at the start of the branch.
    mark: Mark,
}

/// A conditional command out of place. The text completes the command's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Misplaced {
    /// No `\if` is open.
    #[error("no matching \\if")]
    NoIf,
    /// `\else` was already there.
    #[error("cannot occur after \\else")]
    AfterElse,
}

/// The open conditionals, outermost first.
#[derive(Debug, Default)]
pub struct Branches(Vec<Branch>);

impl Branches {
    /// Is the script being run here?
    pub fn active(&self) -> bool {
        self.0.last().is_none_or(|branch| branch.state == State::Taken)
    }

    /// Are all closed?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The buffer at the start of the innermost branch.
    pub fn mark(&self) -> Mark {
        self.0.last().map(|branch| branch.mark).unwrap_or_default()
    }

    /// `\if`. Where the script is not run, `condition` is not looked at.
    pub fn begin(&mut self, mark: Mark, condition: impl FnOnce() -> bool) {
        let state = if !self.active() {
            State::Done
        } else if condition() {
            State::Taken
        } else {
            State::Waiting
        };
        self.0.push(Branch { state, seen_else: false, mark });
    }

    /// `\elseif`. `condition` is looked at only when no branch was run so far.
    pub fn else_if(&mut self, mark: Mark, condition: impl FnOnce() -> bool) -> Result<(), Misplaced> {
        let branch = self.innermost()?;
        branch.mark = mark;
        branch.state = match branch.state {
            State::Waiting if condition() => State::Taken,
            State::Waiting => State::Waiting,
            State::Taken | State::Done => State::Done,
        };
        Ok(())
    }

    /// `\else`.
    pub fn otherwise(&mut self, mark: Mark) -> Result<(), Misplaced> {
        let branch = self.innermost()?;
        branch.mark = mark;
        branch.seen_else = true;
        branch.state = match branch.state {
            State::Waiting => State::Taken,
            State::Taken | State::Done => State::Done,
        };
        Ok(())
    }

    /// `\endif`.
    pub fn end(&mut self) -> Result<(), Misplaced> {
        self.0.pop().map(drop).ok_or(Misplaced::NoIf)
    }

    /// A jump landed here: what is open around the label is being run from now on.
    pub fn land(&mut self) {
        for branch in &mut self.0 {
            branch.state = State::Taken;
        }
    }

    fn innermost(&mut self) -> Result<&mut Branch, Misplaced> {
        match self.0.last_mut() {
            None => Err(Misplaced::NoIf),
            Some(branch) if branch.seen_else => Err(Misplaced::AfterElse),
            Some(branch) => Ok(branch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_true_branch_runs() {
        let mut branches = Branches::default();
        branches.begin(Mark::default(), || false);
        assert!(!branches.active());
        branches.else_if(Mark::default(), || true).unwrap();
        assert!(branches.active());
        branches.begin(Mark::default(), || false);
        assert!(!branches.active());
        branches.end().unwrap();
        branches.else_if(Mark::default(), || unreachable!()).unwrap();
        assert!(!branches.active());
        branches.otherwise(Mark::default()).unwrap();
        assert!(!branches.active());
        assert_eq!(branches.otherwise(Mark::default()), Err(Misplaced::AfterElse));
        branches.end().unwrap();
        assert_eq!(branches.end(), Err(Misplaced::NoIf));
    }

    #[test]
    fn nothing_inside_a_skipped_branch_runs() {
        let mut branches = Branches::default();
        branches.begin(Mark::default(), || false);
        branches.begin(Mark::default(), || unreachable!());
        branches.otherwise(Mark::default()).unwrap();
        assert!(!branches.active());
    }
}
