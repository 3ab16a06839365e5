//! The job of the context `execution` on a real log: one outcome, whatever comes twice, stays away, or dies.

use std::{sync::Arc, time::Duration};

use events::{
    Meta, Recorded,
    execution::{Command, Request, Status},
    policy::{OnUnknown, Policy},
};
use nats::jobs::{Delivery, Verdict};
use serde_json::{Value, json};
use service::{
    db::{self, Kind},
    embedded::Durability,
    telemetry,
    testkit::{self, Database},
};
use tokio::net::TcpListener;
use uuid::Uuid;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};
use workers::{
    execution::{Executions, Settings},
    job::Job as _,
    provider::Providers,
};

use crate::fixture::{Log, Upstream, all_at, anthropic_answer, openai_answer, request, streamed};

/// A worker of this log, whose providers are at `url`.
fn worker(log: &Log, url: &str) -> Arc<Executions> {
    worker_with_limit(log, url, Duration::from_mins(1))
}

fn worker_with_limit(log: &Log, url: &str, limit: Duration) -> Arc<Executions> {
    let providers = Arc::new(Providers::new(&all_at(url)).unwrap());
    Arc::new(Executions::new(log.store.clone(), providers, settings(limit)))
}

fn settings(call_timeout: Duration) -> Settings {
    Settings { worker: "one".to_owned(), call_timeout, lease: Duration::from_secs(15) }
}

/// What becomes of an event that is handed to a worker.
async fn run(worker: &Executions, event: &Recorded) -> Verdict {
    worker.run(event.clone(), Delivery::default()).await
}

fn ok(answer: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(streamed(answer), "text/event-stream")
}

