//! Server-sent events (HTML Living Standard, section 9.2) as bytes.

use std::{fmt::Display, io, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use poem::{
    Body, Response,
    http::{HeaderName, HeaderValue, header},
};
use poem_openapi::registry::{MetaMediaType, MetaSchema, MetaSchemaRef};
use tokio::time::timeout;

/// What a stream is called.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// A comment, or what else there is to say, is sent after so long without a message, so that nobody between takes the connection for
/// dead.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// When a client is to come back after the process has stopped, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// An event. None of them, `data` being JSON on one line, holds a line break.
pub fn message(id: impl Display, kind: &str, data: &str) -> Bytes {
    Bytes::from(format!("id: {id}\nevent: {kind}\ndata: {data}\n\n"))
}

/// An event that leaves the client where it is.
pub fn notice(kind: &str, data: &str) -> Bytes {
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}

/// No event, but the client knows from where to resume: a message without data is not dispatched, its id is kept (9.2.6).
pub fn moved(position: i64) -> Bytes {
    Bytes::from(format!("id: {position}\n\n"))
}

/// A comment: nobody between takes the connection for dead.
pub fn comment(text: &'static str) -> Bytes {
    if text.is_empty() { Bytes::from_static(b":\n\n") } else { Bytes::from(format!(": {text}\n\n")) }
}

/// Asks the client to come back, with what it has.
pub fn retry() -> Bytes {
    Bytes::from_static(RETRY.as_bytes())
}

/// How a stream stands in the document of the API. OpenAPI 3.0 has no form for one: it is that of each of its events, as
/// versions after it have it.
pub fn media(data: &'static str) -> MetaMediaType {
    let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
    let text = |description| inline(MetaSchema { description: Some(description), ..MetaSchema::new("string") });
    let properties = vec![
        ("id", text("Where the client is with it: what `Last-Event-ID` resumes from.")),
        ("event", text("What it is.")),
        ("data", text(data)),
    ];
    let description = Some("Each event.");
    MetaMediaType {
        content_type: MEDIA_TYPE,
        schema: inline(MetaSchema { description, properties, ..MetaSchema::new("object") }),
    }
}

/// The answer that goes on as long as `messages` does, at the speed at which the client takes them.
pub fn answer(messages: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    Response::builder()
        .content_type(MEDIA_TYPE)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        // nginx would gather messages.
        .header(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))
        .body(Body::from_bytes_stream(messages.map(Ok::<_, io::Error>)))
}

/// The same messages, with comments where there are none for long.
pub fn kept_alive(messages: impl Stream<Item = Bytes> + Send + 'static) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Box::pin(messages), |mut messages| async move {
        let message = timeout(HEARTBEAT, messages.next()).await.unwrap_or_else(|_| Some(comment("")))?;
        Some((message, messages))
    })
}

/// Whether the client asks for a stream (RFC 9110, 12.5.1), not with weight 0.
pub fn wanted(accept: Option<&str>) -> bool {
    accept.unwrap_or_default().split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse::<f32>().unwrap_or(1.0));
        kind.eq_ignore_ascii_case(MEDIA_TYPE) && weight > 0.0
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_stream_is_for_who_takes_it() {
        for (accept, stream) in [
            (None, false),
            (Some("*/*"), false),
            (Some("application/json"), false),
            (Some("text/event-stream"), true),
            (Some("application/json, Text/Event-Stream; q=0.5"), true),
            (Some("text/event-stream;q=0"), false),
            (Some("text/event-stream; q=0.0, application/json"), false),
        ] {
            assert_eq!(super::wanted(accept), stream, "{accept:?}");
        }
    }
}
