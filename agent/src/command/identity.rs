//! Which host this is: the id that audit records, the table of hosts and workflows' `host` have.
//!
//! An EC2 instance knows its own id: its metadata service says it. So nothing has to be written into a settings file, and
//! a file that was copied from another host, or that `rsqlflow init` has written, cannot make two hosts of one id. The
//! setting `host` is the host of workflows that name none; where a machine has no metadata it is the agent's own id as
//! well, as it always was, with a warning where the backend is AWS: another host may have the same file.
//! `agent.instance_id` is for machines that Systems Manager knows by another id (`mi-...`).

use std::time::{Duration, Instant};

use aws_config::imds::Client;
use aws_config::provider_config::ProviderConfig;
use rsqlflow_config::names::instance_id_problem;
use rsqlflow_config::settings::{Backend, LOCAL_HOST, Settings};

/// Longest wait for the metadata service, which is on the instance's own machine; elsewhere nothing answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tries within that: the service may be busy.
const TRIES: u32 = 2;

/// How long an agent that starts goes on asking: while a host boots, its network may come later. Its id stays until it
/// ends.
pub(crate) const AT_START: Duration = Duration::from_secs(9);

/// The pause between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// This host's id, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The id.
    pub(crate) id: String,
    /// For people.
    pub(crate) origin: &'static str,
    /// What people should know of it.
    pub(crate) remark: Option<Remark>,
}

/// Settings and machine say different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remark {
    /// `host` is another host than this one: nothing is wrong with that.
    OtherDefault(String),
    /// `agent.instance_id` is another instance than this one.
    OtherInstance(String),
    /// Nothing says which host this is; its id is that of the host of workflows that name none.
    Unknown,
}

impl Remark {
    /// In a sentence.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::OtherDefault(host) => {
                format!("the setting host is {host}, which is the host of workflows that name none")
            }
            Self::OtherInstance(own) => format!("agent.instance_id says so, and this instance is {own}"),
            Self::Unknown => {
                "the instance's metadata do not answer and agent.instance_id is not set: other hosts may have this id too"
                    .into()
            }
        }
    }

    /// What to do, where something is to be done.
    pub(crate) fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::OtherDefault(_) => None,
            Self::OtherInstance(_) => {
                Some("remove agent.instance_id from the settings: two hosts of one id get each other's jobs")
            }
            Self::Unknown => Some(
                "set agent.instance_id to this machine's id in Systems Manager: audit records and the workflows' hosts \
                 go by it, and two hosts of one id get each other's jobs",
            ),
        }
    }
}

/// Asks the settings and the machine; the machine for as long as `patience` says where nothing else knows, and once in any
/// case.
pub(crate) async fn identity(settings: &Settings, patience: Duration) -> Identity {
    let patience = if settings.agent.instance_id.is_empty() { patience } else { Duration::ZERO };
    let own = if settings.backend == Backend::Aws { metadata(patience).await } else { None };
    decided(settings, own)
}

fn decided(settings: &Settings, own: Option<String>) -> Identity {
    let (named, host) = (&settings.agent.instance_id, &settings.host);
    if !named.is_empty() {
        // An instance that was registered by hand has both kinds of id.
        let other = own.filter(|own| own != named && !named.starts_with("mi-"));
        let remark = other.map(Remark::OtherInstance);
        return Identity { id: named.clone(), origin: "agent.instance_id", remark };
    }
    if let Some(id) = own {
        let unset = host.is_empty() || host == LOCAL_HOST;
        let remark = (!unset && *host != id).then(|| Remark::OtherDefault(host.clone()));
        return Identity { id, origin: "the instance's metadata", remark };
    }
    let id = if host.is_empty() { LOCAL_HOST.into() } else { host.clone() };
    let unknown = (settings.backend == Backend::Aws).then_some(Remark::Unknown);
    Identity { id, origin: "the setting host", remark: unknown }
}

/// The instance's id, where this is one whose metadata can be asked.
async fn metadata(patience: Duration) -> Option<String> {
    // As the SDK reads it.
    let disabled = std::env::var("AWS_EC2_METADATA_DISABLED");
    if disabled.is_ok_and(|set| set.eq_ignore_ascii_case("true")) {
        return None;
    }
    let http = aws_smithy_http_client::Builder::new().build_http();
    let client = Client::builder()
        .configure(&ProviderConfig::without_region().with_http_client(http))
        .connect_timeout(PATIENCE / TRIES)
        .read_timeout(PATIENCE / TRIES)
        .operation_timeout(PATIENCE)
        .max_attempts(TRIES)
        .build();
    let began = Instant::now();
    loop {
        let own = instance_id(&client).await;
        if own.is_some() || began.elapsed() >= patience {
            return own;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn instance_id(client: &Client) -> Option<String> {
    let asked = tokio::time::timeout(PATIENCE, client.get("/latest/meta-data/instance-id")).await;
    let id = String::from(asked.ok()?.ok()?);
    // Something else may answer at that address.
    instance_id_problem(&id).is_none().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rsqlflow.toml"), toml).unwrap();
        Settings::load(None, dir.path(), []).unwrap()
    }

    #[test]
    fn an_instance_is_what_its_metadata_says_whatever_the_file_names_as_default() {
        let own = || Some("i-0123456789abcdef0".to_string());
        let told: Vec<String> = [
            ("backend = 'aws'", own()),
            ("backend = 'aws'\nhost = 'i-0123456789abcdef0'", own()),
            ("backend = 'aws'\nhost = 'i-0fedcba9876543210'", own()),
            ("backend = 'aws'\n[agent]\ninstance_id = 'i-0fedcba9876543210'", own()),
            ("backend = 'aws'\n[agent]\ninstance_id = 'mi-0fedcba9876543210'", own()),
            ("backend = 'aws'\nhost = 'i-0fedcba9876543210'\n[agent]\ninstance_id = 'mi-0fedcba9876543210'", None),
            ("backend = 'aws'\nhost = 'i-0fedcba9876543210'", None),
            ("backend = 'aws'", None),
            ("backend = 'aws'\nhost = ''", None),
            ("", None),
        ]
        .into_iter()
        .map(|(toml, own)| {
            let known = if own.is_some() { "metadata" } else { "no metadata" };
            let Identity { id, origin, remark } = decided(&settings(toml), own);
            let remark = remark.map_or_else(String::new, |remark| {
                format!("\n    {}\n    -> {}", remark.text(), remark.remedy().unwrap_or("nothing"))
            });
            format!("{} ({known})\n  {id}, from {origin}{remark}", toml.replace('\n', " | "))
        })
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
