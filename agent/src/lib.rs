//! The daemon on the host that runs scripts.
//!
//! A job request comes over a Unix socket (`rsqlflow-agent submit`, which a Systems Manager command runs) or from
//! whoever embeds an [`Agent`]. It is on disk before it is accepted. The script then runs under a supervisor of its own,
//! which outlives the agent; Step Functions hears heartbeats, CloudWatch Logs gets what is printed, DynamoDB the audit
//! record; and when the script has ended, that is on disk before anyone is told. An agent that starts takes up
//! everything an earlier one left, running scripts included.
//!
//! | part | job |
//! | --- | --- |
//! | `dispatcher` | the one owner of the truth: an actor that writes the journal |
//! | `journal` | what is known after any end of the process |
//! | `job` | one job from wherever it is to settled; the outbox |
//! | `attempt`, `script` | one start of a script under a supervisor (`rsqlflow_supervisor`) |
//! | `interrupt` | why a job must not go on |
//! | `job_file`, `reconcile` | what of a job survives the loss of the journal, and how an agent takes it up |
//! | `started` | which attempts were started in this boot, whatever became of the disk |
//! | `callback`, `audit`, `logs` | whom a job is told to |
//! | `classify` | which answers of AWS are final |
//! | [`metrics`], `calls`, `http` | what is counted, and how the agent is, for who watches it |
//! | `undelivered`, `host_record` | what AWS does not take, and where operators see it |
//! | `secrets`, `redact` | credentials for scripts, and how they stay out of what leaves the host |
//! | `secret_rules` | which secrets a workflow may use |
//! | [`protocol`], `socket`, [`client`], `asker` | the Unix socket, and whose script is at its other end |
//! | `notify` | what the service manager hears, and the watchdog |
//! | `retention` | how long the files of settled jobs are kept |
//! | `salvage` | whom to tell that a request is not one |
//!
//! The agent speaks to AWS through the SDK clients it is given and knows nothing of what answers them.

mod agent;
mod asker;
mod attempt;
mod audit;
mod callback;
mod calls;
mod classify;
pub mod client;
mod config;
mod context;
mod dispatcher;
mod handed_out;
mod host_record;
mod http;
mod interrupt;
mod job;
mod job_file;
mod journal;
mod library;
mod logs;
mod message;
pub mod metrics;
mod notify;
mod outcome;
pub mod protocol;
mod queue;
mod reconcile;
mod redact;
mod retention;
mod salvage;
mod script;
mod secret_rules;
mod secrets;
mod socket;
mod started;
mod undelivered;

pub use agent::{Agent, Scripts, StartError, Stats};
pub use config::{AgentConfig, Clients};
pub use dispatcher::{KillError, SubmitError};
pub use journal::VERSION as JOURNAL_VERSION;
pub use notify::Notify;
pub use protocol::{Accepted, JobInfo};
pub use script::{Trusted, script_problem, scripts_dir_problem};
pub use secret_rules::SecretRules;
pub use secrets::secret_problem;
pub use socket::FILE_NAME as SOCKET_FILE_NAME;
