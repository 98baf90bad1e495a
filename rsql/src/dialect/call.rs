//! A function call in a statement: where it is and what its arguments are.

use super::rewrite::Rewrite;

/// A call; places are those of tokens.
pub(super) struct Call {
    pub(super) end: usize,
    /// From and up to, for each argument.
    pub(super) arguments: Vec<(usize, usize)>,
}

/// The call whose name stands at `name`, if one does.
pub(super) fn call(sql: &Rewrite<'_>, name: usize) -> Option<Call> {
    // `schema.f(` is somebody else's function.
    if !sql.is(name + 1, "(") || (name > 0 && sql.is(name - 1, ".")) {
        return None;
    }
    let close = sql.closing(name + 1)?;
    let mut arguments = Vec::new();
    let first = name + 2;
    let mut start = first;
    let mut depth = 0usize;
    for at in first..=close {
        if sql.is(at, "(") {
            depth += 1;
        } else if sql.is(at, ")") && depth > 0 {
            depth -= 1;
        } else if (sql.is(at, ",") && depth == 0) || at == close {
            if at > start {
                arguments.push((start, at));
            }
            start = at + 1;
        }
    }
    Some(Call { end: close + 1, arguments })
}
