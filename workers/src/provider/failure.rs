//! Why a provider gave no answer, and what that means for whoever asked: the one table from what came over the wire to a
//! class and a code.

use std::time::Duration;

use events::execution::{FailureClass, Usage};
use reqwest::{StatusCode, header::HeaderMap};
use rust_decimal::Decimal;

use super::{MOST, wait};

/// The most characters of a provider's own words in a detail.
const DETAIL_CHARS: usize = 500;

/// The fewest bytes of a key that is looked for in the words of others.
const SECRET: usize = 16;

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
    /// What the provider bills for it, in USD, where it said that.
    pub cost: Option<Decimal>,
    /// How long the provider wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The status of its answer, where it answered.
    pub provider_status: Option<u16>,
    /// Its own id of the request.
    pub request_id: Option<String>,
    /// It is certain that nothing was billed: it was never asked, or has refused before doing anything.
    pub unbilled: bool,
    /// The provider has ended the call itself, and works on it no more.
    pub ended: bool,
}

impl Failure {
    pub(super) fn new(class: FailureClass, code: &'static str, detail: String) -> Self {
        Self {
            class,
            code,
            detail,
            usage: Box::default(),
            cost: None,
            retry_after: None,
            provider_status: None,
            request_id: None,
            unbilled: false,
            ended: false,
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
        Self { ended: true, ..Self::new(FailureClass::Retryable, "provider_unavailable", detail) }
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
        Self { unbilled, ended: true, ..Self::new(FailureClass::Retryable, "provider_unavailable", detail) }
    }

    /// What an error means that the provider tells in the middle of an answer: by its status, if it has one, else by the
    /// name of its kind. Nobody knows what was used by then.
    pub(super) fn of_said(kind: Option<&str>, status: Option<u16>, message: &str, who: &Who<'_>) -> Self {
        let status = Named::of(kind.unwrap_or_default(), message)
            .filter(|named| *named == Named::Unpaid || status.is_none())
            .map(Named::status)
            .or(status)
            .unwrap_or(500);
        let said = || format!("{} said in the middle of an answer: {}", who.provider, who.words(message));
        Self { retry_after: wait::told(message), ended: true, ..Self::of_code(status, said, who) }
    }

    /// What an answer means whose status is an error's.
    pub(super) fn of_status(status: StatusCode, body: &str, headers: &HeaderMap, who: &Who<'_>) -> Self {
        Self {
            provider_status: Some(status.as_u16()),
            request_id: request_id(headers),
            // An error is no answer, and providers bill answers; but where one took too long, or who stands before it gave up
            // on it, it may have worked on it.
            unbilled: !matches!(status.as_u16(), 408 | 499 | 504 | 520..=527 | 598 | 599),
            ..Self::class_of(status, body, headers, who)
        }
    }

    fn class_of(status: StatusCode, body: &str, headers: &HeaderMap, who: &Who<'_>) -> Self {
        let code = status.as_u16();
        let said = || format!("{} answered {code}: {}", who.provider, who.words(body));
        let unpaid = Named::of(&names(body), body) == Some(Named::Unpaid);
        let means = match code {
            400.. if unpaid => 402,
            // A gateway may wrap the status that it was given itself into one of its own.
            400 | 500..=599 => inner_status(body).unwrap_or(code),
            _ => code,
        };
        let failure = Self::of_code(means, said, who);
        let retry_after = wait::of(headers).or_else(|| wait::told(body));
        Self { retry_after: retry_after.filter(|_| failure.class == FailureClass::Retryable), ..failure }
    }

    /// What a status means, of an answer or in one.
    fn of_code(status: u16, said: impl Fn() -> String, who: &Who<'_>) -> Self {
        match status {
            // What a provider says of a key may quote it: only our own words here.
            401 | 403 => who.misconfigured(&format!("refused the key ({status})")),
            300..=399 => who.misconfigured(&format!("answered with a redirect ({status})")),
            402 => Self::new(
                FailureClass::Misconfigured,
                "provider_misconfigured",
                format!("{}; the account of {} has no quota or credit left", said(), who.provider),
            ),
            429 => Self::new(FailureClass::Retryable, "provider_rate_limited", said()),
            408 | 409 | 425 | 499 | 500..=599 => Self::new(FailureClass::Retryable, "provider_unavailable", said()),
            _ => Self::new(FailureClass::Permanent, "provider_rejected", said()),
        }
    }
}

/// What the name of an error says, where it has no status that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Unpaid,
    Refused,
    TooMany,
    Bad,
}

