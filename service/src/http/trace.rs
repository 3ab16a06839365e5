//! The trace of a request, by W3C Trace Context: taken from the caller, or begun here.

use poem::{FromRequest, Request, RequestBody, Result, http::HeaderMap};
use tracing::Span;

use crate::telemetry;

/// The trace that a request is part of. As an extractor it gives what the edge found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// 32 lower-case hex digits, the same from the request to the projection.
    pub trace_id: String,
    /// `traceparent` to be passed on: this trace, with the span of this request as parent.
    pub traceparent: String,
}

impl Trace {
    /// The caller's trace if `traceparent` is one (version 00 of the recommendation, or a later one that begins like it).
    pub fn of(headers: &HeaderMap) -> Self {
        let (trace_id, flags) = given(headers).and_then(parse).map_or_else(
            || (format!("{:032x}", rand::random::<u128>().max(1)), "01".to_owned()),
            |(trace_id, flags)| (trace_id.to_owned(), flags.to_owned()),
        );
        let span = rand::random::<u64>().max(1);
        let traceparent = format!("00-{trace_id}-{span:016x}-{flags}");
        Self { trace_id, traceparent }
    }

    /// The trace of the request that `span` is about, which gets to know it. Where spans are exported, this one is the
    /// parent that is passed on.
    pub(super) fn begin(span: &Span, headers: &HeaderMap) -> Self {
        let caller = given(headers).filter(|value| parse(value).is_some());
        let trace = match telemetry::continue_trace(span, caller) {
            Some(traceparent) => Self { trace_id: traceparent[3..35].to_owned(), traceparent },
            None => Self::of(headers),
        };
        span.record("trace_id", &trace.trace_id);
        trace
    }
}

/// The only `traceparent` among the header fields.
fn given(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all("traceparent").iter();
    match (given.next(), given.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

fn parse(value: &str) -> Option<(&str, &str)> {
    let mut parts = value.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
    };
    let formed = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    let valid = version != "ff" && trace.bytes().any(|digit| digit != b'0') && span.bytes().any(|digit| digit != b'0');
    (formed && valid && (version != "00" || parts.next().is_none())).then_some((trace, flags))
}

impl<'a> FromRequest<'a> for Trace {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        Ok(request.data::<Self>().cloned().unwrap_or_else(|| Self::of(request.headers())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &'static str) -> Trace {
        Trace::of(&HeaderMap::from_iter([(
            poem::http::HeaderName::from_static("traceparent"),
            poem::http::HeaderValue::from_static(value),
        )]))
    }

    #[test]
    fn a_callers_trace_goes_on_with_a_span_of_ours() {
        let trace = of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(trace.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert!(trace.traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(!trace.traceparent.contains("b7ad6b7169203331"));
    }

    #[test]
    fn what_is_no_trace_is_not_taken() {
        for value in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_ne!(of(value).trace_id, "0af7651916cd43dd8448eb211c80319c", "{value}");
        }
    }
}
