//! The supervisor's life: start the script, wait, end what must end, say how it was.
//!
//! Everything that can happen comes as a signal or as a moment: SIGCHLD for ends, SIGTERM for the wish to end, the two
//! limits, the time of grace. One loop waits for whichever is next. Because the supervisor is a child subreaper, "no
//! children left" is the same as "nothing of the script is left".

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::process::ProcessMark;
use crate::run_file::{Cause, End, Ended, Mark, RunFile, Spec};
use crate::tree::{KILL_PATIENCE, Tree};
use crate::{cgroup, oom};

/// Nothing was run: the run file could not be read or written.
const UNUSABLE: u8 = 2;

/// Runs the attempt whose run file is standard input.
pub fn main() -> ExitCode {
    let file = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(stdin) => RunFile::of(File::from(stdin)),
        Err(error) => return unusable(&error),
    };
    match file.spec().and_then(|spec| Supervisor::new(&file, spec)) {
        Ok(supervisor) => supervisor.run(),
        Err(error) => return unusable(&error),
    }
    ExitCode::SUCCESS
}

fn unusable(error: &io::Error) -> ExitCode {
    // Standard error is the attempt's log; where that cannot be written there is nobody to tell.
    let _ = writeln!(io::stderr(), "rsqlflow-supervisor: the run file cannot be used: {error}");
    ExitCode::from(UNUSABLE)
}

/// How long the end of a script that cannot be written is tried again: a disk may come back.
const END_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How long a host may have no room for another process.
const SPAWN_PATIENCE: Duration = Duration::from_secs(30);

/// Whether the reason that a process was not started passes by itself: limits on processes, memory and files, and a
/// program that is just being replaced.
pub fn passes(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::TXTBSY, Errno::STALE];
    error.raw_os_error().is_some_and(|code| passing.iter().any(|errno| errno.raw_os_error() == code))
}

struct Supervisor<'a> {
    file: &'a RunFile,
    spec: Spec,
    signals: Signals,
    /// The daemon, or whoever takes its place.
    parent: Option<rustix::process::Pid>,
    tree: Tree,
    script: Option<u32>,
    status: Option<WaitStatus>,
}

impl<'a> Supervisor<'a> {
    fn new(file: &'a RunFile, spec: Spec) -> io::Result<Self> {
        let parent = rustix::process::getppid();
        // Fails only for one that leads a session already.
        let _ = rustix::process::setsid();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // What scripts write is for their user and group.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
        let signals = Signals::new()?;
        let own = std::process::id();
        // Before the script starts: without a mark it never has.
        file.set_mark(&Mark { supervisor: ProcessMark::of(own), script: None })?;
        let tree = Tree { root: Some(own), group: None, job_id: None, cgroup: None };
        Ok(Self { file, spec, signals, parent, tree, script: None, status: None })
    }

    fn run(mut self) {
        let began = Instant::now();
        let (cause, ended) = match self.start() {
            Ok(()) => {
                let cause = self.watch(began);
                (cause, self.sweep())
            }
            Err(error) => (Cause::NotStarted(error.to_string()), Ended::Already),
        };
        let end = End {
            cause,
            exit_code: self.status.and_then(|status| status.exit_status()),
            signal: self.status.and_then(|status| status.terminating_signal()),
            ended,
            at_ms: now_ms(),
        };
        say(self.file, &end, &mut self.signals, END_PATIENCE);
        // A daemon that lives puts it on disk at once; with none there it is for us to do.
        if rustix::process::getppid() != self.parent {
            let _ = self.file.flush();
        }
        if let Some(directory) = &self.tree.cgroup {
            cgroup::remove(directory);
        }
    }

    fn start(&mut self) -> io::Result<()> {
        // The script is born into its group: we go there, start it, and come back.
        let own = self.spec.cgroup.as_ref().and_then(|_| cgroup::own());
        self.tree.cgroup = self.spec.cgroup.clone().filter(|directory| cgroup::enter(directory).is_ok());
        let spawned = self.spawn();
        if self.tree.cgroup.is_some() && own.is_none_or(|own| cgroup::enter(&own).is_err()) {
            // The group is the script's; ending it must not end us.
            self.tree.cgroup = None;
        }
        let child = spawned?;
        self.script = Some(child.id());
        self.tree.group = Some(child.id());
        let mark = Mark {
            supervisor: ProcessMark::of(std::process::id()),
            script: Some(ProcessMark::of(child.id())),
        };
        // It only serves those who look at the host; the attempt is known to run without it.
        let _ = self.file.set_mark(&mark);
        Ok(())
    }

    /// Starts the script's first process; where the host has no room for one for a moment, again.
    fn spawn(&mut self) -> io::Result<Child> {
        let deadline = Instant::now() + SPAWN_PATIENCE;
        loop {
            let spec = &self.spec;
            let spawned = oom::as_any_other(|| {
                Command::new(&spec.program)
                    .args(&spec.arguments)
                    .env_clear()
                    .envs(&spec.environment)
                    .current_dir(&spec.directory)
                    .stdin(Stdio::null())
                    .process_group(0)
                    .spawn()
            });
            match spawned {
                Err(error) if passes(&error) && Instant::now() < deadline && !self.signals.wants_end() => {
                    self.signals.wait(Some(Duration::from_millis(200)));
                }
                spawned => return spawned,
            }
        }
    }

