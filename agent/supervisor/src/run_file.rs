//! What daemon and supervisor tell each other about one attempt: a file, locked by the supervisor for as long as it
//! lives.
//!
//! The daemon writes the file whole, takes its lock and hands the open file to the supervisor as standard input, so
//! the lock is the supervisor's from before its first instruction until its end, however either ends. Therefore a
//! daemon that finds the file of an attempt knows which of these holds:
//!
//! * locked: a supervisor lives, or is starting;
//! * free, with an end: the attempt has ended, so;
//! * free, with a mark and without an end: the supervisor was killed while the script ran;
//! * free, without a mark: the script never started.
//!
//! Three short records lie at fixed places in front of the specification and are written in place: blocks that are
//! there already, so a full disk cannot keep a supervisor from saying how a script ended. Each record is a line of
//! JSON padded with blanks, for operators to read as well. The file holds parameters, so only its owner reads it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::process::ProcessMark;

/// Version of the format. Daemon and supervisor differ by an upgrade while scripts run.
pub const VERSION: u32 = 1;

/// Length of a record's place.
const PLACE: u64 = 1024;
const MARK: u64 = 0;
const END: u64 = PLACE;
const STOP: u64 = 2 * PLACE;
const SPEC: u64 = 3 * PLACE;

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// See [`VERSION`].
    pub version: u32,
    /// The job on this host; its processes carry it in their environment.
    pub job_id: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// When the daemon started it, RFC 3339.
    pub started_at: String,
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Limit on its time in seconds.
    pub timeout_seconds: Option<u32>,
    /// Limit on its silence in seconds.
    pub stall_seconds: Option<u32>,
    /// Time between TERM and KILL, in milliseconds.
    pub grace_ms: u64,
    /// Directory of a control group to be made for it.
    pub cgroup: Option<PathBuf>,
}

/// Who runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The supervisor.
    pub supervisor: ProcessMark,
    /// The script's first process, once there is one.
    pub script: Option<ProcessMark>,
}

/// That the attempt must end, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Nobody waits for the job any more.
    Gone,
    /// An operator ended it on the host.
    Killed,
    /// The daemon ends its scripts with itself.
    Stopping,
}

/// What brought the end about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The script itself.
    Exited,
    /// The program could not be started; the text says why.
    NotStarted(String),
    /// The limit on time.
    TimedOut,
    /// The limit on silence.
    Stalled,
    /// The daemon asked for it.
    Stopped(Stop),
    /// Somebody sent the supervisor TERM, as a host does that shuts down.
    Terminated,
}

/// What it took to end what was left of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Nothing was alive.
    Already,
    /// All went after TERM.
    Terminated,
    /// Some had to be killed.
    Killed,
    /// Some cannot even be killed.
    Survived,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// What brought it about.
    pub cause: Cause,
    /// The script's exit code.
    pub exit_code: Option<i32>,
    /// The signal that ended the script.
    pub signal: Option<i32>,
    /// What it took to end what was alive.
    pub ended: Ended,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// The file of one attempt.
#[derive(Debug)]
pub struct RunFile {
    file: File,
}

impl RunFile {
    /// Writes the file of a new attempt and takes its lock. One that is there and says that its script never started
    /// gives way.
    ///
    /// # Errors
    /// The system's; `AlreadyExists` where the attempt was started before.
    pub fn create(path: &Path, spec: &Spec) -> io::Result<Self> {
        let exclusive = || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = match exclusive() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let earlier = Self::open(path)?;
                if earlier.is_supervised() || earlier.mark().is_some() || earlier.end().is_some() {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                exclusive()?
            }
            file => file?,
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let written = Self::write_new(&file, spec);
        if written.is_err() {
            // It would say that a script may have started.
            let _ = std::fs::remove_file(path);
        }
        written.map(|()| Self { file })
    }

    fn write_new(file: &File, spec: &Spec) -> io::Result<()> {
        let mut text = vec![b' '; usize::try_from(SPEC).unwrap_or(0)];
        for place in [END, STOP, SPEC] {
            if let Some(last) = usize::try_from(place).ok().and_then(|end| text.get_mut(end - 1)) {
                *last = b'\n';
            }
        }
        serde_json::to_writer(&mut text, spec)?;
        text.push(b'\n');
        file.write_all_at(&text, 0)
    }

