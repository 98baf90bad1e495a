//! Reading records from a file by Redshift's rules.

use std::io::{self, BufRead};

use thiserror::Error;

use crate::dialect::copy::{Load, Shape};

/// The longest record. Redshift's own limit for a row of input:
/// <https://docs.aws.amazon.com/redshift/latest/dg/t_Loading_tables_with_the_COPY_command.html>
const RECORD_LIMIT: usize = 4 * 1024 * 1024;

/// A file cannot be read on.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The disk says no.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// No end in sight; most likely a quote that is never closed.
    #[error("record is longer than 4 MB")]
    TooLong,
    /// A quote is open at the end of the file.
    #[error("unterminated quoted field")]
    OpenQuote,
}

/// The fields of one record.
#[derive(Debug, Default)]
pub struct Fields {
    data: Vec<u8>,
    /// End in `data`, and whether the field is NULL.
    ends: Vec<(usize, bool)>,
}

impl Fields {
    fn clear(&mut self) {
        self.data.clear();
        self.ends.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The field `index`: `None` for NULL, or if there is no such field.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (end, null) = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(end, _)| *end);
        (!null).then(|| &self.data[start..end])
    }
}

/// Reads one file.
pub struct Records<'a> {
    load: &'a Load,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
}

impl<'a> Records<'a> {
    /// At the start of a file, behind its header lines.
    pub fn new(load: &'a Load, mut reader: Box<dyn BufRead>) -> Result<Self, RecordError> {
        let mut line = Vec::new();
        for _ in 0..load.ignore_header {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
        }
        line.clear();
        Ok(Self { load, reader, line, number: load.ignore_header })
    }

    /// The number of the line read last.
    pub fn line(&self) -> u64 {
        self.number
    }

    /// Reads the next record into `fields`; `false` at the end of the file.
    pub fn read(&mut self, fields: &mut Fields) -> Result<bool, RecordError> {
        loop {
            self.line.clear();
            if !self.read_line()? {
                return Ok(false);
            }
            let blank = self.content().iter().all(u8::is_ascii_whitespace);
            if !(blank && self.load.ignore_blank_lines) {
                break;
            }
        }
        loop {
            fields.clear();
            if parse(self.content(), self.load, fields) {
                return Ok(true);
            }
            if self.line.len() > RECORD_LIMIT {
                return Err(RecordError::TooLong);
            }
            if !self.read_line()? {
                return Err(RecordError::OpenQuote);
            }
        }
    }

    /// Adds a line to what is there.
    fn read_line(&mut self) -> Result<bool, RecordError> {
        let limit = RECORD_LIMIT as u64 + 1;
        let mut limited = io::Read::take(&mut self.reader, limit);
        let read = limited.read_until(b'\n', &mut self.line)?;
        if read as u64 == limit {
            return Err(RecordError::TooLong);
        }
        self.number += 1;
        Ok(read > 0)
    }

    /// The record without its line end.
    fn content(&self) -> &[u8] {
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }
}

/// Cuts a record into fields. `false`: it goes on in the next line.
fn parse(record: &[u8], load: &Load, fields: &mut Fields) -> bool {
    let mut at = 0;
    loop {
        let start = at;
        let opened = record.get(at).copied().filter(|byte| match load.shape {
            Shape::Csv { quote } => *byte == quote,
            Shape::Delimited => load.remove_quotes && (*byte == b'"' || *byte == b'\''),
        });
        let mut was_quoted = false;
        if let Some(quote) = opened {
            was_quoted = true;
            at += 1;
            loop {
                match record.get(at) {
                    None => return false,
                    Some(byte) if *byte == quote => {
                        let doubled =
                            matches!(load.shape, Shape::Csv { .. }) && record.get(at + 1) == Some(&quote);
                        at += 1;
                        if !doubled {
                            break;
                        }
                        fields.data.push(quote);
                        at += 1;
                    }
                    Some(byte) => {
                        fields.data.push(*byte);
                        at += 1;
                    }
                }
            }
        }
        while let Some(&byte) = record.get(at) {
            if byte == load.delimiter {
                break;
            }
            if byte == b'\\' && load.escape {
                at += 1;
                match record.get(at) {
                    None => return false,
                    Some(escaped) => fields.data.push(*escaped),
                }
            } else {
                fields.data.push(byte);
            }
            at += 1;
        }
        let null = !was_quoted && record[start..at] == *load.null.as_bytes() && !load.null.is_empty();
        fields.ends.push((fields.data.len(), null));
        if at >= record.len() {
            return true;
        }
        at += 1;
    }
}
