//! `COPY table FROM 's3://...'`: reading the command. Carrying it out is [`crate::copy`]'s business.
//!
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_COPY.html>

use super::rewrite::Rewrite;
use super::token::Kind;
use super::unsupported;
use crate::wire::ServerMessage;

/// How fields stand in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A delimiter between, nothing quoted.
    Delimited,
    /// Fields may be quoted.
    Csv {
        /// With this character.
        quote: u8,
    },
}

/// A COPY from S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The table as the statement names it.
    pub table: String,
    /// The columns as the statement lists them, without parentheses; empty if it does not.
    pub columns: Vec<String>,
    /// The bucket.
    pub bucket: String,
    /// What the keys of the objects begin with.
    pub prefix: String,
    /// How fields stand in a line.
    pub shape: Shape,
    /// Between fields.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: String,
    /// Lines to skip at the start of each file.
    pub ignore_header: u64,
    /// The files are compressed.
    pub gzip: bool,
    /// A backslash takes away the next character's meaning.
    pub escape: bool,
    /// Quotes around a field are dropped.
    pub remove_quotes: bool,
    /// Blank text is NULL.
    pub blanks_as_null: bool,
    /// Empty text is NULL.
    pub empty_as_null: bool,
    /// Text that is too long is cut.
    pub truncate_columns: bool,
    /// Blanks at the end of text are dropped.
    pub trim_blanks: bool,
    /// Fields missing at the end of a line are NULL.
    pub fill_record: bool,
    /// Lines without anything on them are skipped.
    pub ignore_blank_lines: bool,
    /// Values for identity columns come from the file.
    pub explicit_ids: bool,
    /// What stands in for bytes that are not UTF-8.
    pub accept_invalid: Option<char>,
}

/// Reads a statement that begins with COPY; `None` if it does not read from S3.
pub(super) fn parse(sql: &Rewrite<'_>) -> Result<Option<Load>, Box<ServerMessage>> {
    let hash = usize::from(sql.is(1, "#"));
    let mut at = sql.after_name(1 + hash);
    let table = if hash == 1 { format!("\"#{}\"", sql.keyword(2)) } else { sql.between(1, at).to_owned() };
    let mut columns = Vec::new();
    if sql.is(at, "(") {
        let close = sql.closing(at).ok_or_else(|| syntax("the column list of COPY has no end"))?;
        columns = (at + 1..close).filter(|at| !sql.is(*at, ",")).map(|at| sql.text(at).to_owned()).collect();
        at = close + 1;
    }
    if !sql.is(at, "from") || sql.kind(at + 1) != Some(Kind::Text) {
        return Ok(None);
    }
    let source = literal(sql.text(at + 1));
    let Some(path) = source.strip_prefix("s3://") else {
        for scheme in ["emr://", "dynamodb://"] {
            if source.starts_with(scheme) {
                return Err(unsupported(&format!("COPY from {scheme}")));
            }
        }
        return Ok(None);
    };
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    let mut options = Options { load: empty(table, columns, bucket, prefix), delimiter: None, csv: false };
    at += 2;
    while at < sql.len() && !sql.is(at, ";") {
        at = options.read(sql, at)?;
    }
    let Options { mut load, delimiter, csv } = options;
    load.delimiter = delimiter.unwrap_or(if csv { b',' } else { b'|' });
    Ok(Some(load))
}

fn empty(table: String, columns: Vec<String>, bucket: &str, prefix: &str) -> Load {
    Load {
        table,
        columns,
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        shape: Shape::Delimited,
        delimiter: b'|',
        null: "\\N".into(),
        ignore_header: 0,
        gzip: false,
        escape: false,
        remove_quotes: false,
        blanks_as_null: false,
        empty_as_null: false,
        truncate_columns: false,
        trim_blanks: false,
        fill_record: false,
        ignore_blank_lines: false,
        explicit_ids: false,
        accept_invalid: None,
    }
}

struct Options {
    load: Load,
    delimiter: Option<u8>,
    csv: bool,
}