impl Named {
    fn of(kind: &str, message: &str) -> Option<Self> {
        let (kind, message) = (kind.to_ascii_lowercase(), message.to_ascii_lowercase());
        let has = |names: &[&str]| names.iter().any(|name| kind.contains(name));
        let unpaid = [
            "insufficient_quota",
            "insufficient_balance",
            "insufficient_credit",
            "insufficient_funds",
            "billing",
            "payment",
        ];
        let spoken =
            ["insufficient_quota", "insufficient balance", "credit balance is too low", "insufficient credits"];
        if has(&unpaid) || spoken.iter().any(|words| message.contains(words)) {
            Some(Self::Unpaid)
        } else if has(&["rate_limit", "ratelimit", "too_many", "toomany", "resource_exhausted", "throttl"]) {
            Some(Self::TooMany)
        } else if has(&[
            "authentication",
            "permission",
            "invalid_api_key",
            "unauthorized",
            "unauthenticated",
            "forbidden",
        ]) {
            Some(Self::Refused)
        } else if has(&[
            "invalid_request",
            "invalid_argument",
            "bad_request",
            "badrequest",
            "not_found",
            "notfound",
            "context_length",
            "content_policy",
            "content_filter",
            "unsupported",
            "unprocessable",
            "validation",
        ]) {
            Some(Self::Bad)
        } else {
            None
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Unpaid => 402,
            Self::Refused => 401,
            Self::TooMany => 429,
            Self::Bad => 400,
        }
    }
}

/// The names that the body of an error has for it.
fn names(body: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let places = ["/error/code", "/error/type", "/code", "/type", "/0/error/status", "/error/status"];
    places.iter().filter_map(|place| json.pointer(place)?.as_str()).collect::<Vec<_>>().join(" ")
}

/// The status that the body of an error says, as a number or as digits.
fn inner_status(body: &str) -> Option<u16> {
    let json: serde_json::Value = serde_json::from_str(body).ok()?;
    let places = ["/error/code", "/error/status", "/code", "/status", "/0/error/code"];
    let statuses = places.iter().filter_map(|place| {
        let status = json.pointer(place)?;
        status.as_str().map_or_else(|| status.as_u64()?.try_into().ok(), |digits| digits.trim().parse().ok())
    });
    statuses.into_iter().find(|status| (400..600).contains(status))
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
            let places = [
                "/error/message",
                "/error/error/message",
                "/error",
                "/message",
                "/detail",
                "/0/error/message",
                "/msg",
                "/error_msg",
            ];
            places.iter().find_map(|place| json.pointer(place)?.as_str())
        });
        let text = message.unwrap_or(body);
        if self.key.is_empty() {
            bounded(text)
        } else if self.key.len() < SECRET {
            // What is so short is no secret, and stands in other words.
            bounded(&without_keys(text))
        } else {
            bounded(&without_keys(&text.replace(self.key, "[key]")))
        }
    }
}

