//! From an open socket to a logged-in session: startup message, password, server settings.

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::connect::ConnectError;
use super::connection::{Connection, WireError};
use super::message::ServerMessage;
use crate::target::Target;

/// Logs in. The password leaves this process only in the form the server asks for.
pub(super) async fn log_in(connection: &mut Connection, target: &Target) -> Result<(), ConnectError> {
    let parameters = [
        ("user", target.user.as_str()),
        ("database", target.database.as_str()),
        ("client_encoding", "UTF8"),
        ("application_name", target.application_name.as_str()),
    ];
    frontend::startup_message(parameters, connection.outgoing()).map_err(WireError::from)?;
    connection.flush().await?;
    let mut scram: Option<ScramSha256> = None;
    loop {
        match connection.read_message().await.map_err(explain_unknown_login)? {
            Message::AuthenticationOk => {}
            Message::AuthenticationCleartextPassword => {
                send_password(connection, password(target)?).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hashed = md5_hash(target.user.as_bytes(), password(target)?, body.salt());
                send_password(connection, hashed.as_bytes()).await?;
            }
            Message::AuthenticationSasl(body) => {
                let offers: Vec<&str> = body.mechanisms().collect().map_err(WireError::from)?;
                if !offers.contains(&SCRAM_SHA_256) {
                    return Err(ConnectError::Login(offers.join(", ")));
                }
                let exchange = ScramSha256::new(password(target)?, ChannelBinding::unsupported());
                frontend::sasl_initial_response(SCRAM_SHA_256, exchange.message(), connection.outgoing())
                    .map_err(WireError::from)?;
                connection.flush().await?;
                scram = Some(exchange);
            }
            Message::AuthenticationSaslContinue(body) => {
                let exchange = scram.as_mut().ok_or(WireError::Protocol("SASL data out of turn"))?;
                exchange.update(body.data()).map_err(|_| ConnectError::Scram)?;
                frontend::sasl_response(exchange.message(), connection.outgoing())
                    .map_err(WireError::from)?;
                connection.flush().await?;
            }
            Message::AuthenticationSaslFinal(body) => {
                let exchange = scram.as_mut().ok_or(WireError::Protocol("SASL data out of turn"))?;
                exchange.finish(body.data()).map_err(|_| ConnectError::Scram)?;
            }
            Message::AuthenticationGss | Message::AuthenticationSspi => {
                return Err(ConnectError::Login("Kerberos".into()));
            }
            Message::ParameterStatus(body) => {
                let name = body.name().map_err(WireError::from)?;
                connection.set_parameter(name, body.value().map_err(WireError::from)?);
            }
            Message::BackendKeyData(body) => connection.set_key(body.process_id(), body.secret_key()),
            Message::NoticeResponse(_) => {}
            Message::ErrorResponse(body) => {
                let message = ServerMessage::parse(body.fields()).map_err(WireError::from)?;
                return Err(ConnectError::Refused(Box::new(message)));
            }
            Message::ReadyForQuery(_) => return Ok(()),
            _ => return Err(WireError::Protocol("not part of a login").into()),
        }
    }
}

fn password(target: &Target) -> Result<&[u8], ConnectError> {
    target.password.as_ref().map(|secret| secret.expose().as_bytes()).ok_or(ConnectError::PasswordMissing)
}

async fn send_password(connection: &mut Connection, password: &[u8]) -> Result<(), ConnectError> {
    frontend::password_message(password, connection.outgoing()).map_err(WireError::from)?;
    Ok(connection.flush().await?)
}

/// The decoder reports a login method it does not know as an I/O error; name it.
fn explain_unknown_login(error: WireError) -> ConnectError {
    match error {
        WireError::Io(error) if error.to_string().contains("authentication") => {
            let text = error.to_string();
            // Only Amazon's own drivers speak it, and its description is not published.
            let redshift_digest = text.contains("13");
            if redshift_digest { ConnectError::RedshiftDigest } else { ConnectError::Login(text) }
        }
        other => ConnectError::Wire(other),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use crate::target::{Asked, Target};
    use crate::wire::Connection;

    #[tokio::test]
    async fn redshifts_own_login_is_refused_with_advice() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
            stream.read_exact(&mut startup).unwrap();
            let request = [b'R', 0, 0, 0, 20, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            stream.write_all(&request).unwrap();
        });
        let asked =
            Asked { host: Some("127.0.0.1".into()), port: Some(port.to_string()), ..Asked::default() };
        let environment = |name: &str| (name == "PGSSLMODE").then(|| "disable".to_owned());
        let target = Target::resolve(&asked, &environment).unwrap();
        let refused = Connection::open(&target).await.map(drop).unwrap_err().to_string();
        assert!(refused.contains("SHA-256 digest") && refused.contains("md5"), "{refused}");
        server.join().unwrap();
    }
}
