//! Spans, sent to a collector by OTLP over HTTP (protobuf), where one is configured. Else nothing here is set up, and
//! what others call does nothing.
//!
//! A thread of its own sends them in batches. What does not fit into its bounded queue is dropped: export holds up nobody.

use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    Context, Key, KeyValue,
    trace::{SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _},
};
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::{Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

/// The target of spans that are not exported: those of probes and scrapes, which come every few seconds and say nothing.
pub const UNTOLD: &str = "untold";

/// How long the last spans may take to leave when the process ends.
const FLUSH: Duration = Duration::from_secs(2);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Why no spans can be exported.
#[derive(Debug, thiserror::Error)]
#[error("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: {0}")]
pub(super) struct Unusable(#[from] opentelemetry_otlp::ExporterBuildError);

/// Hands spans of `info` and above to the exporter for the collector at `endpoint`. `RUST_LOG` has no say in it; the
/// other variables of the OpenTelemetry SDK (`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, …) do.
pub(super) fn layer<S>(endpoint: &str) -> Result<impl Layer<S> + Send + Sync + use<S>, Unusable>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let inner = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces_url(endpoint))
        .build()?;
    let exporter = Exporter { inner, failing: AtomicBool::new(false) };
    let provider = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
    let provider = PROVIDER.get_or_init(|| provider);
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("daybook"))
        .with_context_activation(false)
        .with_location(false)
        .with_threads(false);
    Ok(spans.with_filter(Targets::new().with_default(LevelFilter::INFO).with_target(UNTOLD, LevelFilter::OFF)))
}

/// The collector's address for spans: the setting is the base for all signals (OpenTelemetry protocol exporter
/// specification, "Endpoint URLs for OTLP/HTTP").
fn traces_url(endpoint: &str) -> String {
    format!("{}/v1/traces", endpoint.trim_end_matches('/'))
}

/// Who sends: `OTEL_SERVICE_NAME`, else the program's name.
fn resource() -> Resource {
    let told = Resource::builder().build();
    let name = told.get(&Key::from_static_str("service.name")).map(|name| name.as_str().into_owned());
    if name.is_some_and(|name| !name.starts_with("unknown_service")) {
        return told;
    }
    let program = std::env::args_os().next();
    let program = program.as_deref().and_then(|program| Path::new(program).file_stem()?.to_str());
    Resource::builder().with_service_name(program.unwrap_or("daybook").to_owned()).build()
}

/// Whether spans are exported.
pub fn exports() -> bool {
    PROVIDER.get().is_some()
}

/// Makes `span` part of the trace that `traceparent` (W3C Trace Context) tells of, or else of a new one. To be called
/// before the span is entered.
///
/// Returns the `traceparent` that leads on from this span. None where the span is not exported.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) -> Option<String> {
    if !exports() {
        return None;
    }
    if let Some(parent) = traceparent.and_then(parse) {
        // Fails for a span that is not exported, which is seen below.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    own.is_valid().then(|| format!("00-{}-{}-{:02x}", own.trace_id(), own.span_id(), own.trace_flags().to_u8()))
}

/// Tells the collector what a request was about and how it was answered, by OpenTelemetry's conventions for HTTP servers.
pub fn describe_request(span: &Span, method: &str, route: &str, status: u16) {
    if !exports() {
        return;
    }
    let context = span.context();
    let span = context.span();
    span.update_name(format!("{method} {route}"));
    span.set_attribute(KeyValue::new("http.request.method", method.to_owned()));
    span.set_attribute(KeyValue::new("http.route", route.to_owned()));
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
    if status >= 500 {
        span.set_status(Status::error(""));
    }
}

/// Sends what is still to be sent, for at most two seconds. Nothing is exported afterwards.
pub(crate) fn flush() {
    if let Some(Err(error)) = PROVIDER.get().map(|provider| provider.shutdown_with_timeout(FLUSH)) {
        tracing::debug!(%error, "the last spans could not be exported");
    }
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

/// The exporter, and whether it is known that the collector takes nothing: it is told once, not with every batch.
#[derive(Debug)]
struct Exporter {
    inner: opentelemetry_otlp::SpanExporter,
    failing: AtomicBool,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        let failed_before = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Ok(()) if failed_before => tracing::info!("spans are exported again"),
            Ok(()) => {}
            Err(error) if failed_before => tracing::debug!(%error, spans, "spans are lost"),
            Err(error) => tracing::warn!(%error, spans, "spans cannot be exported and are lost"),
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_the_base_of_the_address() {
        for base in ["http://collector:4318", "http://collector:4318/"] {
            assert_eq!(traces_url(base), "http://collector:4318/v1/traces");
        }
    }

    #[test]
    fn a_trace_goes_on_only_from_a_valid_traceparent() {
        let parsed = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        assert!(parsed.is_some_and(|parent| {
            parent.trace_id().to_string() == "0af7651916cd43dd8448eb211c80319c"
                && parent.span_id().to_string() == "b7ad6b7169203331"
                && !parent.is_sampled()
        }));
        for value in ["", "00-0af7", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert!(parse(value).is_none(), "{value}");
        }
    }

    #[test]
    fn without_a_collector_a_span_leads_nowhere() {
        assert_eq!(continue_trace(&tracing::info_span!("alone"), None), None);
    }
}
