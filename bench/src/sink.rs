//! The AWS API at its quickest: takes callbacks, audit records and log events, and forgets them.
//!
//! What is measured beside it is the agent and not an endpoint. It checks nothing, keeps when a task was called back,
//! how many events came, and how old a line was whose text has its time of printing between two `@`. One thread serves
//! one connection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Whatever is waited for comes within so long, or never.
const PATIENCE: Duration = Duration::from_secs(300);

/// Any secret will do.
const SECRET: &str = r#"{"Name":"bench","SecretString":"{\"host\":\"h\",\"port\":1,\"username\":\"u\",\"password\":\"not-printed\",\"dbname\":\"d\"}"}"#;

/// What has come.
#[derive(Default)]
pub(crate) struct Seen {
    /// How many calls of each operation.
    pub(crate) calls: BTreeMap<String, usize>,
    /// When each task was called back, by its token.
    pub(crate) callbacks: BTreeMap<String, Instant>,
    /// Log events.
    pub(crate) events: usize,
    /// Bytes of the calls that brought them.
    pub(crate) put_bytes: usize,
    /// When the last of them came.
    pub(crate) last_put: Option<Instant>,
    /// Age of the lines that tell their time, in seconds.
    pub(crate) lags: Vec<f64>,
}

impl Seen {
    pub(crate) fn calls(&self, operation: &str) -> usize {
        self.calls.get(operation).copied().unwrap_or(0)
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running endpoint; it ends with the process.
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Sink {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&server);
                // A connection that breaks is its client's concern.
                std::thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Ok(Self { address, shared })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come since the last time this was asked.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut self.shared.seen())
    }

    /// Waits until what has come is enough, and takes `answer` of it.
    pub(crate) fn wait<T>(&self, what: &str, mut answer: impl FnMut(&Seen) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.shared.seen();
        loop {
            if let Some(answer) = answer(&seen) {
                return Ok(answer);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                bail!("{what} did not come; there were {:?} and {} events", seen.calls, seen.events);
            };
            let waited = self.shared.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// When the task was called back.
    pub(crate) fn callback(&self, token: &str) -> Result<Instant> {
        self.wait("a callback", |seen| seen.callbacks.get(token).copied())
    }

    /// A connection for [`call`].
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The barest call that has an answer.
pub(crate) fn call(stream: &TcpStream, operation: &str, body: &str) -> Result<()> {
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\nhost: bench\r\nx-amz-target: Bench.{operation}\r\n");
    (&mut &*stream).write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes())?;
    read(&mut BufReader::new(stream), &mut Vec::new())?.context("no answer")?;
    Ok(())
}

fn serve(stream: &TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(128 * 1024, stream);
    let mut body = Vec::new();
    while let Some(operation) = read(&mut reader, &mut body)? {
        note(shared, operation, &body);
        let answer = match body.as_slice() {
            text if text.starts_with(b"{\"SecretId\"") => SECRET,
            text if text.windows(15).take(200).any(|part| part == b"\"startFromHead\"") => r#"{"events":[]}"#,
            _ => "{}",
        };
        let length = answer.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length:";
        (&mut &*stream).write_all(format!("{head} {length}\r\n\r\n{answer}").as_bytes())?;
    }
    Ok(())
}

/// Reads a message: its operation, empty in an answer, and its body. Nothing at the connection's end.
fn read(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<Option<String>> {
    let (mut operation, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        let Some((name, value)) = text.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("x-amz-target") {
            operation = value.rsplit('.').next().unwrap_or_default().to_owned();
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    body.clear();
    reader.take(length).read_to_end(body)?;
    Ok(Some(operation))
}

fn note(shared: &Shared, operation: String, body: &[u8]) {
    let now = Instant::now();
    let (mut events, mut lags, mut token) = (0, Vec::new(), None);
    if operation == "PutLogEvents" {
        // No line that is printed here has a brace: one opens the call, the others an event each.
        events = body.iter().filter(|byte| **byte == b'{').count().saturating_sub(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let times = body.split(|byte| *byte == b'@').skip(1).step_by(2);
        let printed = times.filter_map(|time| std::str::from_utf8(time).ok()?.parse().ok());
        lags = printed.map(|at| now.as_secs_f64() - Duration::from_nanos(at).as_secs_f64()).collect();
    } else if operation == "SendTaskSuccess" || operation == "SendTaskFailure" {
        let call: Value = serde_json::from_slice(body).unwrap_or_default();
        token = call["taskToken"].as_str().map(str::to_owned);
    }
    let mut seen = shared.seen();
    if operation == "PutLogEvents" {
        seen.events += events;
        seen.put_bytes += body.len();
        seen.last_put = Some(now);
        seen.lags.extend(lags);
    }
    seen.callbacks.extend(token.map(|token| (token, now)));
    *seen.calls.entry(operation).or_default() += 1;
    drop(seen);
    shared.changed.notify_all();
}
