//! Logs, metrics and traces: where they go, and which metrics there are. What is logged, counted and traced is up to those
//! who do it. Nobody else knows of OpenTelemetry.

mod otlp;
mod queries;
mod redact;

use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::db;

pub use self::otlp::{UNTOLD, continue_trace, describe_request, exports};
pub(crate) use self::{otlp::flush, redact::hide};

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Names of metrics, so that those who count and those who read them agree.
pub mod name {
    /// Counter: requests answered, by `method`, `endpoint` (the route, not the path) and `status`.
    pub const HTTP_REQUESTS: &str = "http_requests_total";
    /// Histogram, seconds: from the request's head to the answer's, by `method` and `endpoint`.
    pub const HTTP_DURATION: &str = "http_request_duration_seconds";
    /// Histogram, bytes: the bodies of requests, as far as they were read, by `method` and `endpoint`.
    pub const HTTP_REQUEST_SIZE: &str = "http_request_size_bytes";
    /// Histogram, bytes: the bodies of answers, as they were sent, by `method` and `endpoint`.
    pub const HTTP_RESPONSE_SIZE: &str = "http_response_size_bytes";
    /// Gauge: connections to the database that are in use, by `pool`.
    pub const DB_CONNECTIONS: &str = "database_connections_active";
    /// Histogram, seconds: one statement, from sending it to its last row.
    pub const DB_DURATION: &str = "database_query_duration_seconds";
    /// Counter: errors of the database, by `kind`: `connection`, `pool`, `refused` or `other`. (The log counts them.)
    pub const DB_ERRORS: &str = "database_errors_total";
    /// Counter: executions ended, by `llm_provider` and `status`.
    pub const EXECUTIONS: &str = "prompt_executions_total";
    /// Histogram, seconds: one call of a provider, by `llm_provider`.
    pub const EXECUTION_DURATION: &str = "prompt_execution_duration_seconds";
    /// Counter: tokens used, by `llm_provider` and `model`.
    pub const TOKENS: &str = "llm_tokens_used_total";
    /// Counter: USD spent, where the price is known, by `llm_provider` and `model`.
    pub const COST: &str = "llm_cost_total_usd";
    /// Gauge: calls of providers in flight in this process.
    pub const ACTIVE: &str = "active_executions";
    /// Gauge: the position of the last event in the log.
    pub const LOG_HEAD: &str = "log_head_position";
    /// Gauge: events in the log that are not on the bus yet.
    pub const RELAY_LAG: &str = "relay_lag_events";
    /// Gauge: the size of the log's last signed head, where this process makes them.
    pub const SEALED: &str = "log_sealed_position";
    /// Gauge: events in the log that no signed head covers yet.
    pub const SEAL_LAG: &str = "seal_lag_events";
    /// Gauge: 1 while the log cannot be sealed on, else 0.
    pub const SEAL_FAILING: &str = "seal_failing";
    /// Gauge: events in the log that a projection has not applied yet, by `projection`.
    pub const PROJECTION_LAG: &str = "projection_lag_events";
    /// Gauge: things whose events a projection cannot apply, by `projection`. Anything but 0 wants somebody to look.
    pub const PROJECTION_PARKED: &str = "projection_parked_keys";
    /// Gauge: rows that are not what the log says, by `projection`. Anything but 0 wants somebody to look.
    pub const PROJECTION_FINDINGS: &str = "projection_findings_open";
    /// Gauge, 0 to 1: the share of a projection's things that were compared with the log in the last 30 days, by `projection`.
    pub const SCRUB_COVERAGE: &str = "projection_scrub_coverage_ratio";
}

/// Seconds, from a query out of memory to a slow model.
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// Bytes, from an empty body to one at the limit and answers beyond.
const SIZES: [f64; 9] = [0.0, 100.0, 1e3, 4e3, 16e3, 64e3, 256e3, 1_048_576.0, 8_388_608.0];

/// What is logged where `RUST_LOG` says nothing. The pools' own warnings tell only that a server was stopped, which those
/// who need it notice and tell as well.
const DEFAULT_FILTER: &str = "info,async_nats=warn,poem=warn,sqlx_core::pool=error,sqlx_postgres::options=error";

/// What is not logged, whatever `RUST_LOG` says.
const NO_LOGINS: &str = "async_nats::connection=debug";

