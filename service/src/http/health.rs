//! What orchestrators and Prometheus ask of every process.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use poem::{Endpoint, IntoResponse, Response, Route, endpoint::make, get, http::StatusCode};
use serde_json::json;

use super::Problem;

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

/// Adds `/health/live`, `/health/ready` and `/metrics`.
pub fn health(route: Route, probe: Probe, metrics: Render) -> Route {
    let live = answer(|| Box::pin(async { status(&json!({ "status": "live" })) }));
    let ready = answer(move || {
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
    });
    let metrics = answer(move || {
        let text = metrics();
        Box::pin(async move { Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(text) })
    });
    route.at("/health/live", get(live)).at("/health/ready", get(ready)).at("/metrics", get(metrics))
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
