//! Every form in which an event was ever shipped can still be read, and the newest is still written as it was.
//!
//! `golden/<context>.jsonl` holds a line for each form, oldest first; lines are added and never changed.

use std::collections::{BTreeMap, BTreeSet};

use events::{CONTEXTS, Context, execution};
use serde_json::Value;
use uuid::Uuid;

/// The lines of a context.
pub fn lines(context: &str) -> Vec<Value> {
    let path = format!("{}/golden/{context}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let lines = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines of all contexts.
pub fn all() -> Vec<Value> {
    CONTEXTS.0.iter().flat_map(|context| lines(context.name)).collect()
}

fn kind(line: &Value) -> &str {
    line["kind"].as_str().unwrap()
}

/// Reads the context's lines; the newest of each kind must come out as it went in.
fn check(context: &Context) {
    let (name, lines) = (context.name, lines(context.name));
    let mut newest: BTreeMap<&str, (&Value, Value)> = BTreeMap::new();
    for line in &lines {
        let stream = context.streams.iter().find(|stream| stream.kinds.contains(&kind(line)));
        let stream = stream.unwrap_or_else(|| panic!("{name}.jsonl: no stream has the kind {}", kind(line)));
        let data = line["data"].to_string();
        let again = stream.rewrite(1, kind(line), &data).unwrap_or_else(|error| panic!("{line}: {error}"));
        newest.insert(kind(line), (line, serde_json::from_str(&again).unwrap()));
        // An import asks for the effects of every event.
        CONTEXTS.effects(1, stream.name, Uuid::nil(), kind(line), &data).unwrap();
    }
    for (line, again) in newest.values() {
        assert_eq!(again, *line, "the form has changed: add a line for the new one to {name}.jsonl");
    }
    for kind in context.streams.iter().flat_map(|stream| stream.kinds) {
        assert!(newest.contains_key(kind), "{name}.jsonl has no line for {kind}");
    }
}

#[test]
fn every_form_of_every_context_is_read_and_the_newest_is_written() {
    CONTEXTS.0.iter().for_each(|context| check(context));
}

#[test]
fn no_two_contexts_streams_or_kinds_have_one_name() {
    let unique = |names: Vec<&str>| {
        let count = names.len();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), count, "{names:?}");
    };
    unique(CONTEXTS.0.iter().map(|context| context.name).collect());
    unique(CONTEXTS.streams().map(|stream| stream.name).collect());
    unique(CONTEXTS.streams().flat_map(|stream| stream.kinds).copied().collect());
}

#[test]
fn what_no_context_knows_is_told() {
    let effects =
        |stream: &str, kind: &str| CONTEXTS.effects(5, stream, Uuid::nil(), kind, "{}").unwrap_err().to_string();
    assert!(effects("weather", "rained").contains("no stream weather"));
    assert!(effects("user", "user_vanished").contains("event 5 of kind user_vanished"));
}

#[test]
fn outcomes_are_kinds_of_executions() {
    assert!(execution::Event::OUTCOMES.iter().all(|kind| execution::Event::KINDS.contains(kind)));
}
