//! Delivery: from a pending invocation to its recorded end.
//!
//! At least once. The payload stays in the row until the invocation's end is written; what is pending when a host
//! attaches (after a restart, for instance) is delivered then. Who runs now is known only here, in memory, because a
//! run ends with this process: that saves a write per command and cannot be wrong after a crash.
//!
//! Ends are written without a disk flush: after a power cut the command is delivered again, which at-least-once
//! allows, and hosts that mind (the agent) recognise what they have already accepted.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::clock::{Clock, Millis};
use crate::store::{Store, StoreError};

use super::documents::RUN_SHELL_SCRIPT;
use super::host::{CommandHost, CommandOutcome, HostCommand};
use super::invocation::{STDERR_LIMIT, STDOUT_LIMIT, Status};
use super::shell;

/// "CommandWorkersLimit: default 5" (<https://github.com/aws/amazon-ssm-agent>): the agent runs that many at a time.
const SHELL_WORKERS: usize = 5;

/// One instance's part of a command: the key of its row.
pub(super) type Key = (i64, String);

/// Hosts and what they run.
#[derive(Clone)]
pub(super) struct Delivery {
    store: Store,
    clock: Clock,
    scratch: PathBuf,
    shell_workers: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    hosts: HashMap<String, Arc<dyn CommandHost>>,
    running: HashMap<Key, Run>,
}

struct Run {
    started_at: Millis,
    /// Taken by whoever cancels.
    cancel: Option<oneshot::Sender<()>>,
}

/// Everything a delivery needs.
pub(super) struct Parcel {
    pub(super) key: Key,
    pub(super) command: HostCommand,
}

impl Parcel {
    pub(super) fn new(
        key: Key,
        command_id: String,
        document: String,
        parameters: BTreeMap<String, Vec<String>>,
    ) -> Self {
        let timeout = shell::execution_timeout(&parameters);
        Self { key, command: HostCommand { command_id, document, parameters, timeout } }
    }
}

impl Delivery {
    pub(super) fn new(store: Store, clock: Clock, scratch: PathBuf) -> Self {
        let shell_workers = Arc::new(Semaphore::new(SHELL_WORKERS));
        Self { store, clock, scratch, shell_workers, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_attached(&self, instance_id: &str) -> bool {
        self.state().hosts.contains_key(instance_id)
    }

    pub(super) fn add_host(&self, host: Arc<dyn CommandHost>) {
        self.state().hosts.insert(host.instance_id().to_owned(), host);
    }

    pub(super) fn remove_host(&self, instance_id: &str) {
        self.state().hosts.remove(instance_id);
    }

    /// When the invocation's run began, if it is running now.
    pub(super) fn started_at(&self, key: &Key) -> Option<Millis> {
        self.state().running.get(key).map(|run| run.started_at)
    }

    /// Cancels a run; false when nothing of it runs.
    pub(super) fn cancel(&self, key: &Key) -> bool {
        let cancel = self.state().running.get_mut(key).and_then(|run| run.cancel.take());
        cancel.is_some_and(|cancel| cancel.send(()).is_ok())
    }

    /// Delivers what waits for the instance and has not waited too long.
    pub(super) async fn deliver_pending(&self, instance_id: &str) -> Result<(), StoreError> {
        let (instance, now) = (instance_id.to_owned(), self.clock.now());
        let parcels = self
            .store
            .read(move |tx| {
                tx.prepare_cached(
                    "select i.seq, c.command_id, c.document, i.payload
                     from ssm_invocations i join ssm_commands c on c.seq = i.seq
                     where i.instance_id = ?1 and i.status = 'Pending' and i.deliver_until > ?2
                     order by i.seq",
                )?
                .query_map((&instance, now), |row| {
                    let payload: Option<String> = row.get(3)?;
                    let parameters =
                        payload.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
                    Ok(Parcel::new((row.get(0)?, instance.clone()), row.get(1)?, row.get(2)?, parameters))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        for parcel in parcels {
            self.deliver(parcel);
        }
        Ok(())
    }

    /// Hands the parcel to its host, if that is attached and does not have it already.
    pub(super) fn deliver(&self, parcel: Parcel) {
        let mut state = self.state();
        let Some(host) = state.hosts.get(&parcel.key.1).cloned() else { return };
        if state.running.contains_key(&parcel.key) {
            return;
        }
        let (cancel, cancelled) = oneshot::channel();
        let started_at = self.clock.now();
        state.running.insert(parcel.key.clone(), Run { started_at, cancel: Some(cancel) });
        drop(state);
        let delivery = self.clone();
        tokio::spawn(async move {
            let key = parcel.key.clone();
            let (status, outcome) = delivery.run(host, parcel.command, cancelled).await;
            if let Err(error) = delivery.finish(&key, started_at, status, outcome).await {
                // The row stays pending, so the command comes again when the host attaches next.
                tracing::warn!(error = &error as &dyn std::error::Error, "a command's end was not recorded");
            }
            delivery.state().running.remove(&key);
        });
    }

    async fn run(
        &self,
        host: Arc<dyn CommandHost>,
        command: HostCommand,
        cancelled: oneshot::Receiver<()>,
    ) -> (Status, CommandOutcome) {
        let limit = command.timeout;
        tracing::debug!(command_id = command.command_id, document = command.document, "command delivered");
        let run = async {
            if command.document == RUN_SHELL_SCRIPT {
                // The semaphore is never closed, so there is always a permit in the end.
                let _permit = self.shell_workers.acquire().await;
                tokio::time::timeout(limit, shell::run(&self.scratch, &command)).await
            } else {
                tokio::time::timeout(limit, host.run(command)).await
            }
        };
        tokio::select! {
            biased;
            Ok(()) = cancelled => (Status::Cancelled, ended_by_us("the command was cancelled")),
            ended = run => match ended {
                Ok(outcome) if outcome.response_code == 0 => (Status::Success, outcome),
                Ok(outcome) => (Status::Failed, outcome),
                Err(_) => (Status::ExecutionTimedOut, ended_by_us(&out_of_time(limit))),
            },
        }
    }

    async fn finish(
        &self,
        (seq, instance_id): &Key,
        started_at: Millis,
        status: Status,
        outcome: CommandOutcome,
    ) -> Result<(), StoreError> {
        let (seq, instance_id, ended_at) = (*seq, instance_id.clone(), self.clock.now());
        self.store
            .relaxed(move |tx| {
                tx.prepare_cached(
                    "update ssm_invocations set status = ?3, details = ?4, payload = null, response_code = ?5,
                         stdout = ?6, stderr = ?7, started_at = ?8, ended_at = ?9
                     where seq = ?1 and instance_id = ?2 and status = 'Pending'",
                )?
                .execute((
                    seq,
                    instance_id,
                    status.name(),
                    status.details(),
                    outcome.response_code,
                    beginning(outcome.stdout, STDOUT_LIMIT),
                    beginning(outcome.stderr, STDERR_LIMIT),
                    started_at,
                    ended_at,
                ))
            })
            .await?;
        Ok(())
    }
}

fn ended_by_us(why: &str) -> CommandOutcome {
    CommandOutcome { response_code: -1, stdout: String::new(), stderr: why.to_owned() }
}

fn out_of_time(limit: Duration) -> String {
    format!("the command was killed after {} s", limit.as_secs())
}

fn beginning(mut text: String, characters: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
    }
    text
}
