//! Answers that come piece by piece, over sockets: their limits, and what becomes of those that are cut, endless or broken.

use std::{sync::Arc, time::Duration};

use events::execution::FailureClass;
use nats::jobs::{Delivery, Verdict};
use serde_json::json;
use workers::{
    config::{Limits, Providers as Config},
    execution::{Executions, Settings},
    job::Job as _,
    provider::{Draft, Failure, MOST, Providers},
};

use crate::fixture::{Call, Log, Upstream, all_at, request};

/// What comes of a call of `provider` with these limits, and of what was answered.
async fn call(limits: Limits, provider: &str, answer: impl AsyncFnOnce(Call)) -> (Result<String, Failure>, Draft) {
    let upstream = Upstream::start().await;
    let providers = Providers::new(&Config { limits, ..all_at(&upstream.url()) }).unwrap();
    let (draft, request) = (Draft::default(), request(provider, "m", "Hello"));
    let asked = providers.answer(&request, &draft);
    let (said, ()) = tokio::join!(asked, async { answer(upstream.call().await).await });
    (said.map(|completion| completion.text), draft)
}

fn short(first_byte: u64, idle: u64) -> Limits {
    let (first_byte_timeout, idle_timeout) = (Duration::from_millis(first_byte), Duration::from_millis(idle));
    Limits { first_byte_timeout, idle_timeout, ..Limits::default() }
}

#[tokio::test]
async fn a_text_is_there_as_it_comes() {
    let upstream = Upstream::start().await;
    let providers = Providers::new(&all_at(&upstream.url())).unwrap();
    let (draft, request) = (Draft::default(), request("openai", "m", "Hello"));
    let asked = providers.answer(&request, &draft);
    let answer = async {
        let mut call = upstream.call().await;
        call.begin().await;
        let mut so_far = String::new();
        for piece in ["Hé", "llo\0", ", ", "Ada"] {
            call.say(piece).await;
            so_far += &piece.replace('\0', "\u{fffd}");
            while draft.text() != so_far {
                draft.grown().await;
            }
        }
        call.finish().await;
        so_far
    };
    let (said, so_far) = tokio::join!(asked, answer);
    let said = said.unwrap();
    assert_eq!((said.text, said.finish_reason.as_deref()), (so_far, Some("stop")));
    assert_eq!(said.response_id.as_deref(), Some("chatcmpl-1"));
}

#[tokio::test]
async fn silence_has_its_limits_before_the_first_byte_and_between_two() {
    for (limits, begun, detail) in [
        (short(100, 60_000), false, "openai sent nothing within 100 ms"),
        (short(60_000, 100), true, "openai sent nothing more within 100 ms"),
    ] {
        let (said, draft) = call(limits, "openai", async |mut call| {
            if begun {
                call.begin().await;
                call.say("Hel").await;
            }
            call.closed().await;
        })
        .await;
        let failure = said.unwrap_err();
        assert_eq!((failure.class, failure.code), (FailureClass::Retryable, "provider_timeout"));
        assert_eq!((failure.detail.as_str(), failure.unbilled), (detail, false));
        assert_eq!((draft.text(), draft.began().is_some()), (if begun { "Hel" } else { "" }.to_owned(), begun));
    }
    // A sign of life is one, though it says nothing; headers alone are none.
    let (said, _) = call(short(100, 60_000), "openai", async |mut call| {
        call.begin().await;
        call.closed().await;
    })
    .await;
    assert_eq!(said.unwrap_err().code, "provider_timeout");
}

#[tokio::test]
async fn a_model_that_reasons_may_be_silent_where_another_is_cut() {
    let upstream = Upstream::start().await;
    // Neither the first byte nor a later one can come in no time.
    let providers = Providers::new(&Config { limits: short(0, 0), ..all_at(&upstream.url()) }).unwrap();
    let ask = async |model: &str, parameters: serde_json::Value| {
        let draft = Draft::default();
        let mut asked = request("openai", model, "Hello");
        asked.parameters = serde_json::from_value(parameters).unwrap();
        let answer = async {
            let mut call = upstream.call().await;
            call.begin().await;
            call.say("Hi").await;
            call.finish().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            said = providers.answer(&asked, &draft) => said.map(|said| said.text).map_err(|failure| failure.code),
            () = answer => unreachable!("it waits for ever"),
        }
    };
    assert_eq!(ask("o3", json!({})).await.as_deref(), Ok("Hi"));
    assert_eq!(ask("m", json!({"reasoning_effort": "high"})).await.as_deref(), Ok("Hi"));
    let limits = json!({"limits": {"first_byte_seconds": 60, "idle_seconds": 60}});
    assert_eq!(ask("m", limits).await.as_deref(), Ok("Hi"));
    let cut = providers.answer(&request("openai", "m", "Hello"), &Draft::default()).await;
    assert_eq!(cut.unwrap_err().code, "provider_timeout");
}

