//! Systems Manager Run Command, documents and instances.
//!
//! `SendCommand` records and replies at once; delivery follows (`delivery.rs`). The record is written without a disk
//! flush: what a power cut takes, the state machine that sent it sends again.
//!
//! A job request contains a task token. So the parameter `request` of `Rsqlflow-RunScript` is shown to nobody: rows
//! and replies say `[hidden]`; the delivery's own copy is erased from its row once the command has ended.
//!
//! Instances are known from the first time they attach. A command for one that is not attached now waits for it
//! until its `TimeoutSeconds` have passed.
//!
//! What is not here: targets by tag, rate control, output to S3 or CloudWatch, notifications.

mod delivery;
mod documents;
mod host;
mod instances;
mod invocation;
mod listing;
mod send;
mod shell;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::clock::Clock;
use crate::service::{AwsError, Reply, Service};
use crate::shape::parse;
use crate::store::{Store, StoreError};

pub use documents::{RUN_SCRIPT, RUN_SHELL_SCRIPT};
pub use host::{CommandHost, CommandOutcome, HostCommand, Running};

/// "Command history: 30 days" (<https://docs.aws.amazon.com/systems-manager/latest/userguide/run-command.html>).
const HISTORY_DAYS: i64 = 30;
/// Rows a sweep deletes in one transaction, so that it holds nobody up.
const SWEEP_BATCH: i64 = 500;

/// Systems Manager on this machine.
#[derive(Clone)]
pub struct Ssm {
    store: Store,
    clock: Clock,
    delivery: delivery::Delivery,
}

impl Ssm {
    /// Creates the tables and the built-in documents. `scratch` is a private directory for scripts while they run;
    /// what a killed predecessor still runs there is ended.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(store: Store, clock: Clock, scratch: PathBuf) -> Result<Self, StoreError> {
        store.migrate(invocation::TABLES).await?;
        store.migrate(documents::TABLES).await?;
        shell::end_orphans(&scratch);
        let now = clock.now();
        store.relaxed(move |tx| documents::seed(tx, now)).await?;
        let delivery = delivery::Delivery::new(store.clone(), clock.clone(), scratch);
        Ok(Self { store, clock, delivery })
    }

    /// Makes a host available under its instance id and delivers what waits for it.
    ///
    /// # Errors
    /// `ValidationException` for an instance id AWS would not have, otherwise the store's failure.
    pub async fn attach(&self, host: Arc<dyn CommandHost>) -> Result<(), AwsError> {
        let instance_id = host.instance_id().to_owned();
        self.register(&instance_id).await?;
        self.delivery.add_host(host);
        self.delivery.deliver_pending(&instance_id).await?;
        Ok(())
    }

    /// Makes an instance id known before its host attaches: commands for it wait rather than fail.
    ///
    /// # Errors
    /// As [`Ssm::attach`].
    pub async fn register(&self, instance_id: &str) -> Result<(), AwsError> {
        instances::check_id(instance_id)?;
        let (instance_id, now) = (instance_id.to_owned(), self.clock.now());
        self.store
            .relaxed(move |tx| {
                tx.execute(
                    "insert into ssm_instances values (?1, ?2, ?2)
                     on conflict (instance_id) do update set last_ping = excluded.last_ping",
                    (instance_id, now),
                )
            })
            .await?;
        Ok(())
    }

    /// Takes a host away: what it runs goes on, further commands wait for it to attach again.
    pub fn detach(&self, instance_id: &str) {
        self.delivery.remove_host(instance_id);
    }

    /// Forgets commands past their history, and the payloads of those nobody fetched in time.
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.surely();
        self.store
            .relaxed(move |tx| {
                // The row of one that runs at this moment says pending, too: leave it alone for as long as it may run.
                tx.execute(
                    "update ssm_invocations set status = 'TimedOut', details = 'DeliveryTimedOut', payload = null
                     where status = 'Pending' and deliver_until < ?1",
                    [now - (i64::try_from(shell::MAX_EXECUTION_TIMEOUT).unwrap_or(i64::MAX) * 1000)],
                )
            })
            .await?;
        loop {
            let gone = self
                .store
                .relaxed(move |tx| {
                    tx.execute(
                        "delete from ssm_commands where seq in (
                             select seq from ssm_commands where requested_at < ?1 order by seq limit ?2)",
                        (now - HISTORY_DAYS * 86_400_000, SWEEP_BATCH),
                    )
                })
                .await?;
            if gone == 0 {
                return Ok(());
            }
        }
    }

    async fn documents<T: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        body: Value,
        work: impl FnOnce(&rusqlite::Transaction<'_>, &T) -> documents::Answer<Value> + Send + 'static,
    ) -> Result<Value, AwsError> {
        let request: T = parse(body)?;
        self.store.relaxed(move |tx| work(tx, &request)).await?
    }
}

impl Service for Ssm {
    fn target_prefix(&self) -> &'static str {
        "AmazonSSM"
    }

    fn sdk_name(&self) -> &'static str {
        "ssm"
    }

    fn error_prefix(&self) -> &'static str {
        "Ssm"
    }

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        Box::pin(async move {
            let now = self.clock.now();
            match action {
                "SendCommand" => self.send_command(body).await,
                "CancelCommand" => self.cancel_command(body).await,
                "GetCommandInvocation" => self.get_command_invocation(body).await,
                "ListCommands" => self.list_commands(body).await,
                "ListCommandInvocations" => self.list_command_invocations(body).await,
                "DescribeInstanceInformation" => self.describe_instance_information(body).await,
                "CreateDocument" => self.documents(body, move |tx, it| documents::create(tx, it, now)).await,
                "UpdateDocument" => self.documents(body, move |tx, it| documents::update(tx, it, now)).await,
                "UpdateDocumentDefaultVersion" => self.documents(body, documents::set_default).await,
                "DescribeDocument" => self.documents(body, documents::describe).await,
                "GetDocument" => self.documents(body, documents::get).await,
                "DeleteDocument" => self.documents(body, documents::delete).await,
                "ListDocuments" => self.documents(body, documents::list).await,
                _ => Err(AwsError::unknown_action("Systems Manager", action)),
            }
        })
    }
}
