//! What strangers write, whatever it is: read, or refused with a 4xx that names a place; never worse.

use poem::http::{HeaderMap, HeaderValue};
use proptest::{collection::vec, option, prelude::*, sample};
use serde_json::{Map, Value, json};

use super::{Faults, Fingerprint, Page, Problem, Trace, conditional::*, cursor, json as body, limit, place, pointer};

/// Text in which what means something in JSON and in pointers is frequent.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), r#"[~/"\\{}:, \x00u0a-c]{0,8}"#]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((text(), inner), 0..5).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// The pointers to all texts and keys with U+0000 in them.
fn nul(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains('\0') => found.push(at.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                nul(&format!("{at}/{index}"), item, found);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                let at = pointer::child(at, key);
                if key.contains('\0') {
                    found.push(at.clone());
                }
                nul(&at, value, found);
            }
        }
        _ => {}
    }
}

fn read(text: &[u8]) -> Result<(Value, Faults), Problem> {
    let mut faults = Faults::new();
    body::parse(text, &mut faults).map(|value| (value, faults))
}

fn pointers(faults: Faults) -> Vec<String> {
    faults.into_result().err().iter().flat_map(Problem::errors).map(|fault| fault.pointer.clone()).collect()
}

/// The same with every object's fields in another order.
fn turned(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(turned).collect(),
        Value::Object(fields) => fields.iter().rev().map(|(key, value)| (key.clone(), turned(value))).collect(),
        plain => plain.clone(),
    }
}