#[tokio::test]
async fn what_is_cut_or_broken_in_the_middle_has_its_class() {
    use FailureClass::{Malformed, Permanent, Retryable};
    let error = |kind: &str| format!("data: {}\n\n", json!({"error": {"message": "No.", "type": kind}}));
    for (rest, end, class, code, detail) in [
        // The connection breaks, or the body ends in good order but too early, as before a proxy that has lost the rest.
        ("", false, Retryable, "provider_unavailable", "broke the connection off"),
        ("", true, Retryable, "provider_unavailable", "broke the answer off"),
        ("data: {\"choices\": [{\"delta\": {\"con", true, Retryable, "provider_unavailable", "broke the answer off"),
        ("data: {\"choices\": [{\n\n", true, Malformed, "malformed_answer", "JSON that is broken"),
        ("data: lo\n\n", true, Malformed, "malformed_answer", "not JSON"),
        (&error("server_error"), true, Retryable, "provider_unavailable", "in the middle of an answer: No."),
        (&error("rate_limit_exceeded"), true, Retryable, "provider_rate_limited", "No."),
        (&error("invalid_request_error"), true, Permanent, "provider_rejected", "No."),
    ] {
        let (said, draft) = call(Limits::default(), "openai", async |mut call| {
            call.begin().await;
            call.say("Hel").await;
            call.send(&format!(" {rest}")[usize::from(!rest.is_empty())..]).await;
            if end {
                call.end().await;
            }
        })
        .await;
        let failure = said.unwrap_err();
        assert_eq!((failure.class, failure.code), (class, code), "{rest}: {failure}");
        assert!(failure.detail.contains(detail), "{failure}");
        assert_eq!((failure.provider_status, failure.request_id.as_deref()), (Some(200), Some("req_1")));
        assert_eq!((draft.text().as_str(), failure.unbilled), ("Hel", false));
    }
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let (said, _) = call(Limits::default(), "anthropic", async |mut call| {
        call.begin().await;
        call.send(&format!("event: error\ndata: {overloaded}\n\n")).await;
        call.end().await;
    })
    .await;
    let failure = said.unwrap_err();
    assert_eq!((failure.class, failure.code), (FailureClass::Retryable, "provider_unavailable"));
    assert_eq!(failure.detail, "anthropic said in the middle of an answer: Overloaded");
}

#[tokio::test]
async fn an_endless_answer_is_left_as_soon_as_no_event_can_hold_it() {
    let event = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "x".repeat(4000)}}]}));
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    let (said, draft) = call(Limits::default(), "openai", async |mut call| {
        call.begin().await;
        let sent = call.flood(chunk.as_bytes()).await;
        // What the sockets between hold comes on top of it.
        assert!(sent < 20_000_000, "{sent}");
    })
    .await;
    let failure = said.unwrap_err();
    assert_eq!((failure.class, failure.code), (FailureClass::Permanent, "answer_too_large"));
    assert!(draft.len() <= MOST);
    // One line of it, and nothing but nonsense.
    for (begin, code) in [("data: {\"choices\": \"", "answer_too_large"), ("", "malformed_answer")] {
        let (said, draft) = call(Limits::default(), "openai", async |mut call| {
            call.begin().await;
            call.send(&format!("{begin}x")).await;
            call.flood(format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16)).as_bytes()).await;
        })
        .await;
        assert_eq!((said.unwrap_err().code, draft.is_empty()), (code, true));
    }
}

#[tokio::test]
async fn the_time_to_the_first_chunk_is_in_the_outcome() {
    let log = Log::new().await;
    let upstream = Upstream::start().await;
    let providers = Arc::new(Providers::new(&all_at(&upstream.url())).unwrap());
    let (call_timeout, lease) = (Duration::from_mins(1), Duration::from_secs(15));
    let worker =
        Executions::new(log.store.clone(), providers, Settings { worker: "one".to_owned(), call_timeout, lease });
    let event = log.request(request("openai", "m", "Hello")).await;
    for cut in [true, false] {
        let due = if cut { event.clone() } else { log.due(event.id, 1, false).await };
        let answer = async {
            let mut call = upstream.call().await;
            call.begin().await;
            call.say("Hi").await;
            if !cut {
                call.finish().await;
            }
        };
        assert_eq!(tokio::join!(worker.run(due, Delivery::default()), answer).0, Verdict::Done);
        let last = log.last(event.id).await;
        let (first, all) = (last["first_chunk_ms"].as_u64().unwrap(), last["duration_ms"].as_u64().unwrap());
        assert!(first <= all, "{last}");
        assert_eq!(last["code"].as_str(), cut.then_some("provider_unavailable"), "{last}");
    }
    assert_eq!(log.last(event.id).await["result"], "Hi");
}
