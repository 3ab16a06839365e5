//! What stands around every endpoint: trace, log line, metrics, one form of errors, panics caught, headers, compression.

use std::{any::Any, panic::AssertUnwindSafe, time::Instant};

use futures_util::FutureExt;
use poem::{
    Endpoint, EndpointExt, IntoEndpoint, IntoResponse, PathPattern, Request, Response, Result, Route,
    endpoint::BoxEndpoint,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    web::{Compress, CompressionAlgo},
};
use poem_openapi::error::{ParseParamError, ParsePathError};
use tracing::{Instrument, field::Empty};

use super::{
    Fingerprint, Origins, Paths, Problem, Tokens, Trace, docs, health, host,
    measured::{Intake, measured},
    wire,
};
use crate::{
    config::Secret,
    telemetry::{self, name},
};

/// The longest request target, and all header fields together, in bytes.
const MAX_TARGET: usize = 8 * 1024;
const MAX_HEAD: usize = 32 * 1024;
/// Below this a compressed answer is hardly smaller.
const WORTH_COMPRESSING: usize = 1024;

/// What the frame around an API needs to know.
pub struct Chassis {
    /// The (merged) `OpenAPI` document, see [`super::merge`]. None for a process without an API.
    pub document: Option<String>,
    /// The server's secret, for tokens and fingerprints. None for a process without an API.
    pub secret: Option<Vec<u8>>,
    /// Who may call from a browser.
    pub origins: Origins,
    /// Whether the process can do its work.
    pub probe: health::Probe,
    /// Its metrics.
    pub metrics: health::Render,
}

/// A whole HTTP application: an API in its frame.
pub struct App {
    inner: BoxEndpoint<'static, Response>,
    paths: Paths,
    origins: Origins,
    metrics_token: Option<Secret>,
}

/// Puts `api` into the frame: health, metrics and documentation beside it, [`App`] around it.
pub fn app<E>(chassis: Chassis, api: E) -> Result<App, serde_json::Error>
where
    E: IntoEndpoint,
    E::Endpoint: 'static,
{
    let document = chassis.document.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default();
    let route = health::health(Route::new(), &chassis.probe, chassis.metrics);
    let route = match &chassis.document {
        Some(text) => docs::docs(route, text),
        None => route,
    };
    let route = route.nest("/", api);
    let inner = match chassis.secret {
        Some(secret) => route.data(Tokens::new(&secret)).data(Fingerprint::new(&secret)).map_to_response().boxed(),
        None => route.map_to_response().boxed(),
    };
    Ok(App { inner, paths: Paths::of(&document), origins: chassis.origins, metrics_token: None })
}

impl App {
    /// With the token that opens `/metrics` on addresses other than loopback, where it is closed otherwise.
    #[must_use]
    pub fn with_metrics_token(mut self, token: Option<Secret>) -> Self {
        self.metrics_token = token;
        self
    }
}

impl Endpoint for App {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let started = Instant::now();
        let method = request.method().clone();
        let span = if is_probe(request.uri().path()) {
            tracing::info_span!(target: telemetry::UNTOLD, "request", trace_id = Empty)
        } else {
            tracing::info_span!("request", trace_id = Empty)
        };
        let trace = Trace::begin(&span, request.headers());
        let known = self.paths.find(request.uri().path()).map(|path| path.template.clone());
        request.set_data(trace.clone());

        let facts = Facts::of(&request);
        let origin = self.origins.allowed(request.headers());
        let intake = Intake::of(&mut request);
        let answer = self.answer(request, &facts, origin.is_some()).instrument(span.clone()).await;
        let endpoint = known
            .or_else(|| {
                answer.data::<PathPattern>().map(|pattern| pattern.0.to_string()).filter(|_| answer.is_success())
            })
            .unwrap_or_else(|| "other".to_owned());
        let mut answer = span.in_scope(|| complete(answer, &trace));
        self.origins.mark(origin, answer.headers_mut());
        facts.dress(answer.headers_mut());
        if let Ok(traceparent) = HeaderValue::from_str(&trace.traceparent) {
            answer.headers_mut().insert("traceparent", traceparent);
        }
        let mut answer = finish(answer, &facts).await;
        if let Some(intake) = &intake
            && !intake.settle().await
        {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let seconds = started.elapsed().as_secs_f64();
        count(&method, &endpoint, answer.status(), seconds);
        let answer = sizes(&method, &endpoint, intake.as_ref().map_or(0, Intake::read), answer);
        telemetry::describe_request(&span, known_method(&method), &endpoint, answer.status().as_u16());
        span.in_scope(|| {
            let status = answer.status().as_u16();
            if is_probe(&endpoint) {
                tracing::debug!(%method, endpoint, status, seconds, "answered");
            } else {
                tracing::info!(%method, endpoint, status, seconds, "answered");
            }
        });
        Ok(answer)
    }
}

