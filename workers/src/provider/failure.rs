//! Why a provider gave no answer, and what that means for whoever asked: the one table from what came over the wire to a
//! class and a code.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{
    clock,
    execution::{FailureClass, Usage},
};
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

use super::MOST;

/// The most characters of a provider's own words in a detail.
const DETAIL_CHARS: usize = 500;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Failure {
    /// Whether another try could help, and who can mend it.
    pub class: FailureClass,
    /// A stable name of what went wrong.
    pub code: &'static str,
    /// What went wrong, for a person. Never holds a key.
    pub detail: String,
    /// What was used all the same, as far as the provider said.
    pub usage: Box<Usage>,
    /// How long the provider wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The status of its answer, where it answered.
    pub provider_status: Option<u16>,
    /// Its own id of the request.
    pub request_id: Option<String>,
    /// It is certain that nothing was billed: it was never asked, or has refused before doing anything.
    pub unbilled: bool,
}

impl Failure {
    pub(super) fn new(class: FailureClass, code: &'static str, detail: String) -> Self {
        Self {
            class,
            code,
            detail,
            usage: Box::default(),
            retry_after: None,
            provider_status: None,
            request_id: None,
            unbilled: false,
        }
    }

    /// The key is missing: nobody was asked.
    pub(super) fn unconfigured(variable: &str) -> Self {
        let detail = format!("{variable} is not set");
        Self { unbilled: true, ..Self::new(FailureClass::Misconfigured, "provider_not_configured", detail) }
    }

    /// The answer is no answer.
    pub(super) fn malformed(provider: &str, why: &str) -> Self {
        Self::new(FailureClass::Malformed, "malformed_answer", format!("{provider} answered {why}"))
    }

    /// The model, or a filter before it, would not.
    pub(super) fn refused(provider: &str, why: &str, usage: Usage) -> Self {
        let detail = format!("{provider} refused the content: {}", bounded(why));
        Self { usage: Box::new(usage), ..Self::new(FailureClass::Permanent, "provider_rejected", detail) }
    }

    /// The answer is longer than any event can carry.
    pub(super) fn too_large(provider: &str) -> Self {
        let detail = format!(
            "the answer is too large to be recorded: {provider} goes on after {MOST} bytes of text, or of one event"
        );
        Self::new(FailureClass::Permanent, "answer_too_large", detail)
    }

    /// The answer ended before its end.
    pub(super) fn cut(provider: &str) -> Self {
        let detail = format!("{provider} broke the answer off");
        Self::new(FailureClass::Retryable, "provider_unavailable", detail)
    }

    /// Nothing came for so long; `more` of it, if something had come before.
    pub(super) fn silent(provider: &str, more: &str, time: Duration) -> Self {
        let more = if more.is_empty() { String::new() } else { format!(" {more}") };
        let detail = format!("{provider} sent nothing{more} within {} ms", time.as_millis());
        Self::new(FailureClass::Retryable, "provider_timeout", detail)
    }

    /// What an error of the connection means.
    pub(super) fn of(error: &reqwest::Error, who: &Who<'_>) -> Self {
        if error.is_builder() {
            return who.misconfigured("cannot be asked");
        }
        let why = if error.is_connect() { "cannot be reached" } else { "broke the connection off" };
        let detail = format!("{} {why}", who.provider);
        let unbilled = error.is_connect();
        Self { unbilled, ..Self::new(FailureClass::Retryable, "provider_unavailable", detail) }
    }

    /// What an error means that the provider tells in the middle of an answer: by its status, if it has one, else by the
    /// name of its kind. Nobody knows what was used by then.
    pub(super) fn of_said(kind: Option<&str>, status: Option<u16>, message: &str, who: &Who<'_>) -> Self {
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        let named = [
            (400, ["invalid_request", "not_found", "context_length", "content_policy", "unsupported"].as_slice()),
            (401, &["authentication", "permission", "invalid_api_key"]),
            (429, &["rate_limit", "insufficient_quota", "too_many"]),
        ];
        let by_name = named.into_iter().find(|(_, names)| names.iter().any(|name| kind.contains(name)));
        let by_name = by_name.map_or(500, |(status, _)| status);
        let status = status.filter(|status| (400..600).contains(status)).unwrap_or(by_name);
        let said = format!("{} said in the middle of an answer: {}", who.provider, who.words(message));
        match status {
            401 | 403 => who.misconfigured(&format!("refused the key ({status})")),
            429 => Self::new(FailureClass::Retryable, "provider_rate_limited", said),
            408 | 500..=599 => Self::new(FailureClass::Retryable, "provider_unavailable", said),
            _ => Self::new(FailureClass::Permanent, "provider_rejected", said),
        }
    }