proptest! {
    #[test]
    fn a_cursor_is_its_place(number in any::<i64>(), name in text(), id in any::<u128>()) {
        let place_of = (number, name, uuid::Uuid::from_u128(id));
        let text = cursor(&place_of).unwrap();
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{}", text);
        prop_assert_eq!(place(Some(&text)).unwrap(), Some(place_of));
        // No other text leads to another place than its own: cut, or with anything added, it is none.
        for wrong in [&text[..text.len() - 1], &format!("{text}A"), &format!("{text}=")] {
            prop_assert_eq!(place::<(i64, String, uuid::Uuid)>(Some(wrong)).unwrap_err().status(), 422);
        }
    }

    #[test]
    fn any_text_is_a_cursor_or_told_not_to_be(text in prop_oneof![any::<String>(), "[A-Za-z0-9_-]{0,60}", value().prop_map(|json| cursor(&json).unwrap())]) {
        for refused in [place::<uuid::Uuid>(Some(&text)).err(), place::<i32>(Some(&text)).err()].into_iter().flatten() {
            prop_assert_eq!((refused.status().as_u16(), refused.code()), (422, "invalid_parameter"));
            prop_assert_eq!(&refused.errors()[0].pointer, "/cursor");
        }
    }

    /// Each row once and in order, whatever the pages' size, and whatever is put on top meanwhile.
    #[test]
    fn pages_are_the_list(count in 0..60i64, sizes in vec(option::of(1..=100i64), 1..20), added in vec(0..3i64, 20)) {
        let (mut top, mut seen, mut at) = (count, Vec::new(), None);
        let mut turns = sizes.iter().cycle().zip(added.iter().cycle());
        loop {
            let (size, more) = turns.next().unwrap();
            let limit = limit(*size).unwrap();
            let below = place::<i64>(at.as_deref()).unwrap().unwrap_or(top + 1);
            let rows: Vec<i64> = (1..below).rev().take(limit + 1).collect();
            let page = Page::of(rows, limit, |row| *row).unwrap();
            prop_assert!(page.items.len() <= limit && (page.next_cursor.is_none() || page.items.len() == limit));
            prop_assert!(at.is_none() || !page.items.is_empty(), "a cursor leads to something");
            seen.extend(page.items);
            let Some(next) = page.next_cursor else { break };
            (at, top) = (Some(next), top + more);
        }
        prop_assert_eq!(seen, (1..=count).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_body_is_read_as_serde_reads_it_and_all_its_nuls_are_told(value in value(), pretty: bool) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let (read, faults) = read(&text).unwrap();
        prop_assert_eq!(&read, &serde_json::from_slice::<Value>(&text).unwrap());
        let mut expected = Vec::new();
        nul("", &value, &mut expected);
        let told = pointers(faults);
        prop_assert!(expected.iter().all(|pointer| told.contains(pointer)), "{:?} {:?}", expected, told);
        prop_assert!(told.iter().all(|pointer| expected.contains(pointer)), "{:?} {:?}", expected, told);
    }

    #[test]
    fn any_bytes_are_a_body_or_told_from_where_they_are_none(
        bytes in prop_oneof![vec(any::<u8>(), 0..60), text().prop_map(String::into_bytes), vec(sample::select(br#"[{}],:"a1 \u00"#.to_vec()), 0..60)],
        value in value(), at in any::<sample::Index>(), byte in any::<u8>(),
    ) {
        // And JSON with one byte of it changed.
        let mut damaged = value.to_string().into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        for bytes in [&bytes, &damaged] {
            match (read(bytes), serde_json::from_slice::<Value>(bytes)) {
                (Ok((read, _)), Ok(known)) => prop_assert_eq!(read, known),
                (Err(problem), Err(_)) => {
                    prop_assert_eq!((problem.status().as_u16(), problem.code()), (400, "malformed_json"));
                }
                (ours, theirs) => prop_assert!(false, "{:?} {:?}", ours.map(|read| read.0), theirs),
            }
        }
    }

    #[test]
    fn a_doubled_key_is_told_wherever_it_is(value in value(), key in text(), levels in 0..20usize) {
        let (twice, open, close) = (json!(key).to_string(), r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let text = format!("{open}{{{twice}:{value},{twice}:null}}{close}");
        let (_, faults) = read(text.as_bytes()).unwrap();
        let told = pointers(faults);
        let expected = pointer::child(&"/a".repeat(levels), &key);
        prop_assert!(told.contains(&expected), "{:?} {:?}", expected, told);
    }

    #[test]
    fn a_pointer_leads_to_its_value(parents in vec("[~/a-z01]{0,5}", 0..5), value in value()) {
        let whole = parents.iter().rev().fold(value.clone(), |inner, key| json!({ key.as_str(): inner }));
        let pointer = parents.iter().fold(String::new(), |at, key| pointer::child(&at, key));
        prop_assert_eq!(whole.pointer(&pointer), Some(&value));
    }

    #[test]
    fn two_bodies_have_one_fingerprint_if_they_mean_the_same(one in value(), other in value()) {
        let key = Fingerprint::new(b"any secret");
        prop_assert_eq!(key.of(&one), key.of(&turned(&one)));
        prop_assert_eq!(key.of(&one) == key.of(&other), one == other);
        // What stands where counts, and so does what is there at all.
        prop_assert_ne!(key.of(&json!({ "a": one, "b": [other] })), key.of(&json!({ "a": [one], "b": other })));
        prop_assert_ne!(key.of(&Value::Object(Map::new())), key.of(&json!({ "a": null })));
        prop_assert_ne!(key.of(&one), Fingerprint::new(b"another").of(&one));
    }

    #[test]
    fn conditions_are_taken_in_their_published_form_only(header in prop_oneof![any::<String>(), r#"["*W/0-9 ,+]{0,6}"#, "[0-9]{1,22}".prop_map(|n| format!("\"{n}\""))]) {
        let published = |name: &str| {
            let (_, schema) = form(name).unwrap();
            jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&schema).unwrap()
        };
        let version = if_match(Some(&header));
        if published("if-match").is_valid(&json!(header)) {
            prop_assert!(version.is_ok(), "{header}");
        } else if version.is_ok() {
            // Blanks around it are forgiven.
            prop_assert!(header.trim() != header, "{header}");
        }
        prop_assert_eq!(idempotency_key(Some(&header)).is_ok(), published("idempotency-key").is_valid(&json!(header)));
        for refused in [if_match(Some(&header)).err(), idempotency_key(Some(&header)).err()].into_iter().flatten() {
            prop_assert_eq!(refused.status(), 400);
        }
    }

    #[test]
    fn waiting_is_bounded_whatever_is_preferred(header in prop_oneof![any::<String>(), r#"(wait|Wait|x|wai)? ?=? ?"?-?[0-9]{0,21}"?[;,]?.{0,6}"#], seconds in any::<u64>()) {
        prop_assert!(prefer_wait(Some(&header)).is_none_or(|wait| (1..=60).contains(&wait.as_secs())));
        let asked = prefer_wait(Some(&format!("wait={seconds}"))).map(|wait| wait.as_secs());
        prop_assert_eq!(asked, Some(seconds.min(60)).filter(|wait| *wait > 0));
    }

    #[test]
    fn a_trace_is_one_whatever_the_caller_says(headers in vec(prop_oneof![vec(any::<u8>(), 0..70), "[0-9a-f-]{50,60}".prop_map(String::into_bytes), "0[01]-[0-9a-f]{32}-[0-9a-f]{16}-0[01](-x)?".prop_map(String::into_bytes)], 0..3)) {
        let mut map = HeaderMap::new();
        for value in headers.iter().filter_map(|bytes| HeaderValue::from_bytes(bytes).ok()) {
            map.append("traceparent", value);
        }
        let trace = Trace::of(&map);
        let parts: Vec<&str> = trace.traceparent.split('-').collect();
        prop_assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        prop_assert!(trace.traceparent.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-')));
        prop_assert_eq!((parts[0], parts[1]), ("00", trace.trace_id.as_str()));
        prop_assert!(parts[1].bytes().any(|b| b != b'0') && parts[2].bytes().any(|b| b != b'0'));
    }
}
