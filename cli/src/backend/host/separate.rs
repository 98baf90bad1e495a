//! A daemon of its own: each command goes to its socket as `rsqlflow-agent submit` would bring it, with the same
//! patience for a daemon that restarts. What is started, stopped and upgraded there is no business of this process.

use std::path::{Path, PathBuf};

use rsqlflow_agent::Accepted;
use rsqlflow_agent::client::{self, SUBMIT_PATIENCE};
use rsqlflow_agent::protocol::Reply;

pub(super) struct Separate {
    socket: PathBuf,
}

impl Separate {
    pub(super) fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    pub(super) async fn submit(&self, word: &str, command_id: String) -> Result<Accepted, String> {
        let (socket, word) = (self.socket.clone(), word.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            client::submit(&socket, &word, Some(command_id), SUBMIT_PATIENCE)
        });
        match asked.await.map_err(|error| error.to_string())? {
            Ok(Reply::Accepted(accepted)) => Ok(accepted),
            Ok(Reply::Refused { message, .. }) => Err(message),
            Ok(_) => Err("the agent answered something else than was asked".into()),
            Err(error) => Err(match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }),
        }
    }
}
