//! One line per column, a heading per row: psql's `\x`.

use std::io::{self, Write};

use super::aligned::Table;
use super::cell::Cell;
use super::layout::Layout;

pub(super) fn write(table: &Table<'_>, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
    if table.rows.is_empty() {
        if layout.footer && !layout.tuples_only {
            writeln!(out, "(0 rows)")?;
        }
        return writeln!(out);
    }
    let names = table.header.iter().map(Cell::width).max().unwrap_or(0);
    let values = table.rows.iter().flatten().map(Cell::width).max().unwrap_or(0);
    for (number, row) in table.rows.iter().enumerate() {
        if !layout.tuples_only {
            heading(number + 1, names, values, layout.border, out)?;
        } else if number > 0 {
            writeln!(out)?;
        }
        for (name, value) in table.header.iter().zip(row) {
            for line in 0..name.height().max(value.height()) {
                let (name, name_width) = name.line(line);
                let pad = names - name_width;
                let (text, text_width) = value.line(line);
                let goes_on = line + 1 < value.height();
                let frame = layout.border >= 2;
                let (open, between) = match layout.border {
                    0 => ("", " "),
                    1 => ("", " | "),
                    _ => ("| ", " | "),
                };
                write!(out, "{open}{name}{:pad$}{between}{text}", "")?;
                if frame || goes_on {
                    let pad = values - text_width;
                    write!(out, "{:pad$}{}", "", if goes_on { "+" } else { " " })?;
                }
                writeln!(out, "{}", if frame { "|" } else { "" })?;
            }
        }
    }
    if layout.border >= 2 {
        writeln!(out, "+-{}-+-{}-+", "-".repeat(names), "-".repeat(values))?;
    }
    writeln!(out)
}

/// A rule with `[ RECORD n ]` laid over its beginning.
fn heading(record: usize, names: usize, values: usize, border: u8, out: &mut dyn Write) -> io::Result<()> {
    if border == 0 {
        return writeln!(out, "* Record {record}");
    }
    let (open, close) = if border >= 2 { ("+-", "-+") } else { ("", "") };
    let rule = format!("{open}{}-+-{}{close}", "-".repeat(names), "-".repeat(values));
    let label = format!("{}[ RECORD {record} ]", if border >= 2 { "+-" } else { "-" });
    let rest = rule.get(label.len()..).unwrap_or("");
    writeln!(out, "{label}{rest}")
}
