//! Does the server accept connections? Asked as a client would, without a client.
//!
//! A start-up message is answered with a request for a password (ready), or with an error: "starting up", for
//! instance (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Protocol version 3.0.
const VERSION: u32 = 3 << 16;
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a server on the port asks this user for a password now.
pub(super) async fn accepts(port: u16, user: &str) -> bool {
    tokio::time::timeout(PATIENCE, ask(port, user))
        .await
        .is_ok_and(|answer| answer.is_ok_and(|byte| byte == b'R'))
}

async fn ask(port: u16, user: &str) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let parameters = format!("user\0{user}\0database\0postgres\0\0");
    let length = u32::try_from(parameters.len() + 8).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend(length.to_be_bytes());
    message.extend(VERSION.to_be_bytes());
    message.extend(parameters.as_bytes());
    stream.write_all(&message).await?;
    stream.read_u8().await
}