impl Options {
    /// Reads the option at `at`; returns where the next one begins.
    fn read(&mut self, sql: &Rewrite<'_>, at: usize) -> Result<usize, Box<ServerMessage>> {
        let load = &mut self.load;
        // AS is a filler word throughout.
        let value_at = at + 1 + usize::from(sql.is(at + 1, "as"));
        let text = || value(sql, at, value_at);
        let option = sql.keyword(at);
        match option.as_str() {
            "with" | "as" | "acceptanydate" | "roundec" => return Ok(at + 1),
            "iam_role"
            | "credentials"
            | "access_key_id"
            | "secret_access_key"
            | "session_token"
            | "region"
            | "comprows"
            | "maxerror"
            | "readratio"
            | "master_symmetric_key" => {
                text()?;
            }
            "compupdate" | "statupdate" => {
                let switch =
                    ["on", "off", "true", "false", "preset"].contains(&sql.keyword(value_at).as_str());
                return Ok(if switch { value_at + 1 } else { at + 1 });
            }
            "format" => return Ok(value_at),
            "csv" => {
                self.csv = true;
                if load.shape == Shape::Delimited {
                    load.shape = Shape::Csv { quote: b'"' };
                }
                return Ok(at + 1);
            }
            "quote" => load.shape = Shape::Csv { quote: one_byte("QUOTE", &text()?)? },
            "delimiter" => self.delimiter = Some(one_byte("DELIMITER", &text()?)?),
            "null" => load.null = text()?,
            "ignoreheader" => {
                load.ignore_header =
                    text()?.parse().map_err(|_| syntax("IGNOREHEADER takes a number of lines"))?;
            }
            "gzip" => load.gzip = true,
            "escape" => load.escape = true,
            "removequotes" => load.remove_quotes = true,
            "blanksasnull" => load.blanks_as_null = true,
            "emptyasnull" => load.empty_as_null = true,
            "truncatecolumns" => load.truncate_columns = true,
            "trimblanks" => load.trim_blanks = true,
            "fillrecord" => load.fill_record = true,
            "ignoreblanklines" => load.ignore_blank_lines = true,
            "explicit_ids" => load.explicit_ids = true,
            "acceptinvchars" => {
                let given = sql.kind(value_at) == Some(Kind::Text);
                let with = if given { text()?.chars().next() } else { None };
                load.accept_invalid = Some(with.unwrap_or('?'));
                return Ok(if given { value_at + 1 } else { at + 1 });
            }
            "dateformat" | "timeformat" => known_time_format(&option, &text()?)?,
            "encoding" => match text()?.to_ascii_lowercase().as_str() {
                "utf8" | "utf-8" => {}
                other => return Err(unsupported(&format!("COPY with ENCODING {other}"))),
            },
            "parquet" | "orc" | "avro" | "json" | "shapefile" | "fixedwidth" | "manifest" | "encrypted"
            | "bzip2" | "lzop" | "zstd" | "noload" | "ssh" | "job" => {
                return Err(unsupported(&format!("COPY with {}", option.to_ascii_uppercase()))
                    .with_hint("Delimited and CSV files, plain or GZIP, can be loaded."));
            }
            _ => return Err(syntax(&format!("syntax error at or near \"{}\" in COPY", sql.text(at)))),
        }
        let without_value = [
            "gzip",
            "escape",
            "removequotes",
            "blanksasnull",
            "emptyasnull",
            "truncatecolumns",
            "trimblanks",
            "fillrecord",
            "ignoreblanklines",
            "explicit_ids",
        ];
        Ok(if without_value.contains(&option.as_str()) { at + 1 } else { value_at + 1 })
    }
}

fn value(sql: &Rewrite<'_>, at: usize, value_at: usize) -> Result<String, Box<ServerMessage>> {
    match sql.kind(value_at) {
        Some(Kind::Text) => Ok(literal(sql.text(value_at))),
        Some(Kind::Number | Kind::Word) => Ok(sql.text(value_at).to_owned()),
        _ => Err(syntax(&format!("{} needs a value", sql.text(at).to_ascii_uppercase()))),
    }
}

/// PostgreSQL reads dates written year first whatever its settings; other orders it might misread.
fn known_time_format(option: &str, format: &str) -> Result<(), Box<ServerMessage>> {
    let format = format.to_ascii_lowercase();
    if format == "auto" || format.starts_with("yyyy") {
        return Ok(());
    }
    Err(unsupported(&format!("COPY with {} '{format}'", option.to_ascii_uppercase()))
        .with_hint("'auto' and formats that begin with the year can be loaded."))
}

fn one_byte(option: &str, text: &str) -> Result<u8, Box<ServerMessage>> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && *byte != b'\n' && *byte != b'\r' => Ok(*byte),
        _ => Err(syntax(&format!("{option} must be one ASCII character"))),
    }
}

fn syntax(message: &str) -> Box<ServerMessage> {
    ServerMessage::local("42601", message)
}

/// The text of a literal; Redshift reads `\t`, `\001` and the like in it.
fn literal(token: &str) -> String {
    let quoted = token.strip_prefix(['e', 'E']).unwrap_or(token);
    let mut text = String::new();
    // `\N` is the word for NULL and stays.
    if quoted == "'\\N'" || crate::lexer::argument::unescape(quoted, &mut text).is_none() {
        return quoted.trim_matches('\'').to_owned();
    }
    text
}
