//! `doctor`: everything that jobs on this host need, each in one line, and what to do where something is wrong.
//!
//! It looks from where it is started: as the user and with the environment of whoever types it, which it says where
//! that is not the agent's. It changes nothing but for an empty log stream that it makes, once. What can hang has a limit:
//! it takes ten seconds at most, plus the time to read the journal and the scripts.

mod aws;
mod clock;
mod files;
mod host;
mod judge;
mod scripts;
mod services;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rsqlflow_agent::AgentConfig;
use rsqlflow_config::settings::Settings;
use serde::Serialize;

use super::identity::{Identity, identity};
use super::{
    Cli, DEFAULT_DATA_DIR, Failure, data_dir, named_socket, print, print_as_is, read_settings,
    settings_remedy,
};

/// Longest wait for what is on this host.
const LOCAL_PATIENCE: Duration = Duration::from_secs(3);

/// How it stands with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// Jobs run, but somebody should look at it.
    Warn,
    /// Jobs do not run, or not for long.
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    level: Level,
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// How long the answer took, where a service was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u128>,
}

impl Check {
    fn new(check: &'static str, level: Level, message: impl Into<String>, hint: Option<String>) -> Self {
        Self { check, level, message: message.into(), hint, milliseconds: None }
    }

    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, message, None)
    }

    fn warn(check: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, message, Some(hint.into()))
    }

    fn fail(check: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(check, Level::Fail, message, Some(hint.into()))
    }
}

/// Where to look.
struct Site {
    settings: Settings,
    config: AgentConfig,
    /// Whether somebody other than the settings says where AWS is.
    endpoint: Option<String>,
}

pub(crate) fn doctor(cli: &Cli, json: bool) -> Result<(), Failure> {
    let checks = match read_settings(cli) {
        Ok(settings) => {
            let mut config = AgentConfig::from_settings(&settings, data_dir(cli, &settings));
            config.socket = named_socket(cli);
            let endpoint = std::env::var("AWS_ENDPOINT_URL").ok().filter(|told| !told.is_empty());
            examine(Site { settings, config, endpoint })?
        }
        Err(error) => {
            let correct = || {
                "correct the settings file; `rsqlflow config defaults` prints one with every setting".into()
            };
            let hint = settings_remedy(&error).unwrap_or_else(correct);
            vec![Check::fail("settings", format!("{error:#}"), hint)]
        }
    };
    let failed = checks.iter().filter(|check| check.level == Level::Fail).count();
    if json {
        let report = serde_json::json!({ "ok": failed == 0, "checks": checks });
        let text = serde_json::to_string_pretty(&report)
            .context("the report cannot be written as JSON")
            .map_err(Failure::Unreached)?;
        print_as_is(&format!("{}\n", rsqlflow_config::visible::json(&text)))?;
    } else {
        print(&report(&checks))?;
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::Refused("one check failed".into())),
        _ => Err(Failure::Refused(format!("{failed} checks failed"))),
    }
}

fn examine(mut site: Site) -> Result<Vec<Check>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime")
        .map_err(Failure::Unreached)?;
    let checks = runtime.block_on(async {
        let identity = identity(&site.settings, Duration::ZERO).await;
        site.config.instance_id.clone_from(&identity.id);
        let (agent, rsql, aws) =
            tokio::join!(host::agent(&site), host::rsql(&site.config.path), aws::examine(&site));
        let (status, agent) = agent;
        let mut checks = vec![settings(&site, &identity)];
        checks.extend(tables(&site.settings));
        checks.extend(service_environment(&site.config.data_dir));
        checks.extend(files::data_dir(&site.config.data_dir, site.config.min_free_bytes));
        checks.push(agent);
        checks.push(files::socket(&site.config.socket_path()));
        checks.push(files::journal(&site.config.data_dir));
        checks.extend(scripts::examine(&site.config));
        checks.push(rsql);
        checks.push(host::supervisor(&site.config.supervisor));
        checks.push(host::cgroup(status.as_ref()));
        checks.extend(aws);
        checks
    });
    // What still hangs is not waited for.
    runtime.shutdown_background();
    Ok(checks)
}

