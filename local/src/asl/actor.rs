//! The task that owns one running execution.
//!
//! Everything that happens to an execution comes through its mailbox or its timers, one batch at a time: all that is
//! waiting is told to the [`Run`], the step that results is written in one transaction, and only then do effects
//! happen and callers get their answers. So a worker that is told its callback was accepted will not hear otherwise
//! after a crash, and forty jobs that end together cost one flush.
//!
//! A step that cannot be written never happened: whoever waits is told so, and the execution is taken up again from
//! its rows, exactly as after a restart.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::engine::{Engine, StatusChange};
use super::failure::Failure;
use super::integrations::{Caller, Resource};
use super::journal;
use super::run::{Callback, Closed, Effect, Ended, Run, Step};
use super::token::TaskRef;
use crate::store::StoreError;

/// What an execution can be told.
pub(crate) enum Message {
    /// A call was answered.
    Called { task: TaskRef, resource: Resource, answer: Result<Value, Failure> },
    /// A job ended.
    JobEnded { task: TaskRef, result: Result<Value, Failure> },
    /// A worker called back.
    Callback { task: TaskRef, callback: Callback, reply: oneshot::Sender<Result<(), Refusal>> },
    /// `StopExecution`.
    Stop { failure: Failure, reply: oneshot::Sender<Result<(), Refusal>> },
}

/// Why an execution did not take what it was told.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The task is closed, or the execution has ended.
    Closed,
    /// It could not be written; the caller may try again.
    NotWritten(String),
}

/// How to speak to a running execution.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) inbox: mpsc::UnboundedSender<Message>,
    pub(crate) ended: watch::Receiver<Option<Ended>>,
}

/// How long to wait before rows are read again after a step could not be written.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

type Reply = (oneshot::Sender<Result<(), Refusal>>, Result<(), Closed>);

pub(super) struct Actor {
    engine: Arc<Engine>,
    run: Run,
    inbox: mpsc::UnboundedReceiver<Message>,
    to_self: mpsc::UnboundedSender<Message>,
    ended: watch::Sender<Option<Ended>>,
    /// Calls not answered yet.
    in_flight: usize,
}

impl Actor {
    /// An actor for `run`, and the handle to it.
    pub(super) fn new(engine: Arc<Engine>, run: Run) -> (Self, Handle) {
        let (to_self, inbox) = mpsc::unbounded_channel();
        let (ended, watch) = watch::channel(None);
        let handle = Handle { inbox: to_self.clone(), ended: watch };
        (Self { engine, run, inbox, to_self, ended, in_flight: 0 }, handle)
    }

    /// Lives as long as the execution runs. `effects` are those of a step that is written already.
    pub(super) async fn live(mut self, effects: Vec<Effect>) {
        self.perform(effects);
        while self.run.ended().is_none() {
            let first = self.next().await;
            let now = self.engine.time.now();
            // What has passed unseen is known before any deadline is looked at, and the messages that waited meanwhile
            // are heard before that as well.
            self.run.pass_unseen(self.engine.time.unseen(), now);
            let mut replies = Vec::new();
            let mut late = Vec::new();
            let mut next = first;
            while let Some(message) = next {
                self.tell(message, now, &mut replies, &mut late);
                next = self.inbox.try_recv().ok();
            }
            self.run.tick(now);
            let Step { writes, effects, progress } = self.run.take_step();
            match self.write(writes, progress).await {
                Ok(()) => {
                    for (reply, result) in replies {
                        let _ = reply.send(result.map_err(|Closed| Refusal::Closed));
                    }
                    self.perform(effects);
                    self.perform(late);
                }
                Err(StoreError::Closed) => return,
                Err(error) => {
                    for (reply, _) in replies {
                        let _ = reply.send(Err(Refusal::NotWritten(error.to_string())));
                    }
                    let taken_up = self.take_up_again(&error).await;
                    // With the step, the end of their tasks may be lost; then their jobs are waited for again.
                    late.retain(
                        |effect| matches!(effect, Effect::Cancel { task, .. } if !self.run.waits_for(*task)),
                    );
                    self.perform(late);
                    if !taken_up {
                        return self.engine.forget(self.run.id);
                    }
                }
            }
        }
        self.finish();
    }

    /// The next message, or `None` when a timer is due first.
    async fn next(&mut self) -> Option<Message> {
        let Some(deadline) = self.run.next_deadline_ms() else { return self.inbox.recv().await };
        let sleep = self.engine.time.sleep_until(deadline, self.in_flight == 0, self.run.unseen_ms());
        tokio::select! {
            biased;
            message = self.inbox.recv() => message,
            () = sleep => None,
        }
    }

