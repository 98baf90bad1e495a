//! An open connection: send a query, take events until [`Event::Ready`].

use std::collections::HashMap;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::message::ServerMessage;

/// Something bytes can be read from and written to, encrypted or not.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// How much COPY data is gathered before it is written.
const COPY_BUFFER: usize = 64 * 1024;

/// The connection can no longer be used.
#[derive(Debug, Error)]
pub enum WireError {
    /// The server closed the connection, or the network did.
    #[error("the server closed the connection unexpectedly")]
    Closed,
    /// The socket failed.
    #[error("the connection to the server failed")]
    Io(#[from] io::Error),
    /// The server ended the session with a last word (a shutdown, a terminated backend).
    #[error("{}", .0.message)]
    Fatal(Box<ServerMessage>),
    /// The server broke the protocol.
    #[error("the server sent a message that was not expected here: {0}")]
    Protocol(&'static str),
}

/// What ReadyForQuery says about the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Outside a transaction block.
    Idle,
    /// Inside one.
    Open,
    /// Inside one that has failed; only ROLLBACK helps.
    Failed,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name the server gives it.
    pub name: String,
    /// The type's object id in pg_type.
    pub type_oid: u32,
    /// The type's modifier, -1 where there is none; for varchar the length plus 4.
    pub type_modifier: i32,
}

/// One row; values are text as the server wrote it.
pub struct Row(DataRowBody);

impl Row {
    /// The values in order, `None` for NULL.
    pub fn values(&self) -> Result<Vec<Option<&[u8]>>, WireError> {
        let buffer = self.0.buffer();
        let ranges = self.0.ranges().map(|range| Ok(range.map(|range| &buffer[range])));
        Ok(ranges.collect()?)
    }
}

/// What the server sends while a query runs.
pub enum Event {
    /// A result begins.
    Columns(Vec<Column>),
    /// A row of it.
    Row(Row),
    /// A statement is done; its command tag.
    Complete(String),
    /// The statement was empty.
    Empty,
    /// The statement failed.
    Error(Box<ServerMessage>),
    /// A notice, at the place where the server sent it.
    Notice(Box<ServerMessage>),
    /// The server waits for COPY data.
    CopyIn,
    /// COPY data follows.
    CopyOut,
    /// A piece of it.
    CopyData(Bytes),
    /// No more of it.
    CopyDone,
    /// The server waits for the next query.
    Ready,
}

/// An open connection.
pub struct Connection {
    reader: ReadHalf<Box<dyn Transport>>,
    writer: WriteHalf<Box<dyn Transport>>,
    incoming: BytesMut,
    outgoing: BytesMut,
    parameters: HashMap<String, String>,
    status: TransactionStatus,
    key: Option<(i32, i32)>,
}

impl Connection {
    pub(super) fn new(transport: Box<dyn Transport>) -> Self {
        let (reader, writer) = tokio::io::split(transport);
        Self {
            reader,
            writer,
            incoming: BytesMut::with_capacity(16 * 1024),
            outgoing: BytesMut::with_capacity(4 * 1024),
            parameters: HashMap::new(),
            status: TransactionStatus::Idle,
            key: None,
        }
    }

    /// A setting the server reported, such as `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The transaction as of the last [`Event::Ready`].
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// What a cancel request for this connection needs: process id and secret.
    pub fn cancel_key(&self) -> Option<(i32, i32)> {
        self.key
    }

    /// Sends one query string. Events follow until [`Event::Ready`].
    pub async fn start_query(&mut self, sql: &str) -> Result<(), WireError> {
        frontend::query(sql, &mut self.outgoing)?;
        self.flush().await
    }