/// What must be remembered of a request once an endpoint has taken it.
struct Facts {
    head: bool,
    gzip: bool,
    authorized: bool,
}

impl Facts {
    fn of(request: &Request) -> Self {
        Self {
            head: request.method() == Method::HEAD,
            gzip: takes_gzip(request.headers()),
            authorized: request.headers().contains_key(header::AUTHORIZATION),
        }
    }

    fn dress(&self, headers: &mut HeaderMap) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if self.authorized {
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        }
    }
}

impl App {
    async fn answer(&self, mut request: Request, facts: &Facts, cors: bool) -> Response {
        if let Err(problem) = host::check(&request).and_then(|()| bounded(&request)) {
            return problem.into_response();
        }
        let path = request.uri().path().to_owned();
        let known = self.paths.find(&path);
        if request.method() == Method::OPTIONS
            && let Some(known) = known
            && !known.has(&Method::OPTIONS)
        {
            let allow = known.allow();
            return match Origins::preflight(&request, &allow) {
                Some(preflight) if cors => preflight,
                _ => Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, allow).finish(),
            };
        }
        if facts.head {
            request.set_method(Method::GET);
        }
        let method = request.method().clone();
        // Not left to the router: what it has no method for here, it may take for the thing of a pattern.
        if let Some(known) = known
            && !known.has(&method)
        {
            return Problem::method_not_allowed(&known.allow()).into_response();
        }
        // Before anything is done. A route that is not in the document declares no parameters: it has none.
        let query = request.uri().query();
        let checked = match known {
            Some(known) => known.check(&method, query),
            None if query.is_some_and(|query| !query.is_empty()) => Err(Problem::not_found()),
            None => Ok(()),
        };
        if let Err(problem) = checked {
            return problem.into_response();
        }
        if path == health::METRICS
            && let Err(problem) = health::may_scrape(&request, self.metrics_token.as_ref())
        {
            return problem.into_response();
        }
        let mut misread = None;
        let answer = match AssertUnwindSafe(self.inner.call(request)).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                misread = Misread::of(&error);
                error.into_response()
            }
            Err(panic) => Problem::broken().with_source(Panicked(words(&*panic))).into_response(),
        };
        if answer.data::<Problem>().is_some() || !is_error(answer.status()) {
            return answer;
        }
        let pattern = answer.data::<PathPattern>().cloned();
        let (parts, body) = answer.into_parts();
        let text = body.into_string().await.unwrap_or_default();
        let parameter = |index| known.and_then(|known| known.parameter(index)).map(str::to_owned);
        let mut answer = translated(parts.status, &text, misread, parameter).into_response();
        if let Some(pattern) = pattern {
            answer.set_data(pattern);
        }
        answer
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a panic: {0}")]
struct Panicked(String);

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "of no known form".to_owned())
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// The request's head within its limits, and nothing in its target that no text of ours can hold.
fn bounded(request: &Request) -> Result<(), Problem> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    if target.len() > MAX_TARGET {
        let limit = format!("the request target is over its limit of {MAX_TARGET} bytes");
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "target_too_long", limit));
    }
    let head: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head > MAX_HEAD {
        let limit = format!("the header fields are over their limit of {MAX_HEAD} bytes");
        return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", limit));
    }
    if target.contains("%00") {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_parameter",
            "the request target must not contain U+0000",
        ));
    }
    Ok(())
}

/// Poem's own errors come as plain text that names Rust types; here they get our form.
fn translated(
    status: StatusCode,
    text: &str,
    misread: Option<Misread>,
    parameter: impl Fn(usize) -> Option<String>,
) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::not_found(),
        StatusCode::UNAUTHORIZED => Problem::unauthorized(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::unsupported_media("the body has a content type that is not taken here")
        }
        StatusCode::BAD_REQUEST => match misread {
            Some(Misread { name, reason }) => {
                let index = name.strip_prefix("param").and_then(|digits| digits.parse().ok());
                let name = index.and_then(parameter).unwrap_or_else(|| name.to_owned());
                let rule = reason.strip_prefix("verification failed. ").and_then(in_words);
                let rule = rule.unwrap_or_else(|| "is not of the documented form".to_owned());
                Problem::invalid_parameter(&name, rule)
            }
            None => Problem::malformed("malformed_request", "the request could not be read"),
        },
        status if status.is_server_error() => Problem::broken().with_source(std::io::Error::other(text.to_owned())),
        status => Problem::new(status, "refused", status.canonical_reason().unwrap_or("refused").to_lowercase()),
    }
}

