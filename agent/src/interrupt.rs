//! Why a job must not go on, and where that comes from.

use rsqlflow_config::job::JobError;
use rsqlflow_supervisor::run_file::Stop;
use tokio::sync::watch;

use crate::outcome::AttemptEnd;

/// Why a job must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Nobody waits for it any more.
    Gone,
    /// An operator ended it.
    Killed,
    /// The agent stops and ends its scripts with itself.
    Stopping,
    /// The agent stops; its scripts go on.
    Leaving,
}

impl Interrupt {
    /// What the supervisor of a running script is told; nothing where the script goes on.
    pub(crate) fn stop(self) -> Option<Stop> {
        match self {
            Self::Gone => Some(Stop::Gone),
            Self::Killed => Some(Stop::Killed),
            Self::Stopping => Some(Stop::Stopping),
            Self::Leaving => None,
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Gone => "nobody waits for the job any more: its run was stopped, or its task timed out",
            Self::Killed => "an operator ended it with rsqlflow-agent kill",
            Self::Stopping | Self::Leaving => "the agent was stopped before the script had ended",
        }
    }

    /// How a job ends whose script does not run; `None` where it waits for the next start of the agent.
    pub(crate) fn end(self) -> Option<AttemptEnd> {
        let error = match self {
            Self::Gone => JobError::Cancelled,
            Self::Killed => JobError::Killed,
            Self::Stopping | Self::Leaving => return None,
        };
        Some(AttemptEnd::without_process(error, self.message()))
    }
}

/// Where interrupts of one job come from.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts {
    /// Its own: the answer to a heartbeat, or an operator's word.
    pub job: watch::Receiver<Option<Interrupt>>,
    /// The agent's stop.
    pub stop: watch::Receiver<Option<Interrupt>>,
}

impl Interrupts {
    /// For what must end in any case.
    pub(crate) fn always(interrupt: Interrupt, stop: watch::Receiver<Option<Interrupt>>) -> Self {
        Self { job: watch::Sender::new(Some(interrupt)).subscribe(), stop }
    }

    pub(crate) async fn next(&mut self) -> Interrupt {
        tokio::select! {
            biased;
            interrupt = set(&mut self.job) => interrupt,
            interrupt = set(&mut self.stop) => interrupt,
        }
    }

    /// Ready once the agent stops without its scripts.
    pub(crate) async fn left(&mut self) {
        loop {
            if set(&mut self.stop).await == Interrupt::Leaving {
                return;
            }
            if self.stop.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(crate) fn now(&self) -> Option<Interrupt> {
        self.job.borrow().or(*self.stop.borrow())
    }
}

async fn set(flag: &mut watch::Receiver<Option<Interrupt>>) -> Interrupt {
    let seen = flag.wait_for(Option::is_some).await.ok().and_then(|interrupt| *interrupt);
    match seen {
        Some(interrupt) => interrupt,
        // Nobody can set it any more.
        None => std::future::pending().await,
    }
}
