//! Delivery more than once for the embedded default, which hands commands over at the agent's socket itself: what comes
//! to the relay's socket goes on to the agent's so many times, and the first answer goes back.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::daemon;
use crate::site::Site;

/// A relay that ends with its process.
pub struct Relay {
    agent: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
}

/// Where it listens.
pub fn socket(site: &Site) -> PathBuf {
    site.path("relay.sock")
}

impl Relay {
    /// Starts one in front of the site's agent.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(site: &Site, times: usize) -> Self {
        let listener = UnixListener::bind(socket(site)).unwrap();
        let relay = Self { agent: daemon::socket(site), requests: Arc::default() };
        let (agent, requests) = (relay.agent.clone(), Arc::clone(&relay.requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let (agent, requests) = (agent.clone(), Arc::clone(&requests));
                std::thread::spawn(move || {
                    let mut line = String::new();
                    if BufReader::new(&stream).read_line(&mut line).is_err() || line.is_empty() {
                        return;
                    }
                    requests.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
                    let answers: Vec<_> = (0..times).map(|_| pass_on(&agent, &line)).collect();
                    // Whoever asked may be gone; an agent that is gone is told by silence.
                    if let Some(answer) = answers.into_iter().flatten().next() {
                        let _ = stream.write_all(answer.as_bytes());
                    }
                });
            }
        });
        relay
    }

    /// Hands everything that ever came over once more.
    ///
    /// # Panics
    /// When the agent does not answer.
    pub fn deliver_again(&self) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for line in requests {
            pass_on(&self.agent, &line).expect("the agent answers");
        }
    }
}

fn pass_on(agent: &Path, line: &str) -> Option<String> {
    let mut stream = UnixStream::connect(agent).ok()?;
    stream.write_all(line.as_bytes()).ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}