async fn stand_in(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn a_request_is_run_and_its_answer_recorded_with_what_it_used_and_cost() {
    let log = Log::new().await;
    let server = stand_in(ok(&openai_answer("Hi"))).await;
    let event = log.request(request("openai", "gpt-4o-mini", "Hello")).await;
    assert_eq!(run(&worker(&log, &server.uri()), &event).await, Verdict::Done);

    let history = log.history(event.id).await;
    assert_eq!(log.kinds(event.id).await, ["execution_started", "provider_call_started", "execution_succeeded"]);
    for follows in &history[1..] {
        assert_eq!(follows.meta, Meta { actor: None, causation_id: Some(event.event_id), ..event.meta.clone() });
        assert_eq!(follows.scope, event.scope);
    }
    let data = |n: usize| serde_json::from_str::<serde_json::Value>(&history[n].data).unwrap();
    let mut started = data(1);
    assert!(started["token"].take().is_string());
    assert_eq!(started, json!({"attempt": 1, "worker": "one", "token": null, "lease_ms": 15_000}));
    let hash = request("openai", "gpt-4o-mini", "Hello").hash();
    // 69 tokens of input at most, and 128,000 of output, at 0.15 and 0.60 USD a million.
    assert_eq!(data(2), json!({"attempt": 1, "request_hash": hash, "max_cost": "0.07681035"}));
    let mut succeeded = log.last(event.id).await;
    assert!(succeeded["duration_ms"].take().as_u64() >= succeeded["first_chunk_ms"].take().as_u64());
    assert_eq!(
        succeeded,
        json!({
            "attempt": 1, "result": "Hi", "finish_reason": "stop", "response_id": "chatcmpl-B9MBs8Cjcvo",
            "input_tokens": 1_000, "output_tokens": 500, "cached_input_tokens": 400, "reasoning_tokens": 128,
            "cost": "0.00042", "price_table": "2026-11-20", "duration_ms": null, "first_chunk_ms": null
        })
    );
}

#[tokio::test]
async fn what_is_booked_is_the_providers_bill_or_what_it_told_or_an_estimate_that_says_so() {
    let log = Log::new().await;
    let hel = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello, Ada\"}}]}\n\n";
    let usage = |more: &str| {
        format!("data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":10,\"completion_tokens\":20{more}}}}}\n\n")
    };
    let stop = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let boom = "data: {\"error\":{\"message\":\"boom\",\"code\":\"400\"}}\n\n";
    let table = Some("2026-11-20");
    for (body, cost, price_table, estimated) in [
        // 10 tokens of input and 3 of output, at 0.15 and 0.60 USD a million.
        (format!("{hel}{stop}"), Some("0.0000033"), table, true),
        (format!("{hel}{}{stop}", usage("")), Some("0.0000135"), table, false),
        (format!("{hel}{}{stop}", usage(",\"cost\":0.0123")), Some("0.0123"), None, false),
        (format!("{hel}{}{boom}", usage("")), Some("0.0000135"), table, false),
        (format!("{hel}{}{boom}", usage(",\"cost\":\"0.0123\"")), Some("0.0123"), None, false),
        (format!("{hel}{boom}"), None, None, false),
    ] {
        let server = stand_in(ResponseTemplate::new(200).set_body_raw(body.clone(), "text/event-stream")).await;
        let event = log.request(request("openai", "gpt-4o-mini", "Hello, you there, Ada")).await;
        run(&worker(&log, &server.uri()), &event).await;
        let last = log.last(event.id).await;
        assert_eq!((last["cost"].as_str(), last["price_table"].as_str()), (cost, price_table), "{body}");
        assert_eq!(last["estimated"].as_bool().unwrap_or(false), estimated, "{body}");
    }
    // Anthropic counts the input at the start, with a token of output: by the end it is no less than what came.
    let start =
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":100,\"output_tokens\":1}}}\n\n";
    let partial =
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Partial\"}}\n\n";
    let delta = "data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":20}}\n\n";
    let boom = "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    for (body, cost, estimated) in [
        // 100 tokens at 3 and 20, or 2, at 15 USD a million.
        (format!("{start}{partial}{delta}{boom}"), Some("0.0006"), false),
        (format!("{start}{partial}{boom}"), Some("0.00033"), true),
        (format!("{start}{partial}"), Some("0.00033"), true),
        // We hang up, and it may go on.
        (format!("{start}{partial}data: hello\n\n"), None, false),
        (partial.to_owned(), None, false),
    ] {
        let server = stand_in(ResponseTemplate::new(200).set_body_raw(body.clone(), "text/event-stream")).await;
        let event = log.request(request("anthropic", "claude-sonnet-4-5", "Hello")).await;
        run(&worker(&log, &server.uri()), &event).await;
        let last = log.last(event.id).await;
        assert_eq!(last["cost"].as_str(), cost, "{body}");
        assert_eq!(last["estimated"].as_bool().unwrap_or(false), estimated, "{body}");
    }
    for (status, cost) in [(500, Some("0")), (504, None), (520, None), (524, None), (527, None)] {
        let server = stand_in(ResponseTemplate::new(status)).await;
        let event = log.request(request("openai", "gpt-4o-mini", "Hello")).await;
        run(&worker(&log, &server.uri()), &event).await;
        assert_eq!(log.last(event.id).await["cost"].as_str(), cost, "{status}");
    }
}

