//! JSON as providers send it: objects whose fields are of another type than their documents say, halves of surrogate pairs,
//! and numbers that are none. What a field means is decided by who asks for it; here it is only read.

use std::{borrow::Cow, collections::HashMap, fmt::Write as _};

use rust_decimal::Decimal;
use serde_json::{Value, error::Category, value::RawValue};

use super::Wrong;

/// An object, and the bytes that it was read from.
pub(super) struct Json<'a> {
    bytes: Cow<'a, [u8]>,
    pub(super) value: Value,
}

impl<'a> Json<'a> {
    /// Reads one value. What no JSON may have, and some send, is mended first.
    pub(super) fn read(data: &'a [u8]) -> Result<Self, Wrong> {
        if let Ok(value) = serde_json::from_slice(data) {
            return Ok(Self { bytes: Cow::Borrowed(data), value });
        }
        let bytes = mended(data);
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            Wrong::Malformed(match error.classify() {
                _ if !matches!(data.first(), Some(b'{' | b'[')) => "something that is not JSON",
                Category::Data => "JSON of another form",
                _ => "JSON that is broken",
            })
        })?;
        Ok(Self { bytes: Cow::Owned(bytes), value })
    }

    /// What stands at these keys and indexes, character by character as it came.
    pub(super) fn raw(&self, path: &[&str]) -> Option<String> {
        let mut at: &RawValue = serde_json::from_slice(&self.bytes).ok()?;
        for key in path {
            at = match key.parse::<usize>() {
                Ok(index) => serde_json::from_str::<Vec<&RawValue>>(at.get()).ok()?.get(index).copied()?,
                Err(_) => {
                    serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(at.get()).ok()?.get(*key).copied()?
                }
            };
        }
        Some(at.get().to_owned())
    }
}

/// The values of a body, one after another: a whole answer is one, and some send the pieces of a stream without a frame. Tells
/// where the first ends that `data` begins with; none where it does not end.
pub(super) fn first_value(data: &[u8]) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in data.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Without what JSON may not have: bytes that are no UTF-8 and halves of surrogate pairs become U+FFFD, control characters in
/// texts are escaped, and `NaN` and infinities outside of them become `null`.
fn mended(data: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(data);
    let mut out = String::with_capacity(text.len() + 16);
    let (mut rest, mut quoted) = (text.as_ref(), false);
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match c {
            '"' => {
                quoted = !quoted;
                out.push(c);
            }
            '\\' if quoted => {
                let (escape, length) = escape(rest);
                out.push_str(escape);
                taken = length;
            }
            c if quoted && c.is_ascii_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            _ => match ["NaN", "-Infinity", "Infinity"].iter().find(|word| !quoted && rest.starts_with(**word)) {
                Some(word) => {
                    out.push_str("null");
                    taken = word.len();
                }
                None => out.push(c),
            },
        }
        rest = &rest[taken..];
    }
    out.into_bytes()
}

/// The escape that `rest` begins with, and how long it is there.
fn escape(rest: &str) -> (&str, usize) {
    let unit = |at: usize| {
        let hex = rest.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok()
    };
    match unit(0) {
        Some(0xD800..=0xDBFF) if matches!(unit(6), Some(0xDC00..=0xDFFF)) => (&rest[..12], 12),
        Some(0xD800..=0xDFFF) => ("\\ufffd", 6),
        _ => {
            let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            (&rest[..length], length)
        }
    }
}

/// Something as a text: what is none where a text is meant is written as one, and parts are put together.
pub(super) fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::String(text) => text.into(),
        Value::Number(_) | Value::Bool(_) => value.to_string().into(),
        Value::Array(parts) => parts.iter().map(text).collect::<String>().into(),
        Value::Object(part) => {
            let inner = ["text", "content", "value", "summary", "thinking", "reasoning", "refusal"];
            inner.iter().find_map(|name| part.get(*name)).map_or("".into(), text)
        }
    }
}

/// A text that is not empty.
pub(super) fn word(value: Option<&Value>) -> Option<Cow<'_, str>> {
    value.filter(|value| !value.is_array() && !value.is_object()).map(text).filter(|text| !text.trim().is_empty())
}

