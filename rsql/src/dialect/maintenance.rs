//! VACUUM and ANALYZE.
//!
//! PostgreSQL does not sort tables, so every kind of Redshift vacuum becomes a plain one; a FULL
//! one too, since Redshift's does not lock the table as PostgreSQL's would.

use super::rewrite::Rewrite;
use crate::wire::ServerMessage;

pub(super) fn rewrite(sql: &mut Rewrite<'_>) -> Result<(), Box<ServerMessage>> {
    if sql.is(0, "vacuum") {
        vacuum(sql);
    } else {
        analyze(sql);
    }
    Ok(())
}

fn vacuum(sql: &mut Rewrite<'_>) {
    let mut at = 1;
    if sql.are(at, &["sort", "only"]) || sql.are(at, &["delete", "only"]) {
        at += 2;
    } else if ["full", "reindex", "recluster"].contains(&sql.keyword(at).as_str()) {
        at += 1;
    }
    sql.cut(1, at);
    for at in at..sql.len() {
        if sql.is(at, "to") && sql.is(at + 2, "percent") {
            sql.cut(at, at + 3);
        } else if sql.is(at, "boost") && at + 2 >= sql.len() {
            sql.cut(at, at + 1);
        }
    }
}

fn analyze(sql: &mut Rewrite<'_>) {
    if sql.is(1, "compression") {
        // There is nothing to recommend; the table's name is still checked.
        sql.cut(1, 2);
        for at in 2..sql.len() {
            if sql.is(at, "comprows") {
                sql.cut(at, at + 2);
            }
        }
        return;
    }
    for at in 1..sql.len() {
        if sql.are(at, &["predicate", "columns"]) || sql.are(at, &["all", "columns"]) {
            sql.cut(at, at + 2);
        }
    }
}
