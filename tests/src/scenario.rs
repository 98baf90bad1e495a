//! Scenarios: the same story against every endpoint, and what became of each.
//!
//! A test that plays one leaves a small file beside the binaries under test, whether it passed, failed or was skipped;
//! `rsqlflow-scenarios` prints them as a table. A scenario is skipped only for a defect of the server, which is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::peers::Kind;
use crate::proxy::recorder::Counts;
use crate::site::{Site, binaries};
use crate::world::World;

/// What became of a scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Played {
    /// The scenario's name.
    pub scenario: String,
    /// The endpoint's.
    pub endpoint: String,
    /// `passed`, `failed` or `skipped`.
    pub result: String,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Seconds it took.
    #[serde(default)]
    pub seconds: f64,
    /// What each component asked the endpoint for: component to action to how often that was done.
    #[serde(default)]
    pub calls: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Where the files are.
pub fn directory() -> PathBuf {
    binaries().join("scenarios")
}

/// Every scenario that was played.
///
/// # Panics
/// When a file cannot be read.
pub fn played() -> Vec<Played> {
    let Ok(entries) = fs::read_dir(directory()) else { return Vec::new() };
    let mut played: Vec<Played> = entries
        .map(|entry| serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap())
        .collect();
    played.sort_by(|a, b| (&a.scenario, &a.endpoint).cmp(&(&b.scenario, &b.endpoint)));
    played
}

impl Played {
    fn new(scenario: &str, kind: Kind, result: &str) -> Self {
        Self {
            scenario: scenario.into(),
            endpoint: kind.name().into(),
            result: result.into(),
            why: None,
            seconds: 0.0,
            calls: BTreeMap::new(),
        }
    }

    fn write(&self) {
        fs::create_dir_all(directory()).unwrap();
        let path = directory().join(format!("{}.{}.json", self.scenario, self.endpoint));
        fs::write(path, serde_json::to_string_pretty(self).unwrap()).unwrap();
    }
}

/// Plays a scenario in a world where every command is delivered so many times, unless it is skipped.
///
/// # Panics
/// When the scenario does.
pub fn play(
    name: &str,
    kind: Kind,
    deliveries: usize,
    skipped: &[(&str, Kind, &str)],
    story: fn(&mut World<'_>),
) {
    if let Some((.., why)) = skipped.iter().find(|(scenario, of, _)| *scenario == name && *of == kind) {
        eprintln!("skipped on {}: {why}", kind.name());
        Played { why: Some((*why).into()), ..Played::new(name, kind, "skipped") }.write();
        return;
    }
    // Until it has passed.
    Played::new(name, kind, "failed").write();
    let start = Instant::now();
    let site = Site::new();
    let mut world = World::start_with(&site, kind, deliveries);
    story(&mut world);
    let mut played = Played::new(name, kind, "passed");
    for (component, proxy) in [("agent", &world.agent_calls), ("command", &world.command_calls)] {
        let done = |(action, counts): (&String, &Counts)| (action.clone(), counts.done);
        played.calls.insert(component.into(), proxy.recorder().calls().iter().map(done).collect());
    }
    assert!(!world.daemon.log().contains("panicked"), "{}", world.daemon.log());
    played.seconds = start.elapsed().as_secs_f64();
    played.write();
}
