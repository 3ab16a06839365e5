//! Every form in which an event was ever shipped can still be read, and the newest is still written as it was.
//!
//! `golden/<context>.jsonl` holds a line for each form, oldest first; lines are added and never changed.

use std::collections::{BTreeMap, BTreeSet};

use events::{Fact, catalog, execution, identity, ops, prompt};
use serde_json::Value;

pub fn lines(context: &str) -> Vec<Value> {
    let path = format!("{}/golden/{context}.jsonl", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Reads those of the context's lines that are of `kinds`; the newest of each must come out as it went in. A kind's lines
/// are its forms, oldest first.
fn decode<E: Fact>(context: &str, kinds: &[&str]) -> BTreeSet<String> {
    let mut newest: BTreeMap<String, (Value, E)> = BTreeMap::new();
    for line in lines(context) {
        let kind = line["kind"].as_str().unwrap().to_owned();
        if kinds.contains(&kind.as_str()) {
            let event: E = serde_json::from_value(line.clone()).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(event.kind(), kind);
            assert_eq!(event.event_type(), kind);
            newest.insert(kind, (line, event));
        }
    }
    for (line, event) in newest.values() {
        assert_eq!(serde_json::to_value(event).unwrap(), *line, "the form has changed: add a line for the new one");
    }
    for kind in kinds {
        assert!(newest.contains_key(*kind), "{context}.jsonl has no line for {kind}");
    }
    newest.into_keys().collect()
}

/// No line is of a kind that no longer exists.
fn complete(context: &str, known: impl IntoIterator<Item = String>) {
    let known: BTreeSet<String> = known.into_iter().collect();
    let there: BTreeSet<String> = lines(context).iter().map(|line| line["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(there, known);
}

#[test]
fn identity() {
    complete("identity", decode::<identity::Event>("identity", identity::Event::KINDS));
}

#[test]
fn catalog() {
    let specialties = decode::<catalog::SpecialtyEvent>("catalog", catalog::SpecialtyEvent::KINDS);
    let subs = decode::<catalog::SubSpecialtyEvent>("catalog", catalog::SubSpecialtyEvent::KINDS);
    complete("catalog", specialties.into_iter().chain(subs));
}

#[test]
fn prompt() {
    complete("prompt", decode::<prompt::Event>("prompt", prompt::Event::KINDS));
}

#[test]
fn ops() {
    complete("ops", decode::<ops::Event>("ops", ops::Event::KINDS));
}

#[test]
fn execution() {
    complete("execution", decode::<execution::Event>("execution", execution::Event::KINDS));
    for kind in execution::Event::OUTCOMES {
        assert!(execution::Event::KINDS.contains(kind));
    }
}
