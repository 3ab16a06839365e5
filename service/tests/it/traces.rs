//! Spans on their way to a collector. Logs and spans are a matter of the whole process, so each test starts one.

use std::{net::TcpListener, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode},
};
use poem::{Endpoint as _, Request, Route, get, handler, web::Path};
use prost::Message as _;
use service::{
    config::Logs,
    http::{self, Chassis, Origins, Readiness, Trace},
    process, telemetry,
};
use tokio::process::Command;
use tracing::Instrument as _;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

/// Tells the process that a test starts that it is one.
const TRACED: &str = "DAYBOOK_TEST_TRACED";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    logs: Logs,
}

/// Answers a request, and does some work that follows from it, as another process would: from the `traceparent` only.
#[handler]
async fn accept(trace: Trace, Path(name): Path<String>) -> String {
    tokio::spawn(async move {
        let span = tracing::info_span!("execution", name);
        telemetry::continue_trace(&span, Some(&trace.traceparent));
        async { tracing::error!("the work failed") }.instrument(span).await;
    })
    .await
    .unwrap();
    "accepted".to_owned()
}

/// Not a test of its own: the process that the tests below start. It answers three requests and ends.
#[test]
fn traced_process() {
    if std::env::var_os(TRACED).is_none() {
        return;
    }
    let code = process::enter(Line::parse_from(["daybook"]).logs, |_| async {
        let chassis = Chassis {
            document: None,
            secret: None,
            origins: Origins::default(),
            probe: Arc::new(|| Box::pin(async { Readiness::Ready })),
            metrics: Arc::new(String::new),
        };
        let app = http::app(chassis, Route::new().at("/jobs/:name", get(accept))).unwrap();
        let called = Request::builder().header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
        let answer = app.get_response(called.uri_str("/jobs/one").finish()).await;
        println!("\ntold {}", answer.header("traceparent").unwrap());
        for path in ["/jobs/two", "/health/live"] {
            assert!(app.get_response(Request::builder().uri_str(path).finish()).await.is_success());
        }
        ExitCode::SUCCESS
    });
    assert_eq!(code, ExitCode::SUCCESS);
}

/// Starts the process above, and returns what it printed once it has ended.
async fn run(endpoint: &str, settings: &[(&str, &str)]) -> String {
    let process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "traces::traced_process", "--nocapture"])
        .env(TRACED, "1")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("NO_PROXY", "127.0.0.1")
        .env("RUST_LOG", "warn")
        .envs(settings.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_mins(1), process).await.expect("it ends").unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// A span's attribute, as text.
fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn one_trace_leads_from_the_caller_to_what_follows() {
    let collector = MockServer::start().await;
    Mock::given(matchers::method("POST"))
        .and(matchers::path("/v1/traces"))
        .and(matchers::header("content-type", "application/x-protobuf"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&collector)
        .await;
    let printed = run(&collector.uri(), &[("OTEL_SERVICE_NAME", "traced")]).await;

    let received = collector.received_requests().await.unwrap();
    let exported = received.iter().map(|request| ExportTraceServiceRequest::decode(&*request.body).unwrap());
    let exported: Vec<_> = exported.flat_map(|request| request.resource_spans).collect();
    assert!(exported.iter().all(|from| format!("{:?}", from.resource).contains(r#"StringValue("traced")"#)));
    let scopes = exported.into_iter().flat_map(|from| from.scope_spans);
    let spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
    assert_eq!(spans.len(), 4, "two requests and what followed, but no probe: {spans:#?}");

    let (ours, others): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span.trace_id == hex::decode(TRACE).unwrap());
    let [request, work] = ["GET /jobs/:name", "execution"]
        .map(|name| *ours.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}")));
    assert_eq!(request.parent_span_id, hex::decode(CALLER).unwrap());
    assert_eq!(attribute(request, "http.route"), Some("/jobs/:name"));
    assert_eq!(work.parent_span_id, request.span_id);
    assert_eq!(work.status.as_ref().unwrap().code(), StatusCode::Error);
    let told = format!("told 00-{TRACE}-{}-01", hex::encode(&request.span_id));
    assert!(printed.contains(&told), "{told} is missing in {printed}");

    // A trace that begins here has one root, and so the other's two spans are in one trace of their own.
    assert_eq!(others.len(), 2);
    assert_eq!(others[0].trace_id, others[1].trace_id);
    assert_eq!(others.iter().filter(|span| span.parent_span_id.is_empty()).count(), 1);
}

#[tokio::test]
async fn a_collector_that_never_answers_keeps_nothing_from_ending() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", deaf.local_addr().unwrap());
    let printed = run(&endpoint, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")]).await;
    assert!(printed.contains(&format!("told 00-{TRACE}-")), "{printed}");
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_once() {
    let collector = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(ResponseTemplate::new(400)).mount(&collector).await;
    // Each span is a batch of its own.
    let settings = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"), ("RUST_LOG", "service=debug")];
    let printed = run(&collector.uri(), &settings).await;
    let told = ["spans cannot be exported", "spans are lost"].map(|told| printed.matches(told).count());
    assert_eq!(told, [1, 3], "{printed}");
}

#[tokio::test]
async fn a_collector_that_is_away_keeps_nothing_from_ending() {
    let gone = service::embedded::Reserved::take("127.0.0.1:0".parse().unwrap()).unwrap();
    let printed = run(&format!("http://{}", gone.addr()), &[]).await;
    assert!(printed.contains(&format!("told 00-{TRACE}-")), "{printed}");
}

#[tokio::test]
async fn what_is_no_address_is_told_and_nothing_is_exported() {
    let printed = run("http://[", &[]).await;
    assert!(printed.contains("no spans are exported"), "{printed}");
    let printed = run("", &[]).await;
    assert!(!printed.contains("no spans are exported"), "{printed}");
}