    fn tell(&mut self, message: Message, now: i64, replies: &mut Vec<Reply>, late: &mut Vec<Effect>) {
        match message {
            Message::Called { task, resource, answer } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                match answer {
                    // The task ended while its job was being started.
                    Ok(submission) if resource.pattern.runs_a_job() && !self.run.waits_for(task) => {
                        late.push(Effect::Cancel { task, resource, submission });
                    }
                    answer => self.run.called(task, answer, now),
                }
            }
            Message::JobEnded { task, result } => self.run.job_ended(task, result, now),
            Message::Callback { task, callback, reply } => {
                replies.push((reply, self.run.callback(task, callback, now)));
            }
            Message::Stop { failure, reply } => {
                let open = self.run.ended().is_none();
                self.run.stop(failure, now);
                replies.push((reply, if open { Ok(()) } else { Err(Closed) }));
            }
        }
    }

    async fn write(&self, writes: Vec<journal::Write>, progress: bool) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let execution = self.run.id;
        let work = move |tx: &rusqlite::Transaction<'_>| journal::apply(tx, execution, &writes);
        if progress { self.engine.store.durable(work).await } else { self.engine.store.relaxed(work).await }
    }

    /// Reads the execution from its rows until that works; `false` when there is nothing left to take up.
    async fn take_up_again(&mut self, error: &StoreError) -> bool {
        tracing::error!(
            execution = %self.run.facts.arn,
            error = error as &dyn std::error::Error,
            "a step could not be written; the execution is taken up again from disk"
        );
        loop {
            tokio::time::sleep(AFTER_FAILURE).await;
            match self.engine.load(self.run.id).await {
                Ok(Some(run)) => {
                    self.run = run;
                    let step = self.run.take_step();
                    if self.write(step.writes, true).await.is_ok() {
                        self.perform(step.effects);
                        return true;
                    }
                }
                Ok(None) | Err(StoreError::Closed) => return false,
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "still failing"),
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.perform_one(effect);
        }
    }

    fn caller(&self, task: TaskRef, resource: &Resource) -> Caller {
        Caller {
            services: self.engine.services.clone(),
            executions: self.engine.executions(),
            execution_arn: self.run.facts.arn.clone(),
            task,
            pattern: resource.pattern,
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Call { task, resource, arguments } => {
                self.in_flight += 1;
                let (caller, to_self) = (self.caller(task, &resource), self.to_self.clone());
                tokio::spawn(async move {
                    let integration = Arc::clone(&resource.integration);
                    let from = caller.clone();
                    // A task of its own, so that a service that panics fails its task rather than hanging it.
                    let answer = tokio::spawn(async move { integration.call(&from, arguments).await })
                        .await
                        .unwrap_or_else(|_| Err(Failure::runtime("The service failed while it was called")));
                    let message = Message::Called { task, resource, answer };
                    // The execution ended meanwhile: a job that was started is nobody's.
                    if let Err(mpsc::error::SendError(Message::Called {
                        resource,
                        answer: Ok(submission),
                        ..
                    })) = to_self.send(message)
                        && resource.pattern.runs_a_job()
                    {
                        resource.integration.cancel(&caller, &submission).await;
                    }
                });
            }
            Effect::Await { task, resource, submission } => {
                let (caller, to_self) = (self.caller(task, &resource), self.to_self.clone());
                tokio::spawn(async move {
                    let result = resource.integration.wait(&caller, &submission, resource.pattern).await;
                    let _ = to_self.send(Message::JobEnded { task, result });
                });
            }
            Effect::Cancel { task, resource, submission } => {
                let caller = self.caller(task, &resource);
                tokio::spawn(async move { resource.integration.cancel(&caller, &submission).await });
            }
        }
    }

    /// The end is written: whoever waits for it is told, and whoever comes too late.
    fn finish(mut self) {
        self.engine.forget(self.run.id);
        self.inbox.close();
        if let Some(ended) = self.run.ended() {
            self.engine.announce(StatusChange::of(&self.run.facts, ended.status));
            let _ = self.ended.send(Some(ended.clone()));
        }
        let mut late = Vec::new();
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Callback { reply, .. } | Message::Stop { reply, .. } => {
                    let _ = reply.send(Err(Refusal::Closed));
                }
                Message::Called { task, resource, answer: Ok(submission) }
                    if resource.pattern.runs_a_job() =>
                {
                    late.push(Effect::Cancel { task, resource, submission });
                }
                Message::Called { .. } | Message::JobEnded { .. } => {}
            }
        }
        self.perform(late);
    }
}