    /// What an answer means whose status is an error's.
    pub(super) fn of_status(status: StatusCode, body: &str, headers: &HeaderMap, who: &Who<'_>) -> Self {
        Self {
            provider_status: Some(status.as_u16()),
            request_id: request_id(headers),
            // An error is no answer, and providers bill answers; but who answers that it took too long may have worked on it.
            unbilled: !matches!(status.as_u16(), 408 | 504),
            ..Self::class_of(status, body, headers, who)
        }
    }

    fn class_of(status: StatusCode, body: &str, headers: &HeaderMap, who: &Who<'_>) -> Self {
        let said = || format!("{} answered {}: {}", who.provider, status.as_u16(), who.words(body));
        match status.as_u16() {
            // What a provider says of a key may quote it: only our own words here.
            401 | 403 => who.misconfigured(&format!("refused the key ({})", status.as_u16())),
            300..=399 => who.misconfigured(&format!("answered with a redirect ({})", status.as_u16())),
            429 => Self {
                retry_after: retry_after(headers),
                ..Self::new(FailureClass::Retryable, "provider_rate_limited", said())
            },
            408 | 500..=599 => Self {
                retry_after: retry_after(headers),
                ..Self::new(FailureClass::Retryable, "provider_unavailable", said())
            },
            _ => Self::new(FailureClass::Permanent, "provider_rejected", said()),
        }
    }
}

/// Whom a failure is about.
pub(super) struct Who<'a> {
    pub provider: &'a str,
    pub key: &'a str,
    pub key_variable: Option<&'a str>,
    pub url_variable: &'a str,
}

impl Who<'_> {
    fn misconfigured(&self, what: &str) -> Failure {
        let variables = match self.key_variable {
            Some(key) => format!("{key} and {}", self.url_variable),
            None => self.url_variable.to_owned(),
        };
        let detail = format!("{} {what}: check {variables}", self.provider);
        Failure::new(FailureClass::Misconfigured, "provider_misconfigured", detail)
    }

    /// What the provider said, without the key, in at most [`DETAIL_CHARS`] characters.
    fn words(&self, body: &str) -> String {
        let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
        let message = json.as_ref().and_then(|json| {
            let places = ["/error/message", "/error", "/message", "/detail"];
            places.iter().find_map(|place| json.pointer(place)?.as_str())
        });
        let text = message.unwrap_or(body);
        if self.key.is_empty() { bounded(text) } else { bounded(&without_keys(&text.replace(self.key, "[key]"))) }
    }
}

/// Without what looks like a key: providers quote those that they were given, in part or whole.
fn without_keys(text: &str) -> String {
    let quoted = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',' | ':' | '(' | '=');
    text.split_inclusive(quoted)
        .map(|word| {
            let secret = ["sk-", "sk_", "gsk_", "AIza"].iter().any(|prefix| word.starts_with(prefix));
            if secret {
                format!("[key]{}", word.chars().last().filter(|c| quoted(*c)).unwrap_or(' '))
            } else {
                word.to_owned()
            }
        })
        .collect()
}

/// In one line, and no longer than a detail may be.
pub(super) fn bounded(text: &str) -> String {
    let one_line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut text: String = one_line.take(DETAIL_CHARS + 1).collect();
    if let Some((end, _)) = text.char_indices().nth(DETAIL_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// `Retry-After` (RFC 9110, 10.2.3), in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => until(value, clock::now()),
    }
}

