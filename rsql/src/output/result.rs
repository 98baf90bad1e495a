//! One result, from its column names to its footer.

use std::borrow::Cow;
use std::io::{self, Write};

use super::aligned::{self, Table};
use super::cell::Cell;
use super::layout::{Format, Layout};
use super::{expanded, unaligned};
use crate::wire::Column;

/// Types whose values stand to the right: numbers, money, and the numbers the catalogue counts with.
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/catalog/pg_type.dat>
const RIGHT_ALIGNED: [u32; 11] = [20, 21, 23, 26, 28, 29, 700, 701, 790, 1700, 5069];

/// Prints a result as its rows arrive.
pub struct ResultPrinter {
    layout: Layout,
    columns: Vec<Column>,
    kept: Vec<Vec<Cell>>,
    rows: u64,
}

impl ResultPrinter {
    /// Starts a result; output that needs no widths begins at once.
    pub fn begin(layout: &Layout, columns: Vec<Column>, out: &mut dyn Write) -> io::Result<Self> {
        let printer = Self { layout: layout.clone(), columns, kept: Vec::new(), rows: 0 };
        if printer.streams() && !layout.tuples_only && !layout.expanded {
            let names: Vec<&str> = printer.columns.iter().map(|column| column.name.as_str()).collect();
            unaligned::record(&names, layout, true, out)?;
        }
        Ok(printer)
    }

    /// Takes a row; `None` is NULL.
    pub fn row(&mut self, values: &[Option<&[u8]>], out: &mut dyn Write) -> io::Result<()> {
        let null = &self.layout.null;
        let texts: Vec<Cow<'_, str>> = values
            .iter()
            .map(|value| value.map_or(Cow::Borrowed(null.as_str()), String::from_utf8_lossy))
            .collect();
        if !self.streams() {
            self.kept.push(texts.iter().map(|text| Cell::new(text)).collect());
        } else {
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            let first = self.rows == 0;
            if self.layout.expanded {
                let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
                unaligned::expanded(&names, &texts, &self.layout, first, out)?;
            } else {
                unaligned::record(&texts, &self.layout, first && self.layout.tuples_only, out)?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Ends the result.
    pub fn finish(self, out: &mut dyn Write) -> io::Result<()> {
        let layout = &self.layout;
        if !self.streams() {
            let header: Vec<Cell> = self.columns.iter().map(|column| Cell::new(&column.name)).collect();
            let numeric: Vec<bool> =
                self.columns.iter().map(|column| RIGHT_ALIGNED.contains(&column.type_oid)).collect();
            let table = Table { header: &header, numeric: &numeric, rows: &self.kept };
            return if layout.expanded {
                expanded::write(&table, layout, out)
            } else {
                aligned::write(&table, layout, out)
            };
        }
        match layout.format {
            Format::Csv => Ok(()),
            Format::Aligned | Format::Unaligned => {
                let footer = layout.footer && !layout.tuples_only && !layout.expanded;
                if footer {
                    write!(out, "{}{}", layout.record_separator, row_count(self.rows))?;
                }
                let anything = footer || self.rows > 0 || (!layout.tuples_only && !layout.expanded);
                if anything { out.write_all(b"\n") } else { Ok(()) }
            }
        }
    }

    fn streams(&self) -> bool {
        self.layout.format != Format::Aligned
    }
}

pub(super) fn row_count(rows: u64) -> String {
    if rows == 1 { "(1 row)".into() } else { format!("({rows} rows)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(layout: &Layout) -> String {
        let column = |name: &str, type_oid| Column { name: name.into(), type_oid, type_modifier: -1 };
        let mut out = Vec::new();
        let columns = vec![column("id", 23), column("a name", 25), column("n", 1700)];
        let mut printer = ResultPrinter::begin(layout, columns, &mut out).unwrap();
        printer.row(&[Some(b"1"), Some("zwölf,\n漢字".as_bytes()), Some(b"1.50")], &mut out).unwrap();
        printer.row(&[Some(b"100"), None, None], &mut out).unwrap();
        printer.finish(&mut out).unwrap();
        // A mark at each line's end keeps blanks there visible.
        String::from_utf8(out).unwrap().replace('\n', "~\n")
    }

    #[test]
    fn aligned() {
        insta::assert_snapshot!(print(&Layout::default()));
    }

    #[test]
    fn aligned_in_a_frame() {
        insta::assert_snapshot!(print(&Layout { border: 2, null: "?".into(), ..Layout::default() }));
    }

    #[test]
    fn expanded() {
        insta::assert_snapshot!(print(&Layout { expanded: true, ..Layout::default() }));
    }

    #[test]
    fn unaligned() {
        insta::assert_snapshot!(print(&Layout { format: Format::Unaligned, ..Layout::default() }));
    }

    #[test]
    fn csv() {
        insta::assert_snapshot!(print(&Layout { format: Format::Csv, ..Layout::default() }));
    }
}
