//! The request headers by which a client makes conditions: versions, retries, waiting.

use std::time::Duration;

use serde_json::{Value, json};

use super::Problem;

/// `*`, a version, or the tag of a thing as [`tag`] writes it.
const IF_MATCH: &str = r#"^(\*|"[0-9]{1,19}"|(W/)?"[0-9]{1,10}-[0-9a-f]{32}")$"#;

/// The name and the form of a parameter that is checked here, as its schema is published.
pub(super) fn form(name: &str) -> Option<(&'static str, Value)> {
    let known = ["If-Match", "Idempotency-Key", "min_position"];
    let name = known.into_iter().find(|known| known.eq_ignore_ascii_case(name))?;
    let form = match name {
        "If-Match" => json!({ "pattern": IF_MATCH }),
        "Idempotency-Key" => json!({ "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }),
        _ => json!({ "minimum": 0 }),
    };
    Some((name, form))
}

/// The `ETag` of a thing in this version whose answer has this hash, in hex; without a version that of any other answer.
///
/// Weak (RFC 9110, 8.8.1): the same thing may go out compressed.
pub(super) fn tag(version: Option<i32>, hash: &str) -> String {
    match version {
        Some(version) => format!("W/\"{version}-{hash}\""),
        None => format!("W/\"{hash}\""),
    }
}

/// `If-Match: "<version>"` on a change of an existing thing, or the `ETag` that reading it gave, which names its version. `*`
/// and no header ask nothing; any other form is a 400.
pub fn if_match(header: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(value) = header.map(str::trim).filter(|value| *value != "*") else { return Ok(None) };
    version(value).map(Some).ok_or_else(|| {
        Problem::malformed(
            "malformed_if_match",
            "If-Match must be the version in quotes, as in If-Match: \"3\", or the ETag of the thing itself",
        )
    })
}

fn version(value: &str) -> Option<u64> {
    let quoted = |value: &str| Some(value.strip_prefix('"')?.strip_suffix('"')?.to_owned());
    let tag = quoted(value.strip_prefix("W/").unwrap_or(value))?;
    let (digits, most) = match tag.split_once('-') {
        Some((version, hash)) => {
            let hex = hash.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
            (hex && hash.len() == 32).then_some((version, 10))?
        }
        None if value.starts_with('"') => (tag.as_str(), 19),
        None => return None,
    };
    let formed = (1..=most).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    formed.then(|| digits.parse().ok()).flatten()
}

/// `Idempotency-Key`: 1–255 visible ASCII characters, else 400.
pub fn idempotency_key(header: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(key) = header else { return Ok(None) };
    if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(key.to_owned()))
    } else {
        Err(Problem::malformed(
            "malformed_idempotency_key",
            "Idempotency-Key must be 1 to 255 visible ASCII characters",
        ))
    }
}

/// `Prefer: wait=N` (RFC 7240): up to a minute. A preference that is not understood is no preference.
pub fn prefer_wait(header: Option<&str>) -> Option<Duration> {
    let wait = header?.split(',').flat_map(|part| part.split(';').take(1)).find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u64>().ok())
    })??;
    (wait > 0).then(|| Duration::from_secs(wait.min(60)))
}

/// `?min_position=N`, which must be a position: 0 or more.
pub fn min_position(parameter: Option<i64>) -> Result<Option<i64>, Problem> {
    match parameter {
        Some(position) if position < 0 => Err(Problem::invalid_parameter("min_position", "must be at least 0")),
        position => Ok(position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_digits_in_quotes() {
        assert_eq!(if_match(Some("\"3\"")).expect("a version"), Some(3));
        let hash = "0123456789abcdef".repeat(2);
        let read = tag(Some(7), &hash);
        assert_eq!(if_match(Some(&read)).expect("a tag"), Some(7));
        assert_eq!(if_match(read.strip_prefix("W/")).expect("as some proxies make it"), Some(7));
        for wrong in [tag(None, &hash), format!("\"-{hash}\""), format!("\"7-{}\"", &hash[1..])] {
            assert_eq!(if_match(Some(&wrong)).expect_err("refused").status(), 400, "{wrong}");
        }
        assert_eq!(if_match(Some("*")).expect("anything"), None);
        assert_eq!(if_match(None).expect("nothing"), None);
        for wrong in ["3", "\"\"", "\"+3\"", "W/\"3\"", "\"three\"", "\"3\", \"4\"", "\"99999999999999999999\""] {
            assert_eq!(if_match(Some(wrong)).expect_err("refused").status(), 400, "{wrong}");
        }
    }

    #[test]
    fn a_key_is_visible_ascii() {
        assert_eq!(idempotency_key(Some("a-1")).expect("a key").as_deref(), Some("a-1"));
        assert!(idempotency_key(Some(&"k".repeat(255))).is_ok());
        for wrong in ["", "a b", "ä", &"k".repeat(256)] {
            assert_eq!(idempotency_key(Some(wrong)).expect_err("refused").code(), "malformed_idempotency_key");
        }
    }

    #[test]
    fn waiting_is_asked_for_in_whole_seconds_up_to_a_minute() {
        assert_eq!(prefer_wait(Some("wait=10")), Some(Duration::from_secs(10)));
        assert_eq!(prefer_wait(Some("respond-async, Wait=600; x=y")), Some(Duration::from_mins(1)));
        for none in ["wait=0", "wait=-1", "wait", "wait=soon", "respond-async", ""] {
            assert_eq!(prefer_wait(Some(none)), None, "{none}");
        }
        assert_eq!(prefer_wait(None), None);
    }
}
