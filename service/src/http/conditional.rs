//! The request headers by which a client makes conditions: versions, retries, waiting.

use std::time::Duration;

use serde_json::{Value, json};

use super::Problem;

/// The name and the form of a parameter that is checked here, as its schema is published.
pub(super) fn form(name: &str) -> Option<(&'static str, Value)> {
    let known = ["If-Match", "Idempotency-Key", "min_position"];
    let name = known.into_iter().find(|known| known.eq_ignore_ascii_case(name))?;
    let form = match name {
        "If-Match" => json!({ "pattern": r#"^(\*|"[0-9]{1,19}")$"# }),
        "Idempotency-Key" => json!({ "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }),
        _ => json!({ "minimum": 0 }),
    };
    Some((name, form))
}

/// `If-Match: "<version>"` on a change of an existing thing. `*` and no header ask nothing; any other form is a 400.
pub fn if_match(header: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(value) = header.map(str::trim).filter(|value| *value != "*") else { return Ok(None) };
    let digits = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let digits =
        digits.filter(|digits| (1..=19).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit()));
    let version = digits.and_then(|digits| digits.parse().ok());
    version.map(Some).ok_or_else(|| {
        Problem::malformed(
            "malformed_if_match",
            "If-Match must be the version (not the ETag) in quotes, as in If-Match: \"3\"",
        )
    })
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
