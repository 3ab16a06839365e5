//! The body of a command: read within a limit, parsed, checked whole, and fingerprinted.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use poem::{
    Body as Raw, Endpoint, EndpointExt, IntoResponse, Request, RequestBody, Response, Result,
    endpoint::make,
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Compression,
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{ParseFromJSON, Type},
};
use serde_json::{Map, Value};
use sha2::Sha256;

use super::{Faults, Problem, json, schema};

/// The most bytes that a request body may have.
pub const MAX_BODY: usize = 1024 * 1024;
/// How long a client may take to send it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the rest of a refused body is read (and dropped), so that the client gets to read the answer.
const LINGER: Duration = Duration::from_secs(5);

/// What a schema cannot say of a body, each fault with its pointer. Most bodies have nothing to add.
pub trait Check {
    /// Adds what is wrong to `faults`.
    #[expect(unused_variables, reason = "most bodies have nothing to add to their schema")]
    fn check(&self, faults: &mut Faults) {}

    /// The same on the JSON itself, where a fault is to be told beside those that the schema finds. Any field may be missing
    /// or of another type here, which is not for this to say.
    #[expect(unused_variables, reason = "most bodies have nothing to add to their schema")]
    fn check_json(body: &Value, faults: &mut Faults)
    where
        Self: Sized,
    {
    }
}

/// A command's JSON body, checked against the schema that the `OpenAPI` document publishes for `T`, and by its [`Check`].
#[derive(Debug, Clone)]
pub struct Body<T> {
    /// The body.
    pub value: T,
    /// HMAC-SHA256 of its canonical JSON, to be kept with an `Idempotency-Key` in place of the body.
    pub digest: [u8; 32],
}

/// The key under which bodies are fingerprinted, derived from the server's secret.
#[derive(Clone)]
pub struct Fingerprint(Hmac<Sha256>);

impl Fingerprint {
    /// From the server's secret; the same secret gives the same fingerprints in every process.
    pub fn new(secret: &[u8]) -> Self {
        let derived = keyed(secret).chain_update(b"daybook: request bodies, 1").finalize().into_bytes();
        Self(keyed(&derived))
    }

    /// The fingerprint of a JSON value, whatever the order of its keys.
    pub fn of(&self, value: &Value) -> [u8; 32] {
        let mut canonical = Vec::new();
        json::canonical(value, &mut canonical);
        self.0.clone().chain_update(canonical).finalize().into_bytes().into()
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104)")]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of any length")
}

impl<T: ParseFromJSON + Check + 'static> Body<T> {
    async fn read(request: &Request, raw: Raw) -> Result<Self, Problem> {
        let bytes = bytes(request, raw).await?;
        let mut faults = Faults::new();
        // A command whose fields are all optional may be sent without a body.
        let body = if bytes.is_empty() { Value::Object(Map::new()) } else { json::parse(&bytes, &mut faults)? };
        let digest = request
            .data::<Fingerprint>()
            .ok_or_else(|| Problem::internal(std::io::Error::other("no fingerprint key in the request's data")))?
            .of(&body);
        Ok(Self { value: check(body, faults)?, digest })
    }
}

/// Schema, then what only code can say, all faults together; then the value.
fn check<T: ParseFromJSON + Check + 'static>(mut body: Value, mut faults: Faults) -> Result<T, Problem> {
    let schema = schema::of::<T>()?;
    let unknown = schema::check(&schema, &body, &mut faults);
    T::check_json(&body, &mut faults);
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|name, _| !unknown.contains(name));
    }
    if let Ok(value) = T::parse_from_json(Some(body)) {
        value.check(&mut faults);
        return faults.into_result().map(|()| value);
    }
    if faults.is_empty() {
        // The schema takes what the type does not: no place is known, and the parser's words would name our types.
        faults.push("", "does not have the documented form");
    }
    Err(faults.into_result().err().unwrap_or_else(Problem::broken))
}

/// The body's bytes, if it is plain JSON within the limits.
async fn bytes(request: &Request, raw: Raw) -> Result<Vec<u8>, Problem> {
    if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(encoded(request.headers(), raw).await);
    }
    let length = declared(request.headers());
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        if request.headers().get(header::EXPECT).is_none() {
            drain(raw).await;
        }
        return Err(Problem::too_large(MAX_BODY));
    }
    let typed = request.headers().get(header::CONTENT_TYPE);
    let bytes = limited(raw).await?;
    match typed {
        None if bytes.is_empty() => Ok(bytes),
        Some(media) if is_json(media.to_str().unwrap_or_default()) => Ok(bytes),
        _ => Err(Problem::unsupported_media("the body must be application/json")),
    }
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// JSON by its media type (`application/json` or `…+json`), in UTF-8 as RFC 8259 has it.
fn is_json(media: &str) -> bool {
    let mut parts = media.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json");
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let value = value.trim().trim_matches('"');
            value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
        }
        _ => true,
    });
    json && utf8
}

/// Reads while counting, so that a body without a declared length is held to the limit as well.
async fn limited(raw: Raw) -> Result<Vec<u8>, Problem> {
    let mut stream = Box::pin(raw.into_bytes_stream());
    let read = counted(&mut stream).await;
    if read.as_ref().is_err_and(|problem| problem.status() == StatusCode::PAYLOAD_TOO_LARGE) {
        let rest = async { while matches!(stream.next().await, Some(Ok(_))) {} };
        let _ = tokio::time::timeout(LINGER, rest).await;
    }
    read
}

async fn counted(stream: &mut (impl Stream<Item = io::Result<Bytes>> + Unpin)) -> Result<Vec<u8>, Problem> {
    let read = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|_| Problem::malformed("malformed_body", "the body could not be read whole"))?;
            if bytes.len() + chunk.len() > MAX_BODY {
                return Err(Problem::too_large(MAX_BODY));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(Problem::too_slow()))
}

async fn drain(raw: Raw) {
    let mut stream = Box::pin(raw.into_bytes_stream());
    let rest = async { while matches!(stream.next().await, Some(Ok(_))) {} };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

/// A compressed body is never taken. One that would be too large anyway is told so: it is inflated into nothing, up to the
/// limit, by the middleware that would do it.
async fn encoded(headers: &HeaderMap, raw: Raw) -> Problem {
    let counter = make(|request: Request| async move {
        // The rest is not drained: it would be inflated all the same.
        match counted(&mut Box::pin(request.into_body().into_bytes_stream())).await {
            Err(problem) if problem.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Ok::<_, poem::Error>(problem.into_response())
            }
            _ => Ok(Response::from(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        }
    });
    let mut request = Request::builder().method(Method::POST).body(raw);
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        request.headers_mut().append(header::CONTENT_ENCODING, encoding.clone());
    }
    match counter.with(Compression::new()).call(request).await {
        Ok(response) if response.status() == StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(MAX_BODY),
        _ => Problem::unsupported_media("request bodies are taken without content-encoding only"),
    }
}

impl<'a, T: ParseFromJSON + Check + 'static> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: <T as Type>::schema_ref() }];
        let mut registry = Registry::new();
        let required = !registry.create_fake_schema::<T>().required.is_empty();
        Some(MetaRequest { description: None, content, required })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<Self::ParamType>,
    ) -> Result<Self> {
        Ok(Self::read(request, body.take()?).await?)
    }
}