    /// The next thing the server has to say.
    pub async fn next(&mut self) -> Result<Event, WireError> {
        loop {
            let event = match self.read_message().await? {
                Message::RowDescription(body) => {
                    let columns = body.fields().map(|field| {
                        Ok(Column {
                            name: field.name().to_owned(),
                            type_oid: field.type_oid(),
                            type_modifier: field.type_modifier(),
                        })
                    });
                    Event::Columns(columns.collect()?)
                }
                Message::DataRow(body) => Event::Row(Row(body)),
                Message::CommandComplete(body) => Event::Complete(body.tag()?.to_owned()),
                Message::EmptyQueryResponse => Event::Empty,
                Message::ErrorResponse(body) => {
                    let message = Box::new(ServerMessage::parse(body.fields())?);
                    if message.severity == "FATAL" || message.severity == "PANIC" {
                        return Err(WireError::Fatal(message));
                    }
                    Event::Error(message)
                }
                Message::NoticeResponse(body) => {
                    Event::Notice(Box::new(ServerMessage::parse(body.fields())?))
                }
                Message::CopyInResponse(_) => Event::CopyIn,
                Message::CopyOutResponse(_) => Event::CopyOut,
                Message::CopyData(body) => Event::CopyData(body.into_bytes()),
                Message::CopyDone => Event::CopyDone,
                Message::ReadyForQuery(body) => {
                    self.status = match body.status() {
                        b'T' => TransactionStatus::Open,
                        b'E' => TransactionStatus::Failed,
                        _ => TransactionStatus::Idle,
                    };
                    Event::Ready
                }
                Message::ParameterStatus(body) => {
                    self.parameters.insert(body.name()?.to_owned(), body.value()?.to_owned());
                    continue;
                }
                Message::NotificationResponse(_) => continue,
                _ => return Err(WireError::Protocol("neither a result nor an error")),
            };
            return Ok(event);
        }
    }

    /// Adds COPY data; writes once enough has gathered. Returns `false` when the server has
    /// already refused the load, so that the caller can stop reading its files.
    pub async fn copy_data(&mut self, data: &[u8]) -> Result<bool, WireError> {
        frontend::CopyData::new(data)?.write(&mut self.outgoing);
        if self.outgoing.len() < COPY_BUFFER {
            return Ok(true);
        }
        self.flush_while_reading().await?;
        Ok(!self.error_waiting())
    }

    /// Ends COPY data.
    pub async fn copy_done(&mut self) -> Result<(), WireError> {
        frontend::copy_done(&mut self.outgoing);
        self.flush_while_reading().await
    }

    /// Gives up on COPY data; the server answers with an error that holds `reason`.
    pub async fn copy_fail(&mut self, reason: &str) -> Result<(), WireError> {
        frontend::copy_fail(reason, &mut self.outgoing)?;
        self.flush_while_reading().await
    }

    /// Says goodbye. Errors no longer matter.
    pub async fn close(mut self) {
        frontend::terminate(&mut self.outgoing);
        let _ = self.flush().await;
        let _ = self.writer.shutdown().await;
    }

    pub(super) fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    pub(super) fn set_key(&mut self, process_id: i32, secret: i32) {
        self.key = Some((process_id, secret));
    }

    pub(super) fn set_parameter(&mut self, name: &str, value: &str) {
        self.parameters.insert(name.to_owned(), value.to_owned());
    }

    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        self.writer.write_all_buf(&mut self.outgoing).await?;
        self.writer.flush().await?;
        Ok(())
    }

    pub(super) async fn read_message(&mut self) -> Result<Message, WireError> {
        loop {
            if let Some(message) = Message::parse(&mut self.incoming)? {
                return Ok(message);
            }
            if self.reader.read_buf(&mut self.incoming).await? == 0 {
                return Err(WireError::Closed);
            }
        }
    }

    async fn flush_while_reading(&mut self) -> Result<(), WireError> {
        while self.outgoing.has_remaining() {
            tokio::select! {
                read = self.reader.read_buf(&mut self.incoming) => {
                    if read? == 0 {
                        return Err(WireError::Closed);
                    }
                }
                written = self.writer.write_buf(&mut self.outgoing) => { written?; }
            }
        }
        self.writer.flush().await?;
        Ok(())
    }

    /// Is the first message that waits an error? (Tag byte `E`.)
    fn error_waiting(&self) -> bool {
        self.incoming.first() == Some(&b'E')
    }
}
