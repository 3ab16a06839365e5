//! What orchestrators and Prometheus ask of every process.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use poem::{
    Addr, Endpoint, IntoResponse, Request, Response, Route,
    endpoint::make,
    get,
    http::{HeaderValue, StatusCode, header},
};
use serde_json::json;

use sha2::{Digest, Sha256};

use super::{Problem, caller};
use crate::config::Secret;

/// Where Prometheus asks.
pub(super) const METRICS: &str = "/metrics";

/// What a probe asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Whether the process runs.
    Live,
    /// Whether it can do its work.
    Ready,
}

/// The paths of probes: ours, and the names that others look for.
pub(super) const PROBES: [(&str, Asks); 6] = [
    ("/health/live", Asks::Live),
    ("/health/ready", Asks::Ready),
    ("/health", Asks::Ready),
    ("/healthz", Asks::Ready),
    ("/api/v1/health/live", Asks::Live),
    ("/api/v1/health/ready", Asks::Ready),
];

/// Whether a process can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All of it.
    Ready,
    /// Its own work yes, but something beside is missing, by name (`nats`).
    Degraded(Vec<String>),
    /// No, and why, in words that tell no internals.
    NotReady(String),
}

/// Asks a process whether it can do its work. Bounded in time by whoever gives it.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Readiness> + Send + Sync>;
/// Writes the metrics of a process in Prometheus' text form.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Adds the probes and `/metrics`.
pub fn health(route: Route, probe: &Probe, metrics: Render) -> Route {
    let live = || answer(|| Box::pin(async { status(&json!({ "status": "live" })) }));
    let ready = || {
        let probe = Arc::clone(probe);
        answer(move || {
            let probe = probe();
            Box::pin(async move {
                match probe.await {
                    Readiness::Ready => status(&json!({ "status": "ready" })),
                    Readiness::Degraded(missing) => status(&json!({ "status": "ready", "degraded": missing })),
                    Readiness::NotReady(reason) => {
                        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason).into_response()
                    }
                }
            })
        })
    };
    let metrics = answer(move || {
        let text = metrics();
        Box::pin(async move { Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(text) })
    });
    PROBES.iter().fold(route.at(METRICS, get(metrics)), |route, (path, asks)| match asks {
        Asks::Live => route.at(*path, get(live())),
        Asks::Ready => route.at(*path, get(ready())),
    })
}

/// 401 for a scrape on an address other than loopback without the token; 403 where there is none.
pub(super) fn may_scrape(request: &Request, token: Option<&Secret>) -> Result<(), Problem> {
    // What was made in this process came over no address.
    let Addr::SocketAddr(addr) = &request.local_addr().0 else { return Ok(()) };
    if addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let Some(token) = token else {
        return Err(Problem::forbidden("metrics are told on loopback only, as no METRICS_TOKEN is set"));
    };
    // Hashes are compared, so that the time tells nothing of the token.
    let hash = |text: &str| Sha256::digest(text.as_bytes());
    if caller::token(request).is_some_and(|given| hash(given) == hash(token.expose())) {
        return Ok(());
    }
    let refused =
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "metrics need the METRICS_TOKEN as bearer token");
    Err(refused.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
}

fn answer(
    answer: impl Fn() -> BoxFuture<'static, Response> + Send + Sync + 'static,
) -> impl Endpoint<Output = Response> {
    make(move |_| {
        let answer = answer();
        async move { Ok::<_, poem::Error>(answer.await) }
    })
}

fn status(body: &serde_json::Value) -> Response {
    Response::builder().content_type("application/json").body(body.to_string())
}