/// A parameter that is not of its type, or breaks a rule of the document; those of a path are named `param0` and so on.
struct Misread {
    name: &'static str,
    reason: String,
}

impl Misread {
    fn of(error: &poem::Error) -> Option<Self> {
        let in_query = error.downcast_ref().map(|ParseParamError { name, reason }| (*name, reason));
        let in_path = || error.downcast_ref().map(|ParsePathError { name, reason }| (*name, reason));
        in_query.or_else(in_path).map(|(name, reason)| Self { name, reason: reason.clone() })
    }
}

/// The rule in "minimum(1, exclusive: false)". Anything else that poem says may tell types or the value, and is not repeated.
fn in_words(rule: &str) -> Option<String> {
    let (name, rest) = rule.trim().split_once('(')?;
    let limit = rest.split([',', ')']).next()?;
    let words = match name {
        "minimum" => format!("must be at least {limit}"),
        "maximum" => format!("must be at most {limit}"),
        "minLength" => format!("must have at least {limit} characters"),
        "maxLength" => format!("must have at most {limit} characters"),
        _ => return None,
    };
    Some(words)
}

/// Gives a problem its trace, and logs what is behind it, here and nowhere else.
fn complete(answer: Response, trace: &Trace) -> Response {
    let Some(told) = answer.data::<Problem>().cloned() else { return answer };
    if told.status().is_server_error() {
        // Without a source it is the answer to a question of the client's, such as a position that is not reached yet.
        if let Some(error) = told.chain() {
            tracing::error!(code = told.code(), error, "{told}");
        } else {
            tracing::info!(code = told.code(), "{told}");
        }
    }
    told.with_trace(&trace.trace_id).into_response()
}

/// Compresses what is worth it, and leaves out the body for HEAD.
async fn finish(mut answer: Response, facts: &Facts) -> Response {
    let kind = answer.content_type().unwrap_or_default().to_owned();
    let whole =
        ["application/json", wire::MEDIA_TYPE, "text/html", "text/plain"].iter().any(|known| kind.starts_with(known));
    if !whole || answer.headers().contains_key(header::CONTENT_ENCODING) {
        if facts.head {
            answer.set_body(());
        }
        return answer;
    }
    // All of these are in memory already.
    let Ok(bytes) = answer.take_body().into_bytes().await else {
        return Problem::broken().into_response();
    };
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if facts.head {
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        return answer;
    }
    let worth = facts.gzip && bytes.len() >= WORTH_COMPRESSING;
    answer.set_body(bytes);
    if worth { Compress::new(answer, CompressionAlgo::GZIP).into_response() } else { answer }
}

/// Whether gzip is among what the client takes (RFC 9110, 12.5.3), not with weight 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let refused =
            parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0)));
        ["gzip", "x-gzip", "*"].iter().any(|name| coding.eq_ignore_ascii_case(name)) && !refused
    })
}

/// Whether this is a probe or a scrape, which come every few seconds and say nothing.
fn is_probe(path: &str) -> bool {
    health::PROBES.iter().any(|(probe, _)| *probe == path) || path == health::METRICS
}

/// A client may invent methods; metrics and traces have a bounded number of them.
fn known_method(method: &Method) -> &str {
    match method.as_str() {
        name @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => name,
        _ => "other",
    }
}

fn count(method: &Method, endpoint: &str, status: StatusCode, seconds: f64) {
    let method = known_method(method).to_owned();
    let endpoint = endpoint.to_owned();
    metrics::counter!(name::HTTP_REQUESTS, "method" => method.clone(), "endpoint" => endpoint.clone(), "status" => status.as_u16().to_string())
        .increment(1);
    metrics::histogram!(name::HTTP_DURATION, "method" => method, "endpoint" => endpoint).record(seconds);
}

/// Records how many bytes of a body came in, and, when they are gone, how many go out.
#[expect(clippy::cast_precision_loss, reason = "no body has 2^53 bytes")]
fn sizes(method: &Method, endpoint: &str, read: usize, answer: Response) -> Response {
    let labels = [("method", known_method(method).to_owned()), ("endpoint", endpoint.to_owned())];
    metrics::histogram!(name::HTTP_REQUEST_SIZE, &labels).record(read as f64);
    measured(answer, metrics::histogram!(name::HTTP_RESPONSE_SIZE, &labels))
}
