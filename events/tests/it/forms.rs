//! Any event, with any text and any number, is read as what it was written as; and nothing that claims to be an event can
//! do worse than not be one.

use std::{fmt::Debug, sync::LazyLock};

use chrono::DateTime;
use events::{CONTEXTS, Fact, Meta, Recorded, clock, store::New};
use proptest::{option, prelude::*, sample};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    arbitrary::{executions, ids, json, prompts, specialties, sub_specialties, text, users},
    golden,
};

/// As the log would have it.
fn recorded(kind: &str, data: String) -> Recorded {
    Recorded {
        position: 1,
        epoch: 1,
        event_id: Uuid::nil(),
        stream: "thing".to_owned(),
        id: Uuid::nil(),
        version: 1,
        kind: kind.to_owned(),
        schema: 1,
        scope: None,
        data,
        meta: Meta { actor: None, correlation_id: Uuid::nil(), causation_id: None, traceparent: None },
        recorded_at: DateTime::UNIX_EPOCH,
    }
}

/// Written, and read again: as it was, also by who knows fewer of its fields, or gets them in another order.
fn there_and_back<E: Fact + PartialEq + Debug>(event: &E) -> Result<(), TestCaseError> {
    let new = New::of(event, clock::id()).unwrap();
    prop_assert_eq!(new.kind, event.kind());
    prop_assert_eq!(&recorded(new.kind, new.data.clone()).decode::<E>().unwrap(), event);
    // Nothing of it is lost or put in by the way it is cut out of its tag.
    let mut data: Value = serde_json::from_str(&new.data).unwrap();
    prop_assert_eq!(&serde_json::to_value(event).unwrap()["data"], &data);
    // What a later version of the code adds is passed over by this one.
    let fields = data.as_object_mut().unwrap();
    fields.insert("of_a_later_version".to_owned(), json!({ "kind": "x", "attempt": [1, null] }));
    let reversed: Map<String, Value> = std::mem::take(fields).into_iter().rev().collect();
    let reordered = serde_json::to_string(&reversed).unwrap();
    prop_assert_eq!(&recorded(new.kind, reordered).decode::<E>().unwrap(), event);
    Ok(())
}

proptest! {
    #[test]
    fn an_execution_event_comes_back(event in executions()) {
        there_and_back(&event)?;
    }

    #[test]
    fn a_prompt_event_comes_back(event in prompts()) {
        there_and_back(&event)?;
    }

    #[test]
    fn the_other_events_come_back(user in users(), specialty in specialties(), sub_specialty in sub_specialties()) {
        there_and_back(&user)?;
        there_and_back(&specialty)?;
        there_and_back(&sub_specialty)?;
    }

    #[test]
    fn meta_comes_back(actor in option::of(ids()), correlation_id in ids(), causation_id in option::of(ids()), traceparent in option::of(text())) {
        let meta = Meta { actor, correlation_id, causation_id, traceparent };
        let text = serde_json::to_string(&meta).unwrap();
        prop_assert_eq!(serde_json::from_str::<Meta>(&text).unwrap(), meta);
    }

    /// A payload cannot say that it is another kind than its row says, whatever it does to the text around it.
    #[test]
    fn a_payload_stays_in_its_kind(
        kind in sample::select(kinds()), data in prop_oneof![text(), json().prop_map(|value| value.to_string()), closing()],
    ) {
        read_as_all(&kind, &data)?;
    }

    /// The golden lines with anything changed in them.
    #[test]
    fn damaged_payloads_are_told_or_read_but_never_worse(
        at in any::<sample::Index>(), place in any::<sample::Index>(), other in json(), name in text(), how in 0..4,
    ) {
        let line = at.get(golden()).clone();
        let (kind, mut data) = (line["kind"].as_str().unwrap().to_owned(), line["data"].clone());
        let places = pointers(&data);
        let pointer = place.get(&places).clone();
        match (how, data.pointer_mut(&pointer).unwrap()) {
            (0, value) => *value = other,
            (1, Value::Object(fields)) => { fields.insert(name, other); }
            (2, Value::Object(fields)) => { fields.keys().next().cloned().and_then(|first| fields.shift_remove(&first)); }
            (_, value) => *value = json!([value]),
        }
        read_as_all(&kind, &data.to_string())?;
        // And cut short.
        let text = data.to_string();
        let cut = text.char_indices().map(|(at, _)| at).nth(place.index(text.len())).unwrap_or(0);
        read_as_all(&kind, &text[..cut])?;
    }
}

/// What would end its payload's object, and go on with a tag of its own.
fn closing() -> impl Strategy<Value = String> {
    let line = sample::select(golden().to_vec());
    (line, sample::select(kinds())).prop_map(|(line, kind)| format!(r#"{},"kind":"{kind}""#, line["data"]))
}

fn read_as_all(kind: &str, data: &str) -> Result<(), TestCaseError> {
    for stream in CONTEXTS.streams() {
        match stream.rewrite(1, kind, data) {
            // What is written of it is the same kind, and is read as the same again.
            Ok(written) => {
                let written: Value = serde_json::from_str(&written).unwrap();
                prop_assert_eq!(&written["kind"], kind);
                let again = stream.rewrite(1, kind, &written["data"].to_string()).unwrap();
                prop_assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), written);
            }
            // Which one it is and what is wrong is for the log.
            Err(error) => prop_assert!(error.to_string().contains("event 1 of kind"), "{}", error),
        }
    }
    Ok(())
}

fn kinds() -> Vec<String> {
    CONTEXTS.streams().flat_map(|stream| stream.kinds).map(|kind| (*kind).to_owned()).collect()
}

/// Every form that was ever shipped.
fn golden() -> &'static [Value] {
    static LINES: LazyLock<Vec<Value>> = LazyLock::new(golden::all);
    &LINES
}

/// The pointers to every value in `data`.
fn pointers(data: &Value) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match data {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    let mut all = vec![String::new()];
    for (name, value) in inner {
        all.extend(pointers(value).into_iter().map(|rest| format!("/{name}{rest}")));
    }
    all
}
