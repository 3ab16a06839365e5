//! What the log takes in: no U+0000, in whatever way it is written, and nothing that is larger than the bus can carry.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Append, MAX_EVENT_BYTES, MAX_META_BYTES, Meta, New, StoreError};

fn append(data: String, traceparent: Option<String>) -> Append {
    Append {
        stream: "thing",
        id: Uuid::nil(),
        expected: 0,
        scope: None,
        events: vec![New { event_id: Uuid::nil(), kind: "done", schema: 1, data }],
        meta: Meta { actor: None, correlation_id: Uuid::nil(), causation_id: None, traceparent },
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
        key: None,
    }
}

/// Text in which what looks like the escape of U+0000, and is not, is frequent.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![Just("\\"), Just("\\\\"), Just("u0000"), Just("\0"), Just("\u{1}"), Just("\""), Just("x")];
    prop_oneof![vec(piece, 0..6).prop_map(|pieces| pieces.concat()), any::<String>()]
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

proptest! {
    #[test]
    fn nul_is_refused_and_nothing_that_only_looks_like_it(name in text(), value in text(), traceparent in text()) {
        let data = json!({ name: [value] });
        let nul = holds_nul(&data) || traceparent.contains('\0');
        let checked = append(data.to_string(), Some(traceparent)).check();
        prop_assert_eq!(matches!(checked, Err(StoreError::Uncarriable { .. })), nul);
    }

    #[test]
    fn the_limits_are_exact(over in any::<bool>(), meta_over in any::<bool>()) {
        let data = "x".repeat(MAX_EVENT_BYTES + usize::from(over));
        let meta = |bytes| append(String::new(), Some("m".repeat(bytes))).meta;
        let frame = serde_json::to_string(&meta(0)).unwrap_or_default().len();
        let meta = meta(MAX_META_BYTES - frame + usize::from(meta_over));
        let checked = Append { meta, ..append(data, None) }.check();
        prop_assert_eq!(checked.is_err(), over || meta_over);
    }

    #[test]
    fn a_kind_is_one_token_of_a_subject(kind in prop_oneof!["[a-z0-9_]{0,3}", "[a-z._*> A-Z]{0,3}", any::<String>()]) {
        let token = !kind.is_empty() && kind.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
        prop_assert_eq!(super::append::is_token(&kind), token);
    }
}
