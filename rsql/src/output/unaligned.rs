//! Values with a separator between, and CSV. Both go out row by row.

use std::io::{self, Write};

use super::layout::{Format, Layout};

/// Writes one record.
pub(super) fn record(values: &[&str], layout: &Layout, first: bool, out: &mut dyn Write) -> io::Result<()> {
    if layout.format == Format::Csv {
        for (column, value) in values.iter().enumerate() {
            if column > 0 {
                out.write_all(b",")?;
            }
            csv_value(value, values.len() == 1, out)?;
        }
        return out.write_all(b"\n");
    }
    if !first {
        out.write_all(layout.record_separator.as_bytes())?;
    }
    for (column, value) in values.iter().enumerate() {
        if column > 0 {
            out.write_all(layout.field_separator.as_bytes())?;
        }
        out.write_all(value.as_bytes())?;
    }
    Ok(())
}

/// Writes one row as a line per column.
pub(super) fn expanded(
    names: &[&str],
    values: &[&str],
    layout: &Layout,
    first: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    if !first {
        out.write_all(layout.record_separator.repeat(2).as_bytes())?;
    }
    for (column, (name, value)) in names.iter().zip(values).enumerate() {
        if column > 0 {
            out.write_all(layout.record_separator.as_bytes())?;
        }
        write!(out, "{name}{}{value}", layout.field_separator)?;
    }
    Ok(())
}

/// A lone `\.` would end a COPY when the file is read back, so it is quoted too.
fn csv_value(value: &str, alone: bool, out: &mut dyn Write) -> io::Result<()> {
    if value.contains([',', '"', '\n', '\r']) || (alone && value == "\\.") {
        return write!(out, "\"{}\"", value.replace('"', "\"\""));
    }
    out.write_all(value.as_bytes())
}
