//! What the agent tells the service manager that started it: ready, how it stands, stopping, and that it still works.
//!
//! The protocol is systemd's: a datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>). Without that variable nothing is said,
//! and a message that cannot be sent is not an error: the manager has its own time limits.
//!
//! The watchdog is fed only when the agent has just answered a ping ([`crate::Agent::ping`]), so that a stuck runtime, a
//! stuck dispatcher or a stuck journal thread stops the feeding and the manager starts a new agent, which adopts what
//! runs. An agent that answers with a failure, such as a full disk, works as well as one can there and is fed.
//!
//! Written by hand, since it is one `sendto`: the crate `sd-notify` reads the socket from the process environment
//! alone, which tests cannot set without unsafe code, and does not know the abstract addresses that containers use.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Pings per watchdog period. The manual asks for two; with three, one lost beat is none lost.
const BEATS: u32 = 3;

/// The way to the service manager.
#[derive(Debug)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the manager told this process in its environment.
    pub fn from_environment() -> Self {
        Self::new(|name| std::env::var_os(name))
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let number = |name: &str| variable(name)?.to_str()?.trim().parse::<u64>().ok();
        let socket = variable("NOTIFY_SOCKET").filter(|told| !told.is_empty()).and_then(|told| {
            open(&told)
                .inspect_err(|error| tracing::warn!(%error, "the service manager's socket cannot be used"))
                .ok()
        });
        // The variables are inherited; the watchdog is meant for one process only.
        let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC")
            .filter(|period| meant && socket.is_some() && *period > 0)
            .map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// Start-up is finished: what was journalled is taken up, and the socket listens.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The agent is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Feeds the watchdog for ever, each time `ping` has answered in time. `ping` answers how many jobs are not settled,
    /// or nothing when a part of the agent is dead. Without a watchdog there is nothing to do, for ever too.
    pub async fn feed(&self, ping: impl AsyncFn() -> Option<usize>) -> Infallible {
        let Some(watchdog) = self.watchdog else { return std::future::pending().await };
        let mut beat = tokio::time::interval(watchdog / BEATS);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            match tokio::time::timeout(watchdog / BEATS, ping()).await {
                Ok(Some(jobs)) => {
                    let jobs = if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") };
                    self.send(&format!("WATCHDOG=1\nSTATUS={jobs} not settled"));
                }
                Ok(None) => tracing::error!("a part of the agent has ended; the watchdog is not fed"),
                Err(_) => tracing::error!("the agent does not answer itself; the watchdog is not fed"),
            }
        }
    }

    fn send(&self, message: &str) {
        let Some((socket, manager)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), manager) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

fn open(told: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match told.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(told)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not stop the agent.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A manager at `address` with a watchdog of `watchdog`, and a notifier of its.
    fn manager(dir: &tempfile::TempDir, watchdog: &str, pid: &str) -> (UnixDatagram, Notify) {
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (watchdog, pid) = (watchdog.to_owned(), pid.to_owned());
        let notify = Notify::new(|name| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into()),
            "WATCHDOG_USEC" => Some(watchdog.clone().into()),
            "WATCHDOG_PID" => Some(pid.clone().into()),
            _ => None,
        });
        (manager, notify)
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn the_manager_hears_of_start_and_stop() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, notify) = manager(&dir, "", "");
        notify.ready("listening\nREADY=0");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=listening READY=0");
        notify.stopping();
        assert!(heard(&manager).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn an_abstract_address_is_understood() {
        let name = format!("rsqlflow-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notify = Notify::new(|variable| (variable == "NOTIFY_SOCKET").then(|| format!("@{name}").into()));
        notify.ready("here");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=here");
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        for told in ["", "/nowhere/at/all"] {
            let notify = Notify::new(|variable| (variable == "NOTIFY_SOCKET").then(|| told.into()));
            notify.ready("nobody hears it");
            assert_eq!(notify.watchdog, None);
        }
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(manager(&dir, "1000000", "1").1.watchdog, None);
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id().to_string();
        assert_eq!(manager(&dir, "1000000", &own).1.watchdog, Some(Duration::from_secs(1)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_answers_is_fed() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, notify) = manager(&dir, "30000", "");
        let heard = tokio::task::spawn_blocking(move || (heard(&manager), heard(&manager)));
        tokio::select! {
            heard = heard => {
                let message = "WATCHDOG=1\nSTATUS=1 job not settled".to_owned();
                assert_eq!(heard.unwrap(), (message.clone(), message));
            }
            never = notify.feed(async || Some(1)) => match never {},
        }
    }

    #[tokio::test]
    async fn who_is_stuck_or_dead_is_not_fed() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, notify) = manager(&dir, "30000", "");
        let (pings, enough) = (AtomicUsize::new(0), tokio::sync::Notify::new());
        let ping = async || match pings.fetch_add(1, Ordering::Relaxed) {
            0 | 2 => None,
            1 => std::future::pending().await,
            _ => {
                enough.notify_one();
                std::future::pending().await
            }
        };
        tokio::select! {
            () = enough.notified() => {}
            never = notify.feed(ping) => match never {},
        }
        manager.set_nonblocking(true).unwrap();
        assert_eq!(manager.recv(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
