//! How results are to look: what `-A -t -x -F` and `\pset` set.

use thiserror::Error;

use crate::variables::truth;

/// The shape of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns under each other.
    Aligned,
    /// Values with a separator between.
    Unaligned,
    /// Comma-separated, quoted where needed.
    Csv,
}

/// All settings of a result's looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The shape.
    pub format: Format,
    /// One line per column instead of one per row.
    pub expanded: bool,
    /// Rows only: no header, no footer.
    pub tuples_only: bool,
    /// Print `(n rows)`.
    pub footer: bool,
    /// How much frame an aligned table has: 0, 1 or 2.
    pub border: u8,
    /// What stands for NULL.
    pub null: String,
    /// Between the values of unaligned output.
    pub field_separator: String,
    /// Between its rows.
    pub record_separator: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            format: Format::Aligned,
            expanded: false,
            tuples_only: false,
            footer: true,
            border: 1,
            null: String::new(),
            field_separator: "|".into(),
            record_separator: "\n".into(),
        }
    }
}

/// A `\pset` that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// No such setting.
    #[error("unknown option: {0}")]
    Unknown(String),
    /// A setting exists but not this value.
    #[error("invalid value \"{value}\" for {name}; allowed: {allowed}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: &'static str,
    },
}

impl Layout {
    /// Changes the setting `name`; without a value switches are turned over and the rest is only
    /// shown. Returns what to tell the user. Of some changes psql tells nothing.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<Option<String>, LayoutError> {
        let text = match name.to_ascii_lowercase().as_str() {
            "format" => self.set_format(value)?,
            "expanded" | "x" | "vertical" => {
                self.expanded = switch("expanded", value, self.expanded)?;
                format!("Expanded display is {}.", on_off(self.expanded))
            }
            "tuples_only" | "t" => {
                self.tuples_only = switch("tuples_only", value, self.tuples_only)?;
                return Ok(value.is_none().then(|| format!("Tuples only is {}.", on_off(self.tuples_only))));
            }
            "footer" => {
                self.footer = switch("footer", value, self.footer)?;
                return Ok(value.is_none().then(|| format!("Default footer is {}.", on_off(self.footer))));
            }
            "border" => {
                if let Some(value) = value {
                    self.border = value.parse::<u8>().map(|border| border.min(2)).map_err(|_| {
                        LayoutError::Value { name: "border", value: value.into(), allowed: "0, 1, 2" }
                    })?;
                }
                format!("Border style is {}.", self.border)
            }
            "null" => {
                assign(&mut self.null, value);
                format!("Null display is \"{}\".", self.null)
            }
            "fieldsep" | "f" => {
                assign(&mut self.field_separator, value);
                format!("Field separator is \"{}\".", self.field_separator)
            }
            "recordsep" => {
                assign(&mut self.record_separator, value);
                match self.record_separator.as_str() {
                    "\n" => "Record separator is <newline>.".into(),
                    other => format!("Record separator is \"{other}\"."),
                }
            }
            // Nothing that runs unattended has a pager or a terminal's width.
            "pager" => "Pager usage is off.".into(),
            "columns"
            | "linestyle"
            | "title"
            | "tableattr"
            | "pager_min_lines"
            | "numericlocale"
            | "unicode_border_linestyle"
            | "unicode_column_linestyle"
            | "unicode_header_linestyle"
            | "csv_fieldsep"
            | "fieldsep_zero"
            | "recordsep_zero" => format!("{name} has no effect in this client."),
            _ => return Err(LayoutError::Unknown(name.to_owned())),
        };
        Ok(Some(text))
    }

    fn set_format(&mut self, value: Option<&str>) -> Result<String, LayoutError> {
        if let Some(value) = value {
            let value = value.to_ascii_lowercase();
            let begins = |whole: &str| !value.is_empty() && whole.starts_with(&value);
            self.format = if begins("aligned") || begins("wrapped") {
                Format::Aligned
            } else if begins("unaligned") {
                Format::Unaligned
            } else if begins("csv") {
                Format::Csv
            } else {
                let allowed = "aligned, unaligned, csv";
                return Err(LayoutError::Value { name: "format", value, allowed });
            };
        }
        let name = match self.format {
            Format::Aligned => "aligned",
            Format::Unaligned => "unaligned",
            Format::Csv => "csv",
        };
        Ok(format!("Output format is {name}."))
    }
}

fn switch(name: &'static str, value: Option<&str>, now: bool) -> Result<bool, LayoutError> {
    match value {
        None => Ok(!now),
        Some(value) => {
            truth(value).ok_or_else(|| LayoutError::Value { name, value: value.into(), allowed: "on, off" })
        }
    }
}

fn assign(setting: &mut String, value: Option<&str>) {
    if let Some(value) = value {
        value.clone_into(setting);
    }
}

fn on_off(value: bool) -> &'static str {
    if value { "on" } else { "off" }
}
