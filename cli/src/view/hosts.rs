//! `rsqlflow hosts`: one line a host.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use rsqlflow_config::host::{HostEntry, Standing};
use serde::Serialize;

use crate::clock::between;
use crate::screen::{Screen, Tone};
use crate::trouble::{self, DOCTOR};

/// A host as `hosts --json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct HostLine<'a> {
    instance_id: &'a str,
    online: bool,
    drained: bool,
    running: u64,
    queued: u64,
    max_running_jobs: u64,
    tags: Vec<&'a str>,
    version: &'a str,
    seen_ts: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cannot_report_since: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cannot_report: Option<&'a str>,
}

/// The hosts as values.
pub(crate) fn host_lines(hosts: &[HostEntry], now: DateTime<Utc>) -> Vec<HostLine<'_>> {
    hosts.iter().map(|host| host_line(host, now)).collect()
}

fn host_line(host: &HostEntry, now: DateTime<Utc>) -> HostLine<'_> {
    HostLine {
        instance_id: &host.instance_id,
        online: host.is_online(now.timestamp()),
        drained: host.host_status == Standing::Drained,
        running: host.running,
        queued: host.queued,
        max_running_jobs: host.max_running_jobs,
        tags: host.tags.split_whitespace().collect(),
        version: &host.version,
        seen_ts: &host.seen_ts,
        cannot_report_since: host.cannot_report_since.as_deref(),
        cannot_report: host.cannot_report.as_deref(),
    }
}

/// The hosts as a table, and below it those that cannot report.
pub(crate) fn hosts(hosts: &[HostEntry], screen: Screen, now: DateTime<Utc>) -> String {
    let rows = host_lines(hosts, now).into_iter().map(|host| {
        let mute = host.cannot_report_since.is_some();
        let (tone, state) = match (host.online, host.drained) {
            (false, _) => (Tone::Bad, "offline"),
            (true, true) => (Tone::Busy, "drained"),
            (true, false) if mute => (Tone::Bad, "online"),
            (true, false) => (Tone::Good, "online"),
        };
        let most =
            if host.max_running_jobs == 0 { String::new() } else { format!(" of {}", host.max_running_jobs) };
        vec![
            (Tone::Plain, host.instance_id.to_owned()),
            (tone, state.to_owned()),
            (Tone::Plain, format!("{}{most}", host.running)),
            (Tone::Plain, host.queued.to_string()),
            (Tone::Plain, host.tags.join(" ")),
            (Tone::Plain, host.version.to_owned()),
            (Tone::Faint, format!("{} ago", between(host.seen_ts, None, now))),
        ]
    });
    let heading = ["HOST", "STATE", "RUNNING", "QUEUED", "TAGS", "AGENT", "SEEN"];
    let mut page = screen.table(&heading, rows.collect());
    for trouble in trouble::of_hosts(hosts, now) {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n{}\n  {}\n", trouble.told(now), screen.paint(Tone::Faint, DOCTOR));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_lines() {
        let now = rsqlflow_config::time::parse("2026-11-21T03:01:30.000Z").unwrap();
        let host = |id: &str, host_status, seen: &str, running, tags| HostEntry {
            instance_id: id.into(),
            host_status,
            tags: rsqlflow_config::host::tags(tags),
            version: "0.1.0".into(),
            running,
            queued: 2,
            max_running_jobs: 40,
            seen_ts: seen.into(),
            seen_at: rsqlflow_config::time::parse(seen).unwrap().timestamp(),
            cannot_report_since: None,
            cannot_report: None,
        };
        let mut list = [
            host("i-0000000a", Standing::Open, "2026-11-21T03:01:20.000Z", 38, "etl zone=a"),
            host("i-0000000b", Standing::Drained, "2026-11-21T03:01:29.500Z", 1, "etl"),
            host("i-0000000c", Standing::Open, "2026-11-21T03:00:00.000Z", 0, ""),
            host("i-0000000d", Standing::Stopped, "2026-11-21T03:01:25.000Z", 0, ""),
        ];
        list[0].cannot_report_since = Some("2026-11-21T02:59:10.000Z".into());
        list[0].cannot_report = Some("states:SendTaskSuccess (AccessDeniedException)".into());
        insta::assert_snapshot!(hosts(&list, Screen::plain(), now));
    }
}
