//! All running executions of a process: who they are, how to reach them, and how to take them up after a restart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rusqlite::OptionalExtension as _;
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

use super::actor::{Actor, Handle};
use super::definition::Definition;
use super::failure::Failure;
use super::integrations::Executions;
use super::journal;
use super::orphan::is_orphan;
use super::payload::Payload;
use super::run::{Effect, Run};
use super::scope::ExecutionFacts;
use super::time::Time;
use super::token::TokenKey;
use crate::registry::Services;
use crate::store::{Store, StoreError};

/// An execution began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// Whose status it is.
    pub execution_arn: String,
    /// Of which state machine.
    pub state_machine_arn: String,
    /// Its name.
    pub name: String,
    /// `RUNNING`, `SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`.
    pub status: &'static str,
}

impl StatusChange {
    pub(super) fn of(facts: &ExecutionFacts, status: &'static str) -> Self {
        Self {
            execution_arn: facts.arn.clone(),
            state_machine_arn: facts.machine_arn.clone(),
            name: facts.name.clone(),
            status,
        }
    }
}

/// The running executions and what they need.
pub(crate) struct Engine {
    pub(crate) store: Store,
    pub(crate) services: Services,
    pub(crate) time: Arc<dyn Time>,
    pub(crate) key: TokenKey,
    region: String,
    next_id: AtomicI64,
    actors: Mutex<HashMap<i64, Running>>,
    /// Nothing is to begin any more.
    stopping: AtomicBool,
    definitions: Mutex<HashMap<i64, Arc<Definition>>>,
    changes: broadcast::Sender<StatusChange>,
    /// Changes whenever an execution comes to be spoken to, or is no more.
    population: watch::Sender<()>,
    executions: OnceLock<Weak<dyn Executions>>,
}

struct Running {
    handle: Handle,
    task: AbortHandle,
}

/// Status changes a slow subscriber may lag behind before it misses some.
const CHANGES: usize = 1_024;

impl Engine {
    /// Makes the tables where needed; starts nothing.
    pub(crate) async fn open(
        store: Store,
        region: String,
        services: Services,
        time: Arc<dyn Time>,
    ) -> Result<Self, StoreError> {
        store.migrate(journal::SCHEMA).await?;
        let fresh = TokenKey::random();
        let (key, last_id) = store
            .durable(move |tx| {
                tx.execute("insert or ignore into sfn_meta (name, value) values ('token_key', ?1)", [fresh])?;
                let key: Vec<u8> =
                    tx.query_row("select value from sfn_meta where name = 'token_key'", [], |row| {
                        row.get(0)
                    })?;
                let last_id: i64 =
                    tx.query_row("select coalesce(max(id), 0) from sfn_execution", [], |row| row.get(0))?;
                Ok((key, last_id))
            })
            .await?;
        Ok(Self {
            store,
            services,
            time,
            key: TokenKey::new(key),
            region,
            next_id: AtomicI64::new(last_id + 1),
            actors: Mutex::default(),
            stopping: AtomicBool::new(false),
            definitions: Mutex::default(),
            changes: broadcast::channel(CHANGES).0,
            population: watch::channel(()).0,
            executions: OnceLock::new(),
        })
    }

    /// Whom nested executions are started with.
    pub(crate) fn set_executions(&self, executions: Weak<dyn Executions>) {
        let _ = self.executions.set(executions);
    }

    pub(super) fn executions(&self) -> Weak<dyn Executions> {
        self.executions.get().cloned().unwrap_or_else(|| Weak::<crate::stepfunctions::StepFunctions>::new())
    }