fn settings(site: &Site, identity: &Identity) -> Check {
    let settings = &site.settings;
    let region = if settings.region.is_empty() { "the environment's" } else { &settings.region };
    let at = site.endpoint.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
    let backend = format!("{:?}", settings.backend).to_lowercase();
    let (id, origin) = (&identity.id, identity.origin);
    let message = format!("backend {backend}{at}, region {region}, host {id} (from {origin})");
    match &identity.remark {
        None => Check::ok("settings", message),
        Some(remark) => {
            let message = format!("{message}; {}", remark.text());
            match remark.remedy() {
                None => Check::ok("settings", message),
                Some(remedy) => Check::warn("settings", message, remedy),
            }
        }
    }
}

/// Whether the tables are those of one deployment: settings that name some and not others lead to two.
fn tables(settings: &Settings) -> Option<Check> {
    let tables = &settings.tables;
    let names = [
        ("config", &tables.config),
        ("job_audit", &tables.job_audit),
        ("workflow_audit", &tables.workflow_audit),
        ("hosts", &tables.hosts),
    ];
    let prefix = |(key, name): &(&str, &String)| {
        let suffix = format!("-{}", key.replace('_', "-"));
        name.strip_suffix(&suffix).map(str::to_owned)
    };
    let prefixes: BTreeSet<String> = names.iter().filter_map(prefix).collect();
    if prefixes.len() < 2 {
        return None;
    }
    let listed: Vec<String> = names.iter().map(|(key, name)| format!("{key} = {name}")).collect();
    Some(Check::warn(
        "tables",
        format!("are of different deployments: {}", listed.join(", ")),
        "give all four of [tables] the same beginning, the Prefix of the stack that this host is of",
    ))
}

/// Variables that the unit gives the agent and nobody else.
const SERVICE_ENVIRONMENT: &str = "/etc/rsqlflow/agent.env";

/// Looks as if asked from a shell that has none of the service's variables.
fn service_environment(data_dir: &Path) -> Option<Check> {
    let told = std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("AWS_"));
    if told || data_dir != Path::new(DEFAULT_DATA_DIR) || !Path::new(SERVICE_ENVIRONMENT).exists() {
        return None;
    }
    Some(Check::warn(
        "environment",
        format!("the service has variables in {SERVICE_ENVIRONMENT} that are not seen here"),
        format!(
            "systemd-run --quiet --pipe --wait -p User=rsqlflow -p EnvironmentFile={SERVICE_ENVIRONMENT} \
             rsqlflow-agent doctor"
        ),
    ))
}

/// One line per check, and one more for what to do.
fn report(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let level = match check.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let took = check.milliseconds.map(|took| format!(" ({took} ms)")).unwrap_or_default();
        let message = check.message.replace('\n', "; ");
        text.push_str(&format!("{level:<4}  {:<width$}  {message}{took}\n", check.check));
        if let Some(hint) = &check.hint {
            text.push_str(&format!("{:<4}  {:<width$}  -> {hint}\n", "", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_two_deployments_are_told() {
        let settings = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("rsqlflow.toml"), text).unwrap();
            Settings::load(None, dir.path(), []).unwrap()
        };
        assert_eq!(tables(&settings("")), None);
        assert_eq!(tables(&settings("[tables]\njob_audit = \"ours\"\n")), None, "names of one's own");
        let one = tables(&settings("[tables]\njob_audit = \"etl-job-audit\"\n")).unwrap();
        assert_eq!(one.level, Level::Warn);
        assert!(one.message.contains("job_audit = etl-job-audit, workflow_audit = rsqlflow-workflow-audit"));
        let all = "[tables]\nconfig = \"etl-config\"\njob_audit = \"etl-job-audit\"\n\
                   workflow_audit = \"etl-workflow-audit\"\nhosts = \"etl-hosts\"\n";
        assert_eq!(tables(&settings(all)), None);
    }

    #[test]
    fn the_report_is_for_reading() {
        let checks = [
            Check::ok("settings", "backend aws, region eu-central-1, host i-0123"),
            Check { milliseconds: Some(42), ..Check::ok("Step Functions", "reached and permitted") },
            Check::warn("clock", "7 s ahead", "start chrony"),
            Check::fail("scripts", "two are refused\nfor reasons", "chmod o-w x"),
        ];
        insta::assert_snapshot!(report(&checks));
        insta::assert_snapshot!(serde_json::to_string_pretty(&checks).unwrap());
    }
}