/// How long from `now` until an HTTP date (RFC 9110, 5.6.7); nothing for one that is past.
fn until(date: &str, now: DateTime<Utc>) -> Option<Duration> {
    let date = DateTime::parse_from_rfc2822(date).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

/// The provider's own id of the request, under the names that OpenAI and those like it, and Anthropic, give it.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id").or_else(|| headers.get("request-id"))?;
    id.to_str().ok().map(bounded).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Who<'_> = Who {
        provider: "openai",
        key: "sk-secret",
        key_variable: Some("OPENAI_API_KEY"),
        url_variable: "OPENAI_BASE_URL",
    };

    #[test]
    fn a_status_says_whether_another_try_could_help() {
        use FailureClass::{Misconfigured, Permanent, Retryable};
        for (status, class, code) in [
            (302, Misconfigured, "provider_misconfigured"),
            (400, Permanent, "provider_rejected"),
            (401, Misconfigured, "provider_misconfigured"),
            (402, Permanent, "provider_rejected"),
            (403, Misconfigured, "provider_misconfigured"),
            (404, Permanent, "provider_rejected"),
            (408, Retryable, "provider_unavailable"),
            (413, Permanent, "provider_rejected"),
            (422, Permanent, "provider_rejected"),
            (429, Retryable, "provider_rate_limited"),
            (500, Retryable, "provider_unavailable"),
            (529, Retryable, "provider_unavailable"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = Failure::of_status(status, "no", &HeaderMap::new(), &WHO);
            assert_eq!((failure.class, failure.code), (class, code), "{status}");
        }
    }

    #[test]
    fn an_error_in_the_middle_is_of_the_class_of_its_name_or_status() {
        use FailureClass::{Misconfigured, Permanent, Retryable};
        for (kind, status, class, code) in [
            (Some("overloaded_error"), None, Retryable, "provider_unavailable"),
            (Some("api_error"), None, Retryable, "provider_unavailable"),
            (Some("server_error"), None, Retryable, "provider_unavailable"),
            (None, None, Retryable, "provider_unavailable"),
            (None, Some(502), Retryable, "provider_unavailable"),
            (None, Some(7), Retryable, "provider_unavailable"),
            (Some("rate_limit_exceeded"), None, Retryable, "provider_rate_limited"),
            (None, Some(429), Retryable, "provider_rate_limited"),
            (Some("invalid_request_error"), None, Permanent, "provider_rejected"),
            (Some("server_error"), Some(400), Permanent, "provider_rejected"),
            (Some("authentication_error"), None, Misconfigured, "provider_misconfigured"),
            (None, Some(403), Misconfigured, "provider_misconfigured"),
        ] {
            let failure = Failure::of_said(kind, status, "sk-secret is busy", &WHO);
            assert_eq!((failure.class, failure.code), (class, code), "{kind:?} {status:?}");
            assert!(!failure.unbilled && !failure.detail.contains("sk-secret"), "{failure}");
        }
    }

    #[test]
    fn a_detail_has_the_providers_words_in_bounds_and_never_the_key() {
        let said = |body: &str| WHO.words(body);
        assert_eq!(said(r#"{"error":{"message":"Bad sk-secret\nhere\u0000"}}"#), "Bad [key] here ");
        assert_eq!(said(r#"{"error":"model not found"}"#), "model not found");
        assert_eq!(said("<html>"), "<html>");
        assert_eq!(said(&"é".repeat(700)).chars().count(), DETAIL_CHARS + 1);
        let refused = Failure::of_status(StatusCode::UNAUTHORIZED, "sk-sec…", &HeaderMap::new(), &WHO);
        assert_eq!(refused.detail, "openai refused the key (401): check OPENAI_API_KEY and OPENAI_BASE_URL");
    }

    #[test]
    fn how_long_to_wait_is_the_providers_word() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        let failure = Failure::of_status(StatusCode::TOO_MANY_REQUESTS, "", &headers, &WHO);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        let now = DateTime::parse_from_rfc3339("2026-11-27T08:00:00Z").unwrap().to_utc();
        for (date, seconds) in [
            ("Fri, 27 Nov 2026 08:00:09 GMT", Some(9)),
            ("Fri, 27 Nov 2026 07:59:00 GMT", Some(0)),
            ("soon", None),
            ("-7", None),
        ] {
            assert_eq!(until(date, now), seconds.map(Duration::from_secs), "{date}");
        }
    }

    #[test]
    fn what_came_over_the_wire_is_told() {
        let headers = HeaderMap::from_iter([("request-id".parse().unwrap(), "req_1".parse().unwrap())]);
        let failure = Failure::of_status(StatusCode::SERVICE_UNAVAILABLE, "", &headers, &WHO);
        assert_eq!((failure.provider_status, failure.request_id.as_deref()), (Some(503), Some("req_1")));
        assert!(failure.unbilled);
        assert!(!Failure::of_status(StatusCode::GATEWAY_TIMEOUT, "", &headers, &WHO).unbilled);
    }
}
