//! Prints which scenario passed against which endpoint, from what the tests left beside the binaries.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::collections::{BTreeMap, BTreeSet};

use rsqlflow_tests::peers::Kind;
use rsqlflow_tests::scenario::{Played, played};

fn main() {
    let played = played();
    if played.is_empty() {
        println!("no scenario was played");
        return;
    }
    let mut by_name: BTreeMap<&str, BTreeMap<&str, &Played>> = BTreeMap::new();
    for one in &played {
        by_name.entry(&one.scenario).or_default().insert(&one.endpoint, one);
    }
    let width = by_name.keys().map(|name| name.len()).max().unwrap_or(0);
    let line = |first: &str, cells: [String; 3]| {
        println!("{first:width$}  {:>16}  {:>16}  {:>16}", cells[0], cells[1], cells[2]);
    };
    line("scenario", Kind::ALL.map(|kind| kind.name().to_owned()));
    let mut notes = BTreeSet::new();
    for (name, endpoints) in &by_name {
        line(
            name,
            Kind::ALL.map(|kind| match endpoints.get(kind.name()) {
                Some(one) if one.result == "passed" => format!("passed {:5.1} s", one.seconds),
                Some(one) => one.result.clone(),
                None => "not played".into(),
            }),
        );
        for one in endpoints.values() {
            if let Some(why) = &one.why {
                notes.insert(format!("{name} is skipped on {}: {why}", one.endpoint));
            }
        }
    }
    for note in notes {
        println!("{note}");
    }
}
