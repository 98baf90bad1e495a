//! From a record's fields to a line of PostgreSQL's COPY text format.
//!
//! <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.2>

use std::borrow::Cow;

use super::records::Fields;
use crate::dialect::copy::Load;

/// Types that hold text: "char", name, text, bpchar, varchar.
const TEXT_TYPES: [u32; 5] = [18, 19, 25, 1042, 1043];

/// A column that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetColumn {
    /// Its name.
    pub name: String,
    /// It holds text, so an empty field is empty rather than NULL.
    pub text: bool,
    /// The longest text it takes, in characters.
    pub limit: Option<usize>,
}

impl TargetColumn {
    /// From the catalogue's description.
    pub fn new(name: impl Into<String>, type_oid: u32, type_modifier: i32) -> Self {
        let text = TEXT_TYPES.contains(&type_oid);
        // The modifier of a character type is its length plus the four bytes of a header.
        let limit = usize::try_from(type_modifier.saturating_sub(4)).ok().filter(|limit| text && *limit > 0);
        Self { name: name.into(), text, limit }
    }
}

/// Encodes the records of one load.
pub struct Encoder<'a> {
    load: &'a Load,
    columns: &'a [TargetColumn],
}

impl<'a> Encoder<'a> {
    /// For these columns, in the order of the fields.
    pub fn new(load: &'a Load, columns: &'a [TargetColumn]) -> Self {
        Self { load, columns }
    }

    /// Appends a line to `out`. The error is what is wrong with the record, in Redshift's words.
    pub fn encode(&self, fields: &Fields, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let wanted = self.columns.len();
        // Files often end each line with a delimiter; the empty field behind it does not count.
        let trailing = fields.len() == wanted + 1 && fields.get(wanted).is_some_and(<[u8]>::is_empty);
        let given = if trailing { wanted } else { fields.len() };
        if given > wanted {
            return Err("Extra column(s) found");
        }
        if given < wanted && !self.load.fill_record {
            return Err("Delimiter not found");
        }
        for (index, column) in self.columns.iter().enumerate() {
            if index > 0 {
                out.push(b'\t');
            }
            match fields.get(index).and_then(|value| self.value(value, column)) {
                Some(value) => escape(&value, out),
                None => out.extend_from_slice(b"\\N"),
            }
        }
        out.push(b'\n');
        Ok(())
    }

    /// The value as it is loaded, `None` for NULL.
    fn value<'v>(&self, value: &'v [u8], column: &TargetColumn) -> Option<Cow<'v, [u8]>> {
        let blank = value.iter().all(|byte| *byte == b' ');
        if blank {
            let null = !column.text
                || (value.is_empty() && self.load.empty_as_null)
                || (!value.is_empty() && self.load.blanks_as_null);
            if null {
                return None;
            }
        }
        if !column.text {
            return Some(Cow::Borrowed(value));
        }
        let value = if self.load.trim_blanks { value.trim_ascii_end() } else { value };
        let mut value = match self.load.accept_invalid {
            Some(replacement) => replace_invalid(value, replacement),
            None => Cow::Borrowed(value),
        };
        if let (true, Some(limit)) = (self.load.truncate_columns, column.limit)
            && let Ok(text) = std::str::from_utf8(&value)
            && let Some((cut, _)) = text.char_indices().nth(limit)
        {
            value = Cow::Owned(value[..cut].to_vec());
        }
        Some(value)
    }
}

fn escape(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.push(byte),
        }
    }
}

fn replace_invalid(value: &[u8], replacement: char) -> Cow<'_, [u8]> {
    if std::str::from_utf8(value).is_ok() {
        return Cow::Borrowed(value);
    }
    let mut text = String::new();
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        // Redshift puts one replacement per byte.
        text.extend(std::iter::repeat_n(replacement, chunk.invalid().len()));
    }
    Cow::Owned(text.into_bytes())
}
