//! Errors and notices: the fields the server sends, kept apart so that each can be shown or tested.

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

/// One ErrorResponse or NoticeResponse, or an error this client found itself.
///
/// Fields are those of <https://www.postgresql.org/docs/current/protocol-error-fields.html>.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerMessage {
    /// `ERROR`, `FATAL`, `WARNING`, `NOTICE`, `INFO`, ... as the server spells it.
    pub severity: String,
    /// The SQLSTATE, five characters.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// A second, longer text.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the statement, in characters from 1.
    pub position: Option<usize>,
    /// Where in a statement the server made up itself.
    pub internal_position: Option<usize>,
    /// That statement.
    pub internal_query: Option<String>,
    /// The call stack, innermost first.
    pub context: Option<String>,
}

impl ServerMessage {
    /// An error found on this side of the wire.
    pub fn local(code: &str, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            severity: "ERROR".into(),
            code: code.into(),
            message: message.into(),
            ..Self::default()
        })
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    /// Reads the fields of a message. Text that is not UTF-8 is shown with replacement characters.
    pub(super) fn parse(mut fields: ErrorFields<'_>) -> std::io::Result<Self> {
        let mut message = Self::default();
        while let Some(field) = fields.next()? {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'S' => message.severity = value,
                b'C' => message.code = value,
                b'M' => message.message = value,
                b'D' => message.detail = Some(value),
                b'H' => message.hint = Some(value),
                b'P' => message.position = value.parse().ok(),
                b'p' => message.internal_position = value.parse().ok(),
                b'q' => message.internal_query = Some(value),
                b'W' => message.context = Some(value),
                _ => {}
            }
        }
        Ok(message)
    }
}