    /// Waits until the script has ended or has to end.
    fn watch(&mut self, began: Instant) -> Cause {
        let limit = self.spec.timeout_seconds.map(|limit| began + Duration::from_secs(limit.into()));
        let mut silence = self.spec.stall_seconds.map(Silence::new);
        loop {
            self.reap();
            // A host that shuts down asks scripts and supervisors alike, and a script may be gone first.
            let by_signal = self.status.is_none_or(|status| status.signaled());
            if by_signal && self.signals.wants_end() {
                return self.file.stop().map_or(Cause::Terminated, Cause::Stopped);
            }
            if self.status.is_some() {
                return Cause::Exited;
            }
            let now = Instant::now();
            if limit.is_some_and(|limit| now >= limit) {
                return Cause::TimedOut;
            }
            if silence.as_mut().is_some_and(|silence| silence.is_over(now)) {
                return Cause::Stalled;
            }
            let next = [limit, silence.as_ref().map(|silence| silence.look_at)].into_iter().flatten().min();
            self.signals.wait(next.map(|next| next.saturating_duration_since(now)));
        }
    }

    /// Ends whatever is left: TERM, grace, KILL.
    fn sweep(&mut self) -> Ended {
        if !self.reap() {
            return Ended::Already;
        }
        self.tree.terminate();
        // What else is wished for is under way.
        self.signals.seen = true;
        let deadline = Instant::now() + Duration::from_millis(self.spec.grace_ms);
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if !self.reap() {
                return Ended::Terminated;
            }
            self.signals.wait(Some(left));
        }
        let deadline = Instant::now() + KILL_PATIENCE;
        let mut pause = Duration::from_millis(2);
        while Instant::now() < deadline {
            self.tree.kill();
            self.signals.wait(Some(pause));
            pause = (pause * 2).min(Duration::from_millis(100));
            if !self.reap() {
                return Ended::Killed;
            }
        }
        Ended::Survived
    }

    /// Buries what has ended; answers whether anything is left.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if u32::try_from(pid.as_raw_nonzero().get()).ok() == self.script {
                        self.status = Some(status);
                    }
                }
                Ok(None) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Writes how it ended. Places that are there cannot be full; where even that fails, the disk may come back. One that
/// does not is given up: nothing of the script is left, and whoever looks for its end finds that it was not seen.
fn say(file: &RunFile, end: &End, signals: &mut Signals, patience: Duration) {
    let deadline = Instant::now() + patience;
    while file.set_end(end).is_err() && Instant::now() < deadline {
        signals.wait(Some(patience.min(Duration::from_secs(1))));
    }
}

/// The limit on silence: standard output is the log, and its length tells.
struct Silence {
    allowed: Duration,
    every: Duration,
    length: u64,
    grown: Instant,
    look_at: Instant,
}

impl Silence {
    fn new(seconds: u32) -> Self {
        let allowed = Duration::from_secs(seconds.into());
        // A limit is kept to a tenth.
        let every = (allowed / 10).clamp(Duration::from_millis(50), Duration::from_secs(10));
        let now = Instant::now();
        Self { allowed, every, length: 0, grown: now, look_at: now + every }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        if now < self.look_at {
            return false;
        }
        self.look_at = now + self.every;
        let length = rustix::fs::fstat(io::stdout())
            .map_or(self.length, |stat| u64::try_from(stat.st_size).unwrap_or(self.length));
        if length != self.length {
            self.length = length;
            self.grown = now;
        }
        now.duration_since(self.grown) >= self.allowed
    }
}

/// Signals as bytes of two sockets, so that they can be waited for together with moments.
struct Signals {
    ends: UnixStream,
    wishes: UnixStream,
    /// A wish to end came.
    seen: bool,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let (ends, child) = UnixStream::pair()?;
        let (wishes, term) = UnixStream::pair()?;
        ends.set_nonblocking(true)?;
        wishes.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, child)?;
        signal_hook::low_level::pipe::register(SIGHUP, term.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGINT, term.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGTERM, term)?;
        Ok(Self { ends, wishes, seen: false })
    }

    /// Waits for a signal, at most so long. A wish to end is left to be seen.
    fn wait(&mut self, most: Option<Duration>) {
        let timeout = most.and_then(|most| Timespec::try_from(most).ok());
        let mut fds = [PollFd::new(&self.ends, PollFlags::IN), PollFd::new(&self.wishes, PollFlags::IN)];
        // A wish that was seen must not keep the ladder awake.
        let fds = if self.seen { &mut fds[..1] } else { &mut fds[..] };
        // Interrupted by the very signal: its byte is there.
        let _ = poll(fds, timeout.as_ref());
        let mut bytes = [0; 64];
        while self.ends.read(&mut bytes).is_ok_and(|length| length > 0) {}
    }

    fn wants_end(&mut self) -> bool {
        let mut bytes = [0; 64];
        while self.wishes.read(&mut bytes).is_ok_and(|length| length > 0) {
            self.seen = true;
        }
        self.seen
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_cannot_be_written_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.run");
        std::fs::write(&path, " ".repeat(4096)).unwrap();
        let end =
            End { cause: Cause::Exited, exit_code: Some(0), signal: None, ended: Ended::Already, at_ms: 7 };
        let mut signals = Signals::new().unwrap();
        // A file that was opened to be read takes nothing, as one on a dead disk.
        say(&RunFile::of(File::open(&path).unwrap()), &end, &mut signals, Duration::from_millis(20));
        assert_eq!(RunFile::open(&path).unwrap().end(), None);
        say(&RunFile::open(&path).unwrap(), &end, &mut signals, Duration::from_millis(20));
        assert_eq!(RunFile::open(&path).unwrap().end(), Some(end));
    }
}
