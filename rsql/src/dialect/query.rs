//! Queries: MINUS, and the `#name` of a temporary table.

use super::rewrite::Rewrite;

pub(super) fn rewrite(sql: &mut Rewrite<'_>) {
    for at in 0..sql.len() {
        if sql.is(at, "minus") && (sql.is(at + 1, "select") || sql.is(at + 1, "(")) && at > 0 {
            sql.replace(at, at + 1, "except");
        }
        let names_a_table = [
            "table", "exists", "from", "join", "into", "update", "only", "truncate", "analyze", "vacuum",
            "copy",
        ]
        .contains(&sql.keyword(at).as_str());
        if names_a_table && sql.is(at + 1, "#") {
            let name = sql.text(at + 2).to_ascii_lowercase();
            sql.replace(at + 1, at + 3, format!("\"#{name}\""));
        }
    }
}