/// Without what looks like a key: providers quote those that they were given, in part or whole.
fn without_keys(text: &str) -> String {
    let quoted = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',' | ':' | '(' | '=');
    text.split_inclusive(quoted)
        .map(|word| {
            let begins = ["sk-", "sk_", "gsk_", "AIza"].iter().any(|prefix| word.starts_with(prefix));
            // Some are shown in part.
            if begins && (word.len() >= SECRET || word.contains(['*', '…'])) {
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
        key: "sk-secret-of-ours",
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
            (402, Misconfigured, "provider_misconfigured"),
            (403, Misconfigured, "provider_misconfigured"),
            (404, Permanent, "provider_rejected"),
            (408, Retryable, "provider_unavailable"),
            (409, Retryable, "provider_unavailable"),
            (413, Permanent, "provider_rejected"),
            (422, Permanent, "provider_rejected"),
            (429, Retryable, "provider_rate_limited"),
            (500, Retryable, "provider_unavailable"),
            (524, Retryable, "provider_unavailable"),
            (529, Retryable, "provider_unavailable"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = Failure::of_status(status, "no", &HeaderMap::new(), &WHO);
            assert_eq!((failure.class, failure.code), (class, code), "{status}");
        }
    }

    #[test]
    fn the_status_that_a_gateway_was_given_itself_counts() {
        use FailureClass::{Misconfigured, Permanent, Retryable};
        for (status, body, class) in [
            (500, r#"{"error":{"message":"too long","code":"400"}}"#, Permanent),
            (502, r#"{"error":{"message":"slow","code":429}}"#, Retryable),
            (500, r#"{"code":"401"}"#, Misconfigured),
            (400, r#"{"error":{"message":"busy","code":"503"}}"#, Retryable),
            (400, r#"[{"error":{"message":"busy","code":503}}]"#, Retryable),
            (500, r#"{"error":{"message":"no","code":"rate"}}"#, Retryable),
            (404, r#"{"error":{"message":"no such model","code":500}}"#, Permanent),
        ] {
            let failure = Failure::of_status(StatusCode::from_u16(status).unwrap(), body, &HeaderMap::new(), &WHO);
            assert_eq!((failure.class, failure.provider_status), (class, Some(status)), "{status} {body}");
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
            (None, Some(599), Retryable, "provider_unavailable"),
            (Some("rate_limit_exceeded"), None, Retryable, "provider_rate_limited"),
            (None, Some(429), Retryable, "provider_rate_limited"),
            (Some("invalid_request_error"), None, Permanent, "provider_rejected"),
            (Some("BadRequestError"), None, Permanent, "provider_rejected"),
            (Some("insufficient_quota"), Some(429), Misconfigured, "provider_misconfigured"),
            (None, Some(402), Misconfigured, "provider_misconfigured"),
            (None, Some(409), Retryable, "provider_unavailable"),
            (Some("insufficient_system_resource"), None, Retryable, "provider_unavailable"),
            (Some("server_error"), Some(400), Permanent, "provider_rejected"),
            (Some("authentication_error"), None, Misconfigured, "provider_misconfigured"),
            (None, Some(403), Misconfigured, "provider_misconfigured"),
        ] {
            let failure = Failure::of_said(kind, status, "sk-secret-of-ours is busy", &WHO);
            assert_eq!((failure.class, failure.code), (class, code), "{kind:?} {status:?}");
            assert!(!failure.unbilled && !failure.detail.contains("sk-secret-of-ours"), "{failure}");
        }
    }

    #[test]
    fn a_detail_has_the_providers_words_in_bounds_and_never_the_key() {
        let said = |body: &str| WHO.words(body);
        assert_eq!(said(r#"{"error":{"message":"Bad sk-secret-of-ours\nhere\u0000"}}"#), "Bad [key] here ");
        assert_eq!(said(r#"{"error":"model not found"}"#), "model not found");
        assert_eq!(said("<html>"), "<html>");
        assert_eq!(said(&"é".repeat(700)).chars().count(), DETAIL_CHARS + 1);
        let refused = Failure::of_status(StatusCode::UNAUTHORIZED, "sk-sec…", &HeaderMap::new(), &WHO);
        assert_eq!(refused.detail, "openai refused the key (401): check OPENAI_API_KEY and OPENAI_BASE_URL");
    }

    #[test]
    fn what_came_over_the_wire_is_told() {
        let headers = HeaderMap::from_iter([("request-id".parse().unwrap(), "req_1".parse().unwrap())]);
        let failure = Failure::of_status(StatusCode::SERVICE_UNAVAILABLE, "", &headers, &WHO);
        assert_eq!((failure.provider_status, failure.request_id.as_deref()), (Some(503), Some("req_1")));
        assert!(failure.unbilled);
        for status in [408, 504, 520, 522, 524, 527] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!Failure::of_status(status, "", &headers, &WHO).unbilled, "{status}");
        }
    }

    #[test]
    fn an_account_without_quota_fails_at_once_and_names_its_provider() {
        for (status, body) in [
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
            ),
            (402, r#"{"error":{"message":"Insufficient Balance"}}"#),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = Failure::of_status(status, body, &HeaderMap::new(), &WHO);
            assert_eq!(
                (failure.class, failure.code),
                (FailureClass::Misconfigured, "provider_misconfigured"),
                "{body}"
            );
            assert!(failure.detail.contains("the account of openai"), "{failure}");
            assert_eq!(failure.retry_after, None);
        }
    }

    #[test]
    fn a_short_key_garbles_no_words() {
        for key in ["key", "max", "sk-short"] {
            let who = Who { key, ..WHO };
            assert_eq!(who.words("max_tokens of the key sk-learn"), "max_tokens of the key sk-learn");
        }
        assert_eq!(WHO.words("no sk-other-key-of-yours, or sk-ab**yz"), "no [key], or [key]");
    }
}