/// Sends logs to standard error, without what is secret in the settings, spans to the collector at `otlp_endpoint` if there is one, and makes metrics countable. To
/// be called first in every `main`, once, outside of a runtime.
///
/// `RUST_LOG` filters the logs, else `info` and above. It also settles which of the two TLS implementations among the
/// dependencies is used: rustls panics at its first use where that is open.
pub fn install(format: LogFormat, otlp_endpoint: Option<&str>) {
    // First: what the layers count goes where it is.
    recorder();
    db::count_pools();
    // Either fails only where a caller, such as a test, has installed its own, which then stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    redact::hide_settings();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    // At `trace` it writes out how it logs in.
    let filter = NO_LOGINS.parse().map(|capped| filter.clone().add_directive(capped)).unwrap_or(filter);
    let lines = fmt::layer().with_writer(redact::Lines);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter);
    // As OpenTelemetry has it, an empty setting is none.
    let (spans, unusable) = match otlp_endpoint.filter(|endpoint| !endpoint.is_empty()).map(otlp::layer).transpose() {
        Ok(spans) => (spans, None),
        Err(error) => (None, Some(error)),
    };
    let _ = tracing_subscriber::registry().with(lines).with(spans).with(queries::layer()).try_init();
    if let Some(error) = unusable {
        tracing::warn!(%error, "no spans are exported");
    }
}

/// All metrics of this process in Prometheus' text format.
pub fn render() -> String {
    let recorder = recorder();
    db::count_active();
    recorder.run_upkeep();
    recorder.render()
}

fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        // Only an empty list of buckets is refused.
        let builder = builder
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &SIZES))
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let _ = metrics::set_global_recorder(recorder);
        describe();
        handle
    })
}

fn describe() {
    describe_counter!(name::HTTP_REQUESTS, "Requests answered.");
    describe_histogram!(name::HTTP_DURATION, Unit::Seconds, "From the request's head to the answer's.");
    describe_histogram!(name::HTTP_REQUEST_SIZE, Unit::Bytes, "Bodies of requests, as far as they were read.");
    describe_histogram!(name::HTTP_RESPONSE_SIZE, Unit::Bytes, "Bodies of answers, as they were sent.");
    describe_gauge!(name::DB_CONNECTIONS, "Connections to the database that are in use.");
    describe_histogram!(name::DB_DURATION, Unit::Seconds, "One statement, from sending it to its last row.");
    describe_counter!(name::DB_ERRORS, "Errors of the database.");
    describe_counter!(name::EXECUTIONS, "Executions ended.");
    describe_histogram!(name::EXECUTION_DURATION, Unit::Seconds, "One call of a provider.");
    describe_counter!(name::TOKENS, "Tokens used.");
    describe_counter!(name::COST, "USD spent, where the price is known.");
    describe_gauge!(name::ACTIVE, "Calls of providers in flight in this process.");
    describe_gauge!(name::LOG_HEAD, "The position of the last event in the log.");
    describe_gauge!(name::RELAY_LAG, "Events in the log that are not on the bus yet.");
    describe_gauge!(name::SEALED, "The size of the log's last signed head.");
    describe_gauge!(name::SEAL_LAG, "Events in the log that no signed head covers yet.");
    describe_gauge!(name::SEAL_FAILING, "1 while the log cannot be sealed on.");
    describe_gauge!(name::PROJECTION_LAG, "Events in the log that a projection has not applied yet.");
    describe_gauge!(name::PROJECTION_PARKED, "Things whose events a projection cannot apply.");
    describe_gauge!(name::PROJECTION_FINDINGS, "Rows that are not what the log says.");
    describe_gauge!(name::SCRUB_COVERAGE, "Things compared with the log in the last 30 days, of all.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered_with_its_description() {
        render();
        metrics::counter!(name::HTTP_REQUESTS, "method" => "GET", "endpoint" => "/x", "status" => "200").increment(2);
        metrics::histogram!(name::HTTP_DURATION, "method" => "GET", "endpoint" => "/x").record(0.02);
        metrics::gauge!(name::LOG_HEAD).set(42.0);
        let text = render();
        for line in [
            "# TYPE http_requests_total counter",
            "# HELP http_requests_total Requests answered.",
            "http_requests_total{method=\"GET\",endpoint=\"/x\",status=\"200\"} 2",
            "http_request_duration_seconds_bucket{method=\"GET\",endpoint=\"/x\",le=\"0.025\"} 1",
            "log_head_position 42",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
