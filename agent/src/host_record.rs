//! The host's own entry in the table of hosts: that it is there, and how it stands.
//!
//! State machines choose hosts by it, and `rsqlflow hosts` shows it. It is renewed four times a minute and whenever an
//! operator drains the host; one that was not renewed for a minute is taken for gone. Nothing on this host depends on
//! it: where it cannot be written, jobs that name the host come all the same.
//!
//! Its key is what IAM calls this host, which STS says to everybody of themselves; no permission is needed for it. Where
//! STS is not reached, the host's id is the key, which HostPolicy of the template does not allow: a host writes its own
//! entry alone.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use rsqlflow_config::host::{self, Standing};

use crate::callback::why;
use crate::context::Context;
use crate::dispatcher::Overview;

/// How often it is renewed: a third of what it is good for, and a moment more for the call.
const EVERY: Duration = Duration::from_secs(host::ONLINE_SECONDS / 4);

/// How long STS may take to say what IAM calls this host, and how long it is not asked again.
const STS_PATIENCE: Duration = Duration::from_secs(5);
const STS_AGAIN: Duration = Duration::from_secs(60);

/// How long a host that stops takes to say so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps the entry as it should be, for as long as the agent runs.
pub(crate) async fn keep(context: &Context) {
    let mut failed = false;
    let mut asked: Option<Instant> = None;
    loop {
        if context.host_key.get().is_none() && asked.is_none_or(|asked| asked.elapsed() >= STS_AGAIN) {
            learn_key(context).await;
            asked = Some(Instant::now());
        }
        let Some(overview) = context.dispatcher.overview().await else { return };
        let standing = if overview.drained { Standing::Drained } else { Standing::Open };
        let written = write(context, standing, &overview).await;
        match &written {
            Err(error) if !failed => {
                tracing::warn!(error, "the host cannot enter itself into the table of hosts; trying on");
            }
            Ok(()) if failed => tracing::info!("the host is in the table of hosts again"),
            _ => {}
        }
        failed = written.is_err();
        tokio::select! {
            () = due() => {}
            () = context.host_changed.notified() => {}
        }
    }
}

/// Asks STS what IAM calls this host.
async fn learn_key(context: &Context) {
    let asked = tokio::time::timeout(STS_PATIENCE, context.clients.sts.get_caller_identity().send()).await;
    let error = match asked {
        Ok(Ok(identity)) => {
            let key = host::key(&context.config.instance_id, identity.user_id().unwrap_or_default());
            // Only this task sets it.
            let _ = context.host_key.set(key);
            return;
        }
        Ok(Err(error)) => why(&error),
        Err(_) => "no answer in time".into(),
    };
    tracing::warn!(
        error,
        "STS does not say what IAM calls this host (sts:GetCallerIdentity), so it enters itself by its id alone"
    );
}

/// Ready when the entry is to be renewed: after [`EVERY`], and at once after the machine slept or its clock was set, since
/// an entry's age is judged by the clock.
async fn due() {
    let (began, every) = (rsqlflow_config::time::wall(), EVERY.as_secs());
    let most = chrono::TimeDelta::seconds(i64::try_from(every).unwrap_or_default());
    for _ in 0..every {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let age = rsqlflow_config::time::wall() - began;
        if age >= most || age < chrono::TimeDelta::zero() {
            return;
        }
    }
}

/// Says that the agent stops: what is sent meanwhile goes to other hosts. Where another agent has entered the host since,
/// the host goes on with that one.
pub(crate) async fn leave(context: &Context) {
    let overview = Overview { drained: false, running: 0, queued: 0, reporting: 0, free_bytes: 0 };
    let told = tokio::time::timeout(PATIENCE, write(context, Standing::Stopped, &overview)).await;
    if let Ok(Err(error)) = told {
        tracing::debug!(error, "the table of hosts was not told");
    }
}

async fn write(context: &Context, standing: Standing, overview: &Overview) -> Result<(), String> {
    let now = rsqlflow_config::time::wall();
    let number = |number: i64| AttributeValue::N(number.to_string());
    let count = |count: usize| number(i64::try_from(count).unwrap_or(i64::MAX));
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let config = &context.config;
    let mut put = context.clients.dynamodb.put_item();
    if standing == Standing::Stopped {
        put = put
            .condition_expression("attribute_not_exists(written_by) OR written_by = :me")
            .expression_attribute_values(":me", text(&context.run_id));
    }
    if let Some(trouble) = context.undelivered.trouble() {
        put = put
            .item("cannot_report_since", text(&rsqlflow_config::time::format(trouble.since)))
            .item("cannot_report", text(&trouble.what));
    }
    put.table_name(&config.hosts_table)
        .item("instance_id", text(context.host_key.get().unwrap_or(&config.instance_id)))
        .item("host_status", text(standing.as_str()))
        .item("tags", text(&host::tags(&config.tags)))
        .item("version", text(env!("CARGO_PKG_VERSION")))
        .item("running", count(overview.running))
        .item("queued", count(overview.queued))
        .item("jobs", count(overview.running + overview.queued))
        .item("max_running_jobs", count(config.max_running_jobs))
        .item("written_by", text(&context.run_id))
        .item("seen_ts", text(&rsqlflow_config::time::format(now)))
        .item("seen_at", number(now.timestamp()))
        .item("expires_at", number(now.timestamp() + host::FORGOTTEN_SECONDS))
        .send()
        .await
        .map(|_| ())
        .map_err(|error| why(&error))
}