#[tokio::test]
async fn a_request_that_comes_again_makes_no_second_outcome() {
    let log = Log::new().await;
    let server = stand_in(ok(&anthropic_answer("Hi"))).await;
    let event = log.request(request("anthropic", "claude-sonnet-4-5", "Hello")).await;
    for worker in [worker(&log, &server.uri()), worker(&log, &server.uri())] {
        assert_eq!(run(&worker, &event).await, Verdict::Done);
    }
    assert_eq!(log.kinds(event.id).await, ["execution_started", "provider_call_started", "execution_succeeded"]);
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_that_comes_again_while_it_runs_here_is_put_off() {
    let log = Log::new().await;
    let upstream = Upstream::start().await;
    let event = log.request(request("openai", "m", "Hello")).await;
    let worker = worker(&log, &upstream.url());
    let first = tokio::spawn({
        let (worker, event) = (worker.clone(), event.clone());
        async move { run(&worker, &event).await }
    });
    let call = upstream.call().await;
    assert!(matches!(run(&worker, &event).await, Verdict::Later(_)));
    call.answer(&openai_answer("Hi")).await;
    assert_eq!(first.await.unwrap(), Verdict::Done);
    assert_eq!(log.kinds(event.id).await, ["execution_started", "provider_call_started", "execution_succeeded"]);
}

#[tokio::test]
async fn of_two_workers_that_have_it_only_the_later_attempt_writes_and_the_other_is_evidence() {
    let log = Log::new().await;
    let upstream = Upstream::start().await;
    let event = log.request(request("openai", "gpt-4o-mini", "Hello")).await;
    let (one, other) = (worker(&log, &upstream.url()), worker(&log, &upstream.url()));
    let first = tokio::spawn({
        let event = event.clone();
        async move { run(&one, &event).await }
    });
    let call_of_first = upstream.call().await;
    // Redelivered, it is nobody else's as long as the lease holds.
    assert_eq!(run(&other, &event).await, Verdict::Done);
    let due = log.lapse(event.id, 1).await;
    let second = tokio::spawn(async move { run(&other, &due).await });
    let call_of_second = upstream.call().await;
    call_of_first.answer(&openai_answer("first")).await;
    assert_eq!(first.await.unwrap(), Verdict::Done);
    assert_eq!(log.last(event.id).await["result"], "first", "kept as evidence");
    call_of_second.answer(&openai_answer("second")).await;
    assert_eq!(second.await.unwrap(), Verdict::Done);
    assert_eq!(
        log.kinds(event.id).await,
        [
            "execution_started",
            "provider_call_started",
            "execution_outcome_unknown",
            "execution_retry_due",
            "execution_started",
            "provider_call_started",
            "provider_answered_late",
            "execution_succeeded"
        ]
    );
    assert_eq!(log.last(event.id).await["result"], "second");
}

#[tokio::test]
async fn a_worker_that_dies_in_its_call_leaves_an_unknown_outcome_that_the_policy_decides_on() {
    let log = Log::new().await;
    let upstream = Upstream::start().await;
    for (policy, kinds) in [
        (OnUnknown::RetryOnce, &["execution_outcome_unknown", "execution_retry_due"][..]),
        (OnUnknown::Hold, &["execution_outcome_unknown"]),
        (OnUnknown::Fail, &["execution_outcome_unknown", "execution_failed"]),
    ] {
        let policy = Policy { outcome_unknown: policy, ..Policy::default() };
        let event = log.request(Request { policy: Some(policy), ..request("openai", "m", "Hello") }).await;
        let dying = worker(&log, &upstream.url());
        let work = tokio::spawn({
            let event = event.clone();
            async move { run(&dying, &event).await }
        });
        let call = upstream.call().await;
        work.abort();
        call.closed().await;
        log.lapse(event.id, 1).await;
        assert_eq!(log.kinds(event.id).await[2..], *kinds, "{policy:?}");
        let held = log.status(event.id).await == Status::OutcomeUnknown;
        assert_eq!(held, policy.outcome_unknown == OnUnknown::Hold);
    }
}

#[tokio::test]
async fn a_wait_that_is_over_is_run_and_an_old_one_is_not() {
    let log = Log::new().await;
    let failing = stand_in(ResponseTemplate::new(429).insert_header("retry-after", "2")).await;
    let server = stand_in(ok(&openai_answer("Hi"))).await;
    let event = log.request(request("openai", "m", "Hello")).await;
    assert_eq!(run(&worker(&log, &failing.uri()), &event).await, Verdict::Done);
    let failed = log.last(event.id).await;
    assert_eq!((&failed["code"], &failed["provider_status"]), (&json!("provider_rate_limited"), &json!(429)));
    assert!((2_000..=2_200).contains(&failed["retry_in_ms"].as_u64().unwrap()), "{failed}");
    assert_eq!((&failed["cost"], &failed["class"]), (&json!("0"), &json!("retryable")));
    // Not before it is due.
    assert_eq!(run(&worker(&log, &server.uri()), &event).await, Verdict::Done);
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
    let due = log.due(event.id, 1, false).await;
    for _ in 0..2 {
        assert_eq!(run(&worker(&log, &server.uri()), &due).await, Verdict::Done);
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    assert_eq!(log.last(event.id).await["attempt"], 2);
}

#[tokio::test]
async fn what_failed_after_all_its_attempts_is_dead() {
    let log = Log::new().await;
    let server = stand_in(ResponseTemplate::new(503)).await;
    let policy = Some(Policy { max_attempts: 2, ..Policy::default() });
    let event = log.request(Request { policy, ..request("openai", "m", "Hello") }).await;
    let worker = worker(&log, &server.uri());
    run(&worker, &event).await;
    run(&worker, &log.due(event.id, 1, false).await).await;
    let last = log.last(event.id).await;
    assert_eq!((&last["attempt"], &last["dead"], &last["provider_status"]), (&json!(2), &json!(true), &json!(503)));
    assert_eq!(log.history(event.id).await.last().unwrap().kind, "execution_failed");
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_its_connection_closed_and_is_tried_again() {
    let log = Log::new().await;
    let upstream = Upstream::start().await;
    let event = log.request(request("openai", "m", "Hello")).await;
    let worker = worker_with_limit(&log, &upstream.url(), Duration::from_millis(100));
    let (verdict, ()) = tokio::join!(run(&worker, &event), async { upstream.call().await.closed().await });
    assert_eq!(verdict, Verdict::Done);
    let last = log.last(event.id).await;
    assert_eq!((&last["code"], &last["class"]), (&json!("provider_timeout"), &json!("retryable")));
    assert!(last["duration_ms"].as_u64().unwrap() >= 100, "{last}");
    assert!(last.get("cost").is_none(), "nobody knows whether it was billed: {last}");
}

#[tokio::test]
async fn without_its_key_an_execution_fails_and_names_the_variable() {
    let log = Log::new().await;
    let providers = Arc::new(Providers::new(&workers::config::Providers::default()).unwrap());
    let worker = Executions::new(log.store.clone(), providers, settings(Duration::from_mins(1)));
    let event = log.request(request("groq", "m", "Hello")).await;
    assert_eq!(run(&worker, &event).await, Verdict::Done);
    let last = log.last(event.id).await;
    assert_eq!((&last["code"], &last["class"]), (&json!("provider_not_configured"), &json!("misconfigured")));
    assert_eq!(last["detail"], "GROQ_API_KEY is not set");
}

#[tokio::test]
async fn an_answer_too_large_for_an_event_fails_with_what_it_used() {
    let log = Log::new().await;
    // Each quote is two bytes in JSON: what counts is the event.
    let answer = openai_answer(&"\"".repeat(600_000));
    let server = stand_in(ok(&answer)).await;
    let event = log.request(request("openai", "gpt-4o-mini", "Hello")).await;
    assert_eq!(run(&worker(&log, &server.uri()), &event).await, Verdict::Done);
    assert_eq!(log.kinds(event.id).await, ["execution_started", "provider_call_started", "execution_failed"]);
    let last = log.last(event.id).await;
    assert_eq!((&last["code"], &last["class"]), (&json!("answer_too_large"), &json!("permanent")));
    assert_eq!((&last["output_tokens"], &last["cost"]), (&json!(500), &json!("0.00042")));
}

#[tokio::test]
async fn what_was_cancelled_before_is_not_run() {
    let log = Log::new().await;
    let server = stand_in(ok(&openai_answer("Hi"))).await;
    let event = log.request(request("openai", "m", "Hello")).await;
    let cancel = Command::Cancel { by: Uuid::from_u128(1), reason: None };
    log.execute(event.id, cancel, Meta::following(&event)).await;
    assert_eq!(run(&worker(&log, &server.uri()), &event).await, Verdict::Done);
    assert_eq!(log.kinds(event.id).await, ["execution_cancel_requested", "execution_cancelled"]);
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_cancel_that_no_worker_heard_still_decides_the_outcome_and_is_billed() {
    let log = Log::new().await;
    let upstream = Upstream::start().await;
    let event = log.request(request("openai", "gpt-4o-mini", "Hello")).await;
    let worker = worker(&log, &upstream.url());
    let work = run(&worker, &event);
    let cancel = async {
        let call = upstream.call().await;
        let cancel = Command::Cancel { by: Uuid::from_u128(1), reason: None };
        log.execute(event.id, cancel, Meta::following(&event)).await;
        call.answer(&openai_answer("Hi")).await;
    };
    assert_eq!(tokio::join!(work, cancel).0, Verdict::Done);
    assert_eq!(
        log.kinds(event.id).await,
        ["execution_started", "provider_call_started", "execution_cancel_requested", "execution_cancelled"]
    );
    let last = log.last(event.id).await;
    assert_eq!((&last["cost"], last.get("result")), (&json!("0.00042"), None));
}

#[tokio::test]
async fn an_answer_outlives_a_restart_of_the_database_and_is_not_asked_for_again() {
    let server = testkit::own_postgres(Durability::Off).await;
    let database = testkit::database_on(&server).await;
    let log = Log::on(database.clone());
    let upstream = Upstream::start().await;
    let event = log.request(request("openai", "m", "Hello")).await;
    let worker = worker(&log, &upstream.url());
    let work = tokio::spawn({
        let event = event.clone();
        async move { run(&worker, &event).await }
    });
    let call = upstream.call().await;
    server.kill9().await;
    // Stands where the database was, until the outcome has been tried.
    let vacant = TcpListener::bind(server.addr()).await.unwrap();
    call.answer(&openai_answer("Hi")).await;
    drop(vacant.accept().await.unwrap());
    drop(vacant);
    server.restart().await.unwrap();
    assert_eq!(work.await.unwrap(), Verdict::Done);
    // Connections from before are no good to look with.
    let log = Log::on(Database { pool: db::pool(&database.url, Kind::Workers).unwrap(), ..database });
    assert_eq!(log.kinds(event.id).await, ["execution_started", "provider_call_started", "execution_succeeded"]);
    assert_eq!(log.last(event.id).await["result"], "Hi");
    server.stop().await;
}

#[tokio::test]
async fn without_the_database_a_request_is_put_off() {
    let server = testkit::own_postgres(Durability::Off).await;
    let log = Log::on(testkit::database_on(&server).await);
    let event = log.request(request("echo", "", "Hello")).await;
    server.stop().await;
    assert!(matches!(run(&worker(&log, "http://localhost:1"), &event).await, Verdict::Later(_)));
}

#[tokio::test]
async fn a_new_consumer_begins_at_the_oldest_execution_that_has_not_ended() {
    let log = Log::new().await;
    let worker = worker(&log, "http://localhost:1");
    assert_eq!(worker.oldest_open(&log.store).await.unwrap(), 1);
    let ended = log.request(request("echo", "", "one")).await;
    let running = log.request(request("echo", "", "two")).await;
    let queued = log.request(request("echo", "", "three")).await;
    assert_eq!(run(&worker, &ended).await, Verdict::Done);
    log.start(&running).await;
    assert_eq!(worker.oldest_open(&log.store).await.unwrap(), running.position);
    log.cancel(&running).await;
    log.lapse(running.id, 1).await;
    run(&worker, &queued).await;
    let head = worker.oldest_open(&log.store).await.unwrap() - 1;
    assert_eq!(log.store.after(head - 1, 2).await.unwrap().len(), 1, "it is the end of the log");
}

#[tokio::test]
async fn what_is_used_and_spent_is_counted() {
    // The first rendering installs the recorder.
    telemetry::render();
    let log = Log::new().await;
    let server = stand_in(ok(&openai_answer("Hi"))).await;
    let event = log.request(request("openai", "gpt-4.1-nano", "Hello")).await;
    run(&worker(&log, &server.uri()), &event).await;
    let metrics = telemetry::render();
    let labels = r#"{llm_provider="openai",model="gpt-4.1-nano"}"#;
    assert!(metrics.contains(&format!("llm_tokens_used_total{labels} 1500\n")), "{metrics}");
    assert!(metrics.contains(&format!("llm_cost_total_usd{labels} 0.00027\n")), "{metrics}");
    assert!(metrics.contains(r#"prompt_executions_total{llm_provider="openai",status="succeeded"}"#), "{metrics}");
    assert!(metrics.contains(r#"prompt_execution_duration_seconds_count{llm_provider="openai"}"#), "{metrics}");
    assert!(metrics.contains("active_executions "), "{metrics}");
    // What a user invents is no label.
    let event = log.request(request("openai", "my-own-model", "Hello")).await;
    run(&worker(&log, &server.uri()), &event).await;
    let metrics = telemetry::render();
    assert!(metrics.contains(r#"llm_tokens_used_total{llm_provider="openai",model="other"}"#), "{metrics}");
    assert!(!metrics.contains("my-own-model"), "{metrics}");
}