    /// Status changes from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<StatusChange> {
        self.changes.subscribe()
    }

    /// Tells when executions begin, are taken up, or end.
    pub(crate) fn population(&self) -> watch::Receiver<()> {
        self.population.subscribe()
    }

    pub(super) fn announce(&self, change: StatusChange) {
        tracing::info!(execution = %change.execution_arn, status = change.status, "execution");
        // Nobody needs to listen.
        let _ = self.changes.send(change);
    }

    /// A new execution, begun but not written: its first step is in it.
    pub(crate) fn begin(&self, facts: ExecutionFacts, definition: Arc<Definition>) -> Run {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let now = facts.started_ms;
        let mut run = Run::new(id, facts, definition, self.key.clone(), self.region.clone());
        run.begin(now, self.time.unseen());
        run
    }

    /// Lets a written run live.
    pub(crate) fn adopt(self: &Arc<Self>, run: Run, effects: Vec<Effect>) {
        self.announce(StatusChange::of(&run.facts, "RUNNING"));
        self.live(run, effects);
    }

    fn live(self: &Arc<Self>, run: Run, effects: Vec<Effect>) {
        let id = run.id;
        let (actor, handle) = Actor::new(Arc::clone(self), run);
        let mut actors = self.actors();
        if self.stopping.load(Ordering::Relaxed) {
            return;
        }
        let task = tokio::spawn(actor.live(effects)).abort_handle();
        actors.insert(id, Running { handle, task });
        drop(actors);
        self.population.send_replace(());
    }

    /// Lets go of every execution, as the end of the process would. They are taken up again from disk.
    pub(crate) fn shut_down(&self) {
        let mut actors = self.actors();
        self.stopping.store(true, Ordering::Relaxed);
        for (_, running) in actors.drain() {
            running.task.abort();
        }
    }

    pub(crate) fn handle(&self, id: i64) -> Option<Handle> {
        self.actors().get(&id).map(|running| running.handle.clone())
    }

    pub(super) fn forget(&self, id: i64) {
        self.actors().remove(&id);
        self.population.send_replace(());
    }

    fn actors(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Running>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up every execution that was running; gives how many. One that cannot be taken up is left for next time,
    /// and keeps no other from it.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<usize, StoreError> {
        let running: Vec<i64> = self
            .store
            .read(|tx| {
                let mut rows =
                    tx.prepare("select id from sfn_execution where status = 'RUNNING' order by id")?;
                rows.query_map([], |row| row.get(0))?.collect()
            })
            .await?;
        let mut taken_up = 0;
        for id in running {
            if self.handle(id).is_some() {
                continue;
            }
            match self.take_up(id).await {
                Ok(true) => taken_up += 1,
                Ok(false) => {}
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => tracing::error!(
                    execution = id,
                    error = &error as &dyn std::error::Error,
                    "an execution cannot be taken up"
                ),
            }
        }
        Ok(taken_up)
    }

    /// Takes up one execution; `false` when there is nothing to take up. A nested one is taken up after its parent,
    /// whose number is lower, and so learns whether the parent still waits before it calls anything.
    async fn take_up(self: &Arc<Self>, id: i64) -> Result<bool, StoreError> {
        let Some(mut run) = self.load(id).await? else { return Ok(false) };
        if self.store.read(move |tx| is_orphan(tx, id)).await? {
            let cause = "The parent execution no longer waits".to_owned();
            run.stop(Failure { error: None, cause: Some(cause) }, self.time.now());
        }
        let step = run.take_step();
        self.store.durable(move |tx| journal::apply(tx, id, &step.writes)).await?;
        self.live(run, step.effects);
        Ok(true)
    }

    /// Reads a running execution and finds out what to do next; `None` when there is no such execution.
    pub(super) async fn load(&self, id: i64) -> Result<Option<Run>, StoreError> {
        struct Row {
            facts: ExecutionFacts,
            definition: i64,
            text: String,
        }
        let row = self
            .store
            .read(move |tx| {
                tx.query_row(
                    "select e.arn, e.name, e.role_arn, e.started_ms, e.input, e.machine_arn, d.id, d.body
                     from sfn_execution e join sfn_definition d on d.id = e.definition
                     where e.id = ?1 and e.status = 'RUNNING'",
                    [id],
                    |row| {
                        let input: String = row.get(4)?;
                        let machine_arn: String = row.get(5)?;
                        Ok(Row {
                            facts: ExecutionFacts {
                                arn: row.get(0)?,
                                name: row.get(1)?,
                                role_arn: row.get(2)?,
                                started_ms: row.get(3)?,
                                input: Payload::parse(&input)
                                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?,
                                machine_name: machine_arn.rsplit(':').next().unwrap_or_default().to_owned(),
                                machine_arn,
                            },
                            definition: row.get(6)?,
                            text: row.get(7)?,
                        })
                    },
                )
                .optional()
            })
            .await?;
        let Some(Row { facts, definition, text }) = row else { return Ok(None) };
        let definition = match self.definition(definition, &text) {
            Ok(definition) => definition,
            Err(why) => {
                // Written by another version of this program. It stays as it is rather than being lost.
                tracing::error!(execution = %facts.arn, why, "the definition cannot be read; the execution is left alone");
                return Ok(None);
            }
        };
        let (key, region) = (self.key.clone(), self.region.clone());
        let (now, unseen) = (self.time.now(), self.time.unseen());
        let run = Run::new(id, facts, definition, key, region);
        let mut run = self
            .store
            .read(move |tx| {
                let mut run = run;
                run.load(tx)?;
                Ok(run)
            })
            .await?;
        run.resume(now, unseen);
        Ok(Some(run))
    }

    /// The checked form of definition row `id`, whose text is `text`.
    pub(crate) fn definition(&self, id: i64, text: &str) -> Result<Arc<Definition>, String> {
        let mut known = self.definitions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(definition) = known.get(&id) {
            return Ok(Arc::clone(definition));
        }
        let definition = Definition::read(text)
            .map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))?;
        let definition = Arc::new(definition);
        known.insert(id, Arc::clone(&definition));
        Ok(definition)
    }
}
