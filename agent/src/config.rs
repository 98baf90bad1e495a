//! What an agent needs to be told, and the AWS clients it works with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sfn::config::retry::RetryConfig;
use aws_sdk_sfn::config::timeout::TimeoutConfig;
use rsqlflow_config::names::ParameterNames;
use rsqlflow_config::settings::Settings;

use crate::calls::CountFailures;
use crate::metrics::{Metrics, Service};
use crate::secret_rules::SecretRules;
use crate::undelivered::Undelivered;

/// Longest wait for one answer of AWS before the call counts as failed and is made again.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What an agent needs to be told.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The host's id, as it stands in audit records.
    pub instance_id: String,
    /// Directory of the journal, the job logs and the socket. One agent at a time works in it.
    pub data_dir: PathBuf,
    /// Where the agent listens; `agent.sock` in the data directory unless told.
    pub socket: Option<PathBuf>,
    /// Directory of the scripts.
    pub scripts_dir: PathBuf,
    /// Whether scripts that others could have written are refused.
    pub strict_modes: bool,
    /// Which secrets a workflow may use.
    pub secrets: SecretRules,
    /// The program that supervises an attempt.
    pub supervisor: PathBuf,
    /// Name of the job audit table.
    pub job_audit_table: String,
    /// Name of the table that hosts enter themselves into; empty for none.
    pub hosts_table: String,
    /// The host's tags, separated by blanks.
    pub tags: String,
    /// Days after which its records may be removed; 0 for never.
    pub audit_days: u32,
    /// CloudWatch Logs group of the jobs' output.
    pub log_group: String,
    /// Time between TERM and KILL.
    pub grace: Duration,
    /// Bytes of one attempt's output that are shipped; 0 for all of it.
    pub log_limit_bytes: u64,
    /// How long the files of settled jobs are kept.
    pub log_retention: Duration,
    /// Bytes of local log files of settled jobs that are kept; 0 for no limit.
    pub log_retention_bytes: u64,
    /// Most jobs that run at once; 0 for no limit.
    pub max_running_jobs: usize,
    /// Most jobs that run at once in each resource pool.
    pub pools: BTreeMap<String, usize>,
    /// Bytes that have to be free on the data directory's disk for a job to be taken.
    pub min_free_bytes: u64,
    /// Directories in which scripts find programs, separated by `:`.
    pub path: String,
    /// More environment variables for every script.
    pub environment: BTreeMap<String, String>,
    /// What parameters may be called.
    pub parameter_names: ParameterNames,
    /// Loopback address of the metrics and health pages; none without one.
    pub listen: Option<SocketAddr>,
}

impl AgentConfig {
    /// The settings' view of an agent. The directory of the running program comes first on the scripts' path, so that
    /// scripts find the `rsql` and `rsqlflow-agent` that belong to it.
    pub fn from_settings(settings: &Settings, data_dir: PathBuf) -> Self {
        let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
        let path = match &own {
            Some(own) => format!("{}:{}", own.display(), settings.agent.path),
            None => settings.agent.path.clone(),
        };
        let supervisor = own.unwrap_or_default().join("rsqlflow-supervisor");
        let mebibytes = |count: u64| count.saturating_mul(1024 * 1024);
        // Counts that settings allow fit.
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            instance_id: settings.host.clone(),
            data_dir,
            socket: None,
            scripts_dir: settings.scripts_dir.clone(),
            supervisor,
            job_audit_table: settings.tables.job_audit.clone(),
            hosts_table: settings.tables.hosts.clone(),
            tags: settings.agent.tags.clone(),
            audit_days: settings.audit_days,
            log_group: settings.log_group.clone(),
            grace: Duration::from_secs(settings.agent.grace_seconds.into()),
            log_limit_bytes: settings.agent.log_limit_bytes,
            log_retention: Duration::from_secs(u64::from(settings.agent.log_retention_days) * 24 * 60 * 60),
            log_retention_bytes: mebibytes(settings.agent.log_retention_mib),
            max_running_jobs: count(settings.agent.max_running_jobs),
            pools: settings.agent.pools.iter().map(|(name, limit)| (name.clone(), count(*limit))).collect(),
            min_free_bytes: mebibytes(settings.agent.min_free_mib),
            strict_modes: settings.agent.strict_modes,
            secrets: SecretRules::from_settings(settings),
            path,
            environment: settings.agent.environment.clone(),
            parameter_names: settings.parameter_names(),
            listen: settings.agent.listen_address(),
        }
    }

    /// The socket's path.
    pub fn socket_path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data_dir.join(crate::socket::FILE_NAME))
    }
}

/// The AWS clients of an agent.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Step Functions: callbacks and heartbeats.
    pub sfn: aws_sdk_sfn::Client,
    /// DynamoDB: audit records.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// CloudWatch Logs.
    pub logs: aws_sdk_cloudwatchlogs::Client,
    /// Secrets Manager: warehouse credentials.
    pub secrets: aws_sdk_secretsmanager::Client,
    /// STS: what IAM calls this host.
    pub sts: aws_sdk_sts::Client,
}

impl Clients {
    /// All of them from one shared configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self {
            sfn: aws_sdk_sfn::Client::new(config),
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            logs: aws_sdk_cloudwatchlogs::Client::new(config),
            secrets: aws_sdk_secretsmanager::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
        }
    }

    /// The same clients, each call tried once and for a limited time: the agent repeats calls itself, for longer than
    /// the SDK would, and two layers of retries multiply. Those that fail are counted.
    pub(crate) fn single_attempts(&self, metrics: &Arc<Metrics>, undelivered: &Arc<Undelivered>) -> Self {
        let retry = RetryConfig::disabled();
        let timeout = TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT).build();
        macro_rules! single {
            ($service:ident, $client:expr, $counted:expr) => {
                $service::Client::from_conf(
                    $client
                        .config()
                        .to_builder()
                        .retry_config(retry.clone())
                        .timeout_config(timeout.clone())
                        .interceptor(CountFailures::new($counted, metrics, undelivered))
                        .build(),
                )
            };
        }
        Self {
            sfn: single!(aws_sdk_sfn, self.sfn, Service::StepFunctions),
            dynamodb: single!(aws_sdk_dynamodb, self.dynamodb, Service::DynamoDb),
            logs: single!(aws_sdk_cloudwatchlogs, self.logs, Service::Logs),
            secrets: single!(aws_sdk_secretsmanager, self.secrets, Service::SecretsManager),
            // Asked once, and nothing waits for it.
            sts: self.sts.clone(),
        }
    }
}
