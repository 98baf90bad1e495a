//! The demo's source files: TPC-H tables as a source system would leave them in S3, `|`-separated.
//!
//! The generator is the `tpchgen` crate: the benchmark's own data, the same bytes for the same scale factor on every
//! machine, so the counts the demo prints can be checked. A file is complete or not there: each is written under
//! another name, flushed, then renamed.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tpchgen::generators::{CustomerGenerator, LineItemGenerator, OrderGenerator, PartGenerator};

/// Writes the four tables of the retail load below `dir`, those that are not there yet. Returns how many rows of each
/// table were written; 0 for a table that was there.
pub(crate) fn generate(dir: &Path, scale_factor: f64) -> io::Result<Vec<(&'static str, u64)>> {
    fs::create_dir_all(dir)?;
    Ok(vec![
        ("customer", table(dir, "customer", CustomerGenerator::new(scale_factor, 1, 1).iter())?),
        ("part", table(dir, "part", PartGenerator::new(scale_factor, 1, 1).iter())?),
        ("orders", table(dir, "orders", OrderGenerator::new(scale_factor, 1, 1).iter())?),
        ("lineitem", table(dir, "lineitem", LineItemGenerator::new(scale_factor, 1, 1).iter())?),
    ])
}

fn table<T: Display>(dir: &Path, name: &str, rows: impl Iterator<Item = T>) -> io::Result<u64> {
    let path = dir.join(format!("{name}.tbl"));
    if path.exists() {
        return Ok(0);
    }
    let unfinished = dir.join(format!(".{name}.tbl.part"));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&unfinished)?);
    let mut count = 0;
    for row in rows {
        writeln!(file, "{row}")?;
        count += 1;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(unfinished, path)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = generate(dir.path(), 0.001).unwrap();
        assert_eq!(first.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [150, 200, 1500, 6005]);
        assert!(generate(dir.path(), 0.001).unwrap().iter().all(|(_, rows)| *rows == 0));
        let line = fs::read_to_string(dir.path().join("part.tbl")).unwrap();
        assert_eq!(line.lines().next().unwrap().matches('|').count(), 9, "nine columns, each ended by |");
    }
}
