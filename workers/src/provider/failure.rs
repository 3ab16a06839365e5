//! Why a provider gave no answer, and what that means for whoever asked: the one table from what came over the wire to a
//! class and a code.

use std::time::Duration;

use events::execution::{FailureClass, Usage};
use genai::webc;
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

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
}

impl Failure {
    pub(super) fn new(class: FailureClass, code: &'static str, detail: String) -> Self {
        Self { class, code, detail, usage: Box::default(), retry_after: None }
    }

    /// The key is missing: nobody was asked.
    pub(super) fn unconfigured(variable: &str) -> Self {
        Self::new(FailureClass::Misconfigured, "provider_not_configured", format!("{variable} is not set"))
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

    /// What an error of the library means.
    pub(super) fn of(error: &genai::Error, who: &Who<'_>) -> Self {
        let name = who.provider;
        match error {
            genai::Error::WebModelCall { webc_error, .. } | genai::Error::WebAdapterCall { webc_error, .. } => {
                match webc_error {
                    webc::Error::ResponseFailedStatus { status, body, headers } => {
                        Self::of_status(*status, body, headers, who)
                    }
                    webc::Error::Reqwest(error) if error.is_builder() => who.misconfigured("cannot be asked"),
                    webc::Error::Reqwest(error) => {
                        let why = if error.is_connect() { "cannot be reached" } else { "broke the connection off" };
                        let detail = format!("{name} {why}");
                        Self::new(FailureClass::Retryable, "provider_unavailable", detail)
                    }
                    webc::Error::ResponseFailedNotJson { .. } => Self::malformed(name, "something that is not JSON"),
                    webc::Error::ResponseFailedInvalidJson { .. } => Self::malformed(name, "JSON that is broken"),
                    webc::Error::JsonValueExt(_) => Self::malformed(name, "JSON of another form"),
                }
            }
            genai::Error::Internal(_) | genai::Error::Resolver { .. } => who.misconfigured("cannot be asked"),
            _ => Self::malformed(name, "JSON of another form"),
        }
    }

    fn of_status(status: StatusCode, body: &str, headers: &HeaderMap, who: &Who<'_>) -> Self {
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

/// `Retry-After` in seconds (RFC 9110, 10.2.3); the date form is not used by these providers.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
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
    }
}
