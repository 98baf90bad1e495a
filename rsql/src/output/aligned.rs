//! Columns under each other, in psql's ASCII style.

use std::io::{self, Write};

use super::cell::Cell;
use super::layout::Layout;

/// A whole result.
pub(super) struct Table<'a> {
    pub(super) header: &'a [Cell],
    /// Which columns hold numbers, which stand to the right.
    pub(super) numeric: &'a [bool],
    pub(super) rows: &'a [Vec<Cell>],
}

pub(super) fn write(table: &Table<'_>, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
    let widths = widths(table);
    let frame = layout.border >= 2;
    if frame {
        rule(&widths, layout.border, out)?;
    }
    if !layout.tuples_only {
        let height = table.header.iter().map(Cell::height).max().unwrap_or(0);
        for number in 0..height {
            header_line(table.header, &widths, number, layout.border, out)?;
        }
        rule(&widths, layout.border, out)?;
    }
    // Rows without columns have nothing to show.
    for row in table.rows.iter().filter(|row| !row.is_empty()) {
        let height = row.iter().map(Cell::height).max().unwrap_or(1);
        for number in 0..height {
            row_line(row, table.numeric, &widths, number, layout.border, out)?;
        }
    }
    if frame {
        rule(&widths, layout.border, out)?;
    }
    if layout.footer && !layout.tuples_only {
        writeln!(out, "{}", super::result::row_count(table.rows.len() as u64))?;
    }
    writeln!(out)
}

/// The header counts even where it is not shown, as in psql.
fn widths(table: &Table<'_>) -> Vec<usize> {
    let mut widths: Vec<usize> = table.header.iter().map(Cell::width).collect();
    for row in table.rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    widths
}

fn rule(widths: &[usize], border: u8, out: &mut dyn Write) -> io::Result<()> {
    let (open, between, close) = match border {
        0 => ("", " ", ""),
        1 => ("-", "-+-", "-"),
        _ => ("+-", "-+-", "-+"),
    };
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    writeln!(out, "{open}{}{close}", dashes.join(between))
}

fn header_line(
    header: &[Cell],
    widths: &[usize],
    number: usize,
    border: u8,
    out: &mut dyn Write,
) -> io::Result<()> {
    if border >= 2 {
        out.write_all(b"|")?;
    }
    let last = header.len().saturating_sub(1);
    for (column, (cell, width)) in header.iter().zip(widths).enumerate() {
        let (text, text_width) = cell.line(number);
        let left = (width - text_width) / 2;
        let right = width - text_width - left;
        if border > 0 {
            out.write_all(b" ")?;
        }
        write!(out, "{:left$}{text}{:right$}", "", "")?;
        out.write_all(if number + 1 < cell.height() { b"+" } else { b" " })?;
        if border > 0 && column < last {
            out.write_all(b"|")?;
        }
    }
    out.write_all(if border >= 2 { b"|\n" } else { b"\n" })
}

fn row_line(
    row: &[Cell],
    numeric: &[bool],
    widths: &[usize],
    number: usize,
    border: u8,
    out: &mut dyn Write,
) -> io::Result<()> {
    if border >= 2 {
        out.write_all(b"|")?;
    }
    let last = row.len().saturating_sub(1);
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let (text, text_width) = cell.line(number);
        let pad = width - text_width;
        let goes_on = number + 1 < cell.height();
        let more_to_the_right = border >= 2 || column < last;
        if border > 0 {
            out.write_all(b" ")?;
        }
        // A value that has ended leaves nothing to put to the right.
        let to_the_right = numeric.get(column).copied().unwrap_or(false) && number < cell.height();
        if to_the_right {
            write!(out, "{:pad$}{text}", "")?;
        } else if more_to_the_right || goes_on {
            write!(out, "{text}{:pad$}", "")?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        if goes_on {
            out.write_all(b"+")?;
        } else if more_to_the_right {
            out.write_all(b" ")?;
        }
        if border > 0 && column < last {
            out.write_all(b"|")?;
        }
    }
    out.write_all(if border >= 2 { b"|\n" } else { b"\n" })
}