    /// Opens the file of an attempt that was started before.
    ///
    /// # Errors
    /// The system's; `NotFound` where no attempt was.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().read(true).write(true).open(path)? })
    }

    /// The file that was handed over.
    pub fn of(file: File) -> Self {
        Self { file }
    }

    /// The file itself, to be handed over.
    ///
    /// # Errors
    /// The system's.
    pub fn hand_over(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether a supervisor has the file. Takes the lock if not.
    pub fn is_supervised(&self) -> bool {
        flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    /// What is to be run.
    ///
    /// # Errors
    /// `InvalidData`, when it was cut off or is of a later version.
    pub fn spec(&self) -> io::Result<Spec> {
        let length = self.file.metadata()?.len();
        let mut text = vec![0; usize::try_from(length.saturating_sub(SPEC)).unwrap_or(0)];
        self.file.read_exact_at(&mut text, SPEC)?;
        let spec: Spec = serde_json::from_slice(&text)?;
        if spec.version > VERSION {
            let problem = format!("it is of version {}, and {VERSION} is known", spec.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(spec)
    }

    /// Who runs it, once somebody does.
    pub fn mark(&self) -> Option<Mark> {
        self.read(MARK)
    }

    /// Says who runs it.
    ///
    /// # Errors
    /// The system's.
    pub fn set_mark(&self, mark: &Mark) -> io::Result<()> {
        self.write(MARK, mark)
    }

    /// How it ended, once it has.
    pub fn end(&self) -> Option<End> {
        self.read(END)
    }

    /// Says how it ended.
    ///
    /// # Errors
    /// The system's.
    pub fn set_end(&self, end: &End) -> io::Result<()> {
        self.write(END, end)
    }

    /// Why it must end, once it must.
    pub fn stop(&self) -> Option<Stop> {
        self.read(STOP)
    }

    /// Says why it must end.
    ///
    /// # Errors
    /// The system's.
    pub fn set_stop(&self, stop: Stop) -> io::Result<()> {
        self.write(STOP, &stop)
    }

    /// Flushes it to disk.
    ///
    /// # Errors
    /// The system's.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read<T: DeserializeOwned>(&self, place: u64) -> Option<T> {
        let mut text = [0; PLACE as usize];
        self.file.read_exact_at(&mut text, place).ok()?;
        serde_json::from_slice(text.trim_ascii()).ok()
    }

    fn write<T: Serialize>(&self, place: u64, record: &T) -> io::Result<()> {
        let mut text = serde_json::to_vec(record)?;
        let length = usize::try_from(PLACE).unwrap_or(0);
        if text.len() >= length {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        text.resize(length - 1, b' ');
        text.push(b'\n');
        self.file.write_all_at(&text, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            version: VERSION,
            job_id: "j".into(),
            attempt: 1,
            started_at: String::new(),
            program: "/bin/true".into(),
            arguments: vec!["a b\n".into()],
            environment: BTreeMap::from([("K".into(), "ä".into())]),
            directory: "/".into(),
            timeout_seconds: None,
            stall_seconds: None,
            grace_ms: 1,
            cgroup: None,
        }
    }

    #[test]
    fn records_are_kept_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.run");
        let file = RunFile::create(&path, &spec()).unwrap();
        assert_eq!((file.mark(), file.end(), file.stop()), (None, None, None));
        let end =
            End { cause: Cause::Exited, exit_code: Some(3), signal: None, ended: Ended::Already, at_ms: 7 };
        let mark = Mark { supervisor: ProcessMark::of(1), script: None };
        file.set_mark(&mark).unwrap();
        file.set_stop(Stop::Gone).unwrap();
        file.set_end(&end).unwrap();
        let other = RunFile::open(&path).unwrap();
        assert_eq!((other.mark(), other.end(), other.stop()), (Some(mark), Some(end), Some(Stop::Gone)));
        assert_eq!(other.spec().unwrap(), spec());
        assert!(other.is_supervised());
        drop(file);
        assert!(!other.is_supervised());
    }

    #[test]
    fn an_attempt_that_was_started_is_not_started_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.run");
        let again = || RunFile::create(&path, &spec()).map_err(|error| error.kind());
        let first = again().unwrap();
        assert_eq!(again().err(), Some(io::ErrorKind::AlreadyExists), "it is being started");
        drop(first);
        let second = again().expect("nobody had started it");
        second.set_mark(&Mark { supervisor: ProcessMark::of(1), script: None }).unwrap();
        drop(second);
        assert_eq!(again().err(), Some(io::ErrorKind::AlreadyExists), "it was started");
    }

    #[test]
    fn a_file_that_was_cut_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.run");
        RunFile::create(&path, &spec()).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(1500).unwrap();
        let file = RunFile::open(&path).unwrap();
        assert!(file.spec().is_err() && file.end().is_none() && file.mark().is_none());
    }
}