/// A count, as a number with or without a fraction, or as a text of one.
pub(super) fn count(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| whole(word(Some(value))?.trim()))
}

/// The next whole number that is not less.
fn whole(text: &str) -> Option<u64> {
    use rust_decimal::prelude::ToPrimitive as _;
    decimal(text)?.ceil().to_u64()
}

/// An amount that is not negative, exact.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    let text = text.trim().trim_matches('"').trim();
    let number = text.parse().ok().or_else(|| Decimal::from_scientific(text).ok())?;
    (!number.is_sign_negative() || number.is_zero()).then(|| number.abs().normalize())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_json_may_have_is_mended() {
        for (sent, read) in [
            (&b"[\"\\ud83d\"]"[..], json!(["\u{fffd}"])),
            (b"[\"a\\uDE00b\"]", json!(["a\u{fffd}b"])),
            (b"[\"\\ud83d\\ud83d\\ude00\"]", json!(["\u{fffd}\u{1f600}"])),
            (b"[\"\\ud83d\\n\\\\ud83d\"]", json!(["\u{fffd}\n\\ud83d"])),
            (b"[\"a\xffb\"]", json!(["a\u{fffd}b"])),
            (b"[\"NaN\", NaN, -Infinity, Infinity, \"\\\"NaN\"]", json!(["NaN", null, null, null, "\"NaN"])),
            (b"[\"a\tb\"]", json!(["a\tb"])),
        ] {
            assert_eq!(Json::read(sent).ok().map(|json| json.value), Some(read), "{}", String::from_utf8_lossy(sent));
        }
        for broken in [&b"[\"\\u"[..], b"[\"\\", b"[\"\\ud8\"]", b"{\"a\":", b"", b"NaN]"] {
            assert!(Json::read(broken).is_err(), "{}", String::from_utf8_lossy(broken));
        }
    }

    #[test]
    fn types_that_are_not_the_documented_ones_are_read_as_what_is_meant() {
        for (value, read) in [
            (json!("Hi"), "Hi"),
            (json!(7), "7"),
            (json!([{"type": "text", "text": "H"}, "i", 5, null, {"text": {"value": "!"}}]), "Hi5!"),
            (json!({"x": 1}), ""),
        ] {
            assert_eq!(text(&value), read, "{value}");
        }
        for (value, counted) in [
            (json!(12), Some(12)),
            (json!(12.0), Some(12)),
            (json!(11.5), Some(12)),
            (json!("12"), Some(12)),
            (json!("12.0"), Some(12)),
            (json!(-1), None),
            (json!("many"), None),
            (json!(null), None),
        ] {
            assert_eq!(count(Some(&value)), counted, "{value}");
        }
        for (said, exact) in [
            ("0.00014", Some("0.00014")),
            ("\"1.50\"", Some("1.5")),
            ("1.4e-5", Some("0.000014")),
            ("-1", None),
            ("x", None),
        ] {
            assert_eq!(decimal(said).map(|amount| amount.to_string()).as_deref(), exact, "{said}");
        }
    }

    #[test]
    fn what_came_is_found_as_it_came() {
        let json = Json::read(b"{\"a\": [0, {\"b\": {\"n\":  1.00, \"n\": 2}}], \"c\": 0.12345678901234567890}").ok();
        let raw = |path: &[&str]| json.as_ref().and_then(|json| json.raw(path));
        assert_eq!(raw(&["a", "1", "b"]).as_deref(), Some("{\"n\":  1.00, \"n\": 2}"));
        assert_eq!(raw(&["c"]).as_deref(), Some("0.12345678901234567890"));
        assert_eq!(raw(&["a", "7"]), None);
    }

    #[test]
    fn a_value_ends_where_it_ends() {
        assert_eq!(first_value(b"{\"a\": \"}\\\"}\"} {}"), Some(13));
        assert_eq!(first_value(b"{\"a\": [}"), None);
        assert_eq!(first_value(b"{\"a\": "), None);
    }
}
