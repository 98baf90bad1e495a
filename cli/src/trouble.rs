//! Hosts from which no news can come: those that say themselves what AWS does not take from them, and those of running
//! jobs that are not seen.
//!
//! A run stays `running` while its host cannot tell how a job ended, so whoever looks at it has to be told why.

use chrono::{DateTime, Utc};
use rsqlflow_config::host::HostEntry;
use serde::Serialize;

use crate::clock::{between, date_time};
use crate::records::Records;

/// What to do about any of them.
pub(crate) const DOCTOR: &str = "on the host, rsqlflow-agent doctor says what to repair";

/// A host from which no news can come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Trouble {
    /// The host.
    pub(crate) instance_id: String,
    /// Since when, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// What AWS does not take; none where the host is not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cannot_report: Option<String>,
}

impl Trouble {
    /// For people.
    pub(crate) fn told(&self, now: DateTime<Utc>) -> String {
        let since = self
            .since
            .as_deref()
            .map(|since| format!(" since {} UTC ({})", date_time(since), between(since, None, now)));
        let since = since.unwrap_or_default();
        match &self.cannot_report {
            Some(what) => format!("{} cannot report{since}: {what}", self.instance_id),
            None if since.is_empty() => {
                format!("{} is not in the table of hosts: its agent has not been seen", self.instance_id)
            }
            None => format!("{} has not been seen{since}", self.instance_id),
        }
    }
}

/// The hosts that say so themselves. What one said that is gone is old.
pub(crate) fn of_hosts(hosts: &[HostEntry], now: DateTime<Utc>) -> Vec<Trouble> {
    let online = hosts.iter().filter(|host| host.is_online(now.timestamp()));
    online
        .filter(|host| host.cannot_report_since.is_some())
        .map(|host| Trouble {
            instance_id: host.instance_id.clone(),
            since: host.cannot_report_since.clone(),
            cannot_report: Some(host.cannot_report.clone().unwrap_or_default()),
        })
        .collect()
}

/// Those that a run may wait for: any that cannot report, since a job whose record cannot be written is not known to be
/// on one, and those of its running jobs that are not seen.
pub(crate) fn of_run(records: &Records, hosts: &[HostEntry], now: DateTime<Utc>) -> Vec<Trouble> {
    if !records.is_open() {
        return Vec::new();
    }
    let mut troubles = of_hosts(hosts, now);
    for job in records.jobs.iter().filter(|job| !job.execution_status.is_final()) {
        let entry = hosts.iter().find(|host| host.instance_id == job.instance_id);
        let known = troubles.iter().any(|trouble| trouble.instance_id == job.instance_id);
        if !known && !entry.is_some_and(|host| host.is_online(now.timestamp())) {
            troubles.push(Trouble {
                instance_id: job.instance_id.clone(),
                since: entry.map(|host| host.seen_ts.clone()),
                cannot_report: None,
            });
        }
    }
    troubles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::samples;
    use rsqlflow_config::host::Standing;

    fn host(id: &str, seen: &str) -> HostEntry {
        let seen = samples::at(seen);
        HostEntry {
            instance_id: id.into(),
            host_status: Standing::Open,
            tags: " ".into(),
            version: "0.1.0".into(),
            running: 1,
            queued: 0,
            max_running_jobs: 0,
            seen_at: rsqlflow_config::time::parse(&seen).unwrap().timestamp(),
            seen_ts: seen,
            cannot_report_since: None,
            cannot_report: None,
        }
    }

    #[test]
    fn a_run_that_goes_on_names_the_hosts_that_keep_it_waiting() {
        let now = rsqlflow_config::time::parse(&samples::at("03:10:00.000")).unwrap();
        let told = |hosts: &[HostEntry]| -> Vec<String> {
            of_run(&samples::running(), hosts, now).iter().map(|one| one.told(now)).collect()
        };
        let mut own = host("i-rsqlflow", "03:09:50.000");
        assert!(told(std::slice::from_ref(&own)).is_empty(), "it is well");
        assert_eq!(told(&[]), ["i-rsqlflow is not in the table of hosts: its agent has not been seen"]);
        own.cannot_report_since = Some(samples::at("03:05:00.000"));
        own.cannot_report = Some("states:SendTaskSuccess (AccessDeniedException)".into());
        let said = "i-rsqlflow cannot report since 2026-11-21 03:05:00 UTC (5 m 00 s): states:SendTaskSuccess \
                    (AccessDeniedException)";
        assert_eq!(told(std::slice::from_ref(&own)), [said]);
        let gone = HostEntry { cannot_report_since: None, ..host("i-rsqlflow", "03:02:00.000") };
        assert_eq!(told(&[gone]), ["i-rsqlflow has not been seen since 2026-11-21 03:02:00 UTC (8 m 00 s)"]);
        assert!(of_run(&samples::failed(), &[own], now).is_empty(), "nobody waits for it");
    }
}
