//! Reaching the server: name to address, socket, TLS where both sides want it, login.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::connection::{Connection, Transport, WireError};
use super::login::log_in;
use super::message::ServerMessage;
use super::tls;
use crate::target::{Target, TlsMode};

/// Why there is no connection. The text completes "could not connect to HOST, port N: ...".
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No address answers.
    #[error("{0}; check that the host and port are right and that the network lets you through")]
    Unreachable(io::Error),
    /// Nobody answered in time.
    #[error("no answer within {} seconds; check the host, the port and the firewall between", .0.as_secs())]
    TimedOut(Duration),
    /// The server wants a password and none is set.
    #[error("the server asks for a password; set RSPASSWORD, or PWD in the DSN")]
    PasswordMissing,
    /// The server wants a login this client cannot do.
    #[error("the server asks for a login this client does not know ({0})")]
    Login(String),
    /// Redshift wants its own digest.
    #[error(
        "the server asks for Redshift's SHA-256 digest, which this client does not know; \
         give the user an md5 password (ALTER USER ... PASSWORD 'md5...'), or use temporary credentials"
    )]
    RedshiftDigest,
    /// The SCRAM exchange broke.
    #[error("the password was not accepted; check RSPASSWORD or PWD in the DSN")]
    Scram,
    /// The server said no.
    #[error("{}", refusal(.0))]
    Refused(Box<ServerMessage>),
    /// The server has no TLS and sslmode insists.
    #[error("the server does not offer TLS; check sslmode")]
    NoTls,
    /// TLS could not be agreed.
    #[error("TLS failed ({0}); check sslmode and the root certificate")]
    Tls(String),
    /// The connection broke while logging in.
    #[error("{0}; check that a PostgreSQL or Redshift server listens there")]
    Wire(#[from] WireError),
}

fn refusal(message: &ServerMessage) -> String {
    let advice = match message.code.as_str() {
        "28P01" | "28000" => "; check the user and RSPASSWORD",
        "3D000" => "; check the database name",
        "53300" => "; wait, or raise the server's connection limit",
        "57P03" => "; the server is starting or stopping, try again",
        _ => "",
    };
    format!("{}{advice}", message.message)
}

impl Connection {
    /// Connects and logs in within the target's time limit.
    pub async fn open(target: &Target) -> Result<Self, ConnectError> {
        let limit = target.connect_timeout;
        tokio::time::timeout(limit, Self::open_unlimited(target))
            .await
            .unwrap_or(Err(ConnectError::TimedOut(limit)))
    }

    async fn open_unlimited(target: &Target) -> Result<Self, ConnectError> {
        let transport = match secure(target, target.tls).await {
            // libpq's meaning of "prefer": a broken TLS is no reason to give up.
            Err(ConnectError::Tls(reason)) if target.tls == TlsMode::Prefer => {
                tracing::debug!(%reason, "TLS failed, going on without");
                secure(target, TlsMode::Disable).await?
            }
            other => other?,
        };
        let mut connection = Self::new(transport);
        log_in(&mut connection, target).await?;
        Ok(connection)
    }
}

/// Asks the server to cancel what the connection with this key is doing. Whether it does shows there.
pub async fn cancel(target: &Target, (process_id, secret): (i32, i32)) -> Result<(), ConnectError> {
    let mut transport = secure(target, target.tls).await?;
    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::cancel_request(process_id, secret, &mut request);
    transport.write_all(&request).await.map_err(ConnectError::Unreachable)?;
    transport.flush().await.map_err(ConnectError::Unreachable)?;
    // The server closes the connection when it has passed the request on.
    let mut nothing = [0];
    let _ = transport.read(&mut nothing).await;
    Ok(())
}

async fn secure(target: &Target, mode: TlsMode) -> Result<Box<dyn Transport>, ConnectError> {
    if let Some(path) = target.socket_path() {
        let stream = UnixStream::connect(path).await.map_err(ConnectError::Unreachable)?;
        return Ok(Box::new(stream));
    }
    let mut stream =
        TcpStream::connect((target.host.as_str(), target.port)).await.map_err(ConnectError::Unreachable)?;
    // Statements are small and answered one by one.
    stream.set_nodelay(true).map_err(ConnectError::Unreachable)?;
    if mode == TlsMode::Disable {
        return Ok(Box::new(stream));
    }
    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(ConnectError::Unreachable)?;
    match stream.read_u8().await.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ConnectError::Wire(WireError::Closed),
        _ => ConnectError::Unreachable(error),
    })? {
        b'S' => tls::handshake(stream, target, mode).await,
        b'N' if mode == TlsMode::Prefer => Ok(Box::new(stream)),
        b'N' => Err(ConnectError::NoTls),
        _ => Err(WireError::Protocol("not an answer to a TLS request").into()),
    }
}
