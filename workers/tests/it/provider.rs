//! Both wire forms, and the third: what is sent, what is understood, and what becomes of everything else.

use events::{
    execution::{FailureClass, Request, Usage},
    model::{Message, Parameters, Role},
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};
use workers::provider::{Completion, Draft, Failure, Providers};

use crate::fixture::{KEY, Upstream, all_at, anthropic_answer, last, openai_answer, request, streamed};

/// A stand-in that answers on `at`, and the providers that go there.
async fn stand_in(at: &str, answer: ResponseTemplate) -> (MockServer, Providers) {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path(at)).respond_with(answer).mount(&server).await;
    let providers = Providers::new(&all_at(&server.uri())).unwrap();
    (server, providers)
}

async fn openai(answer: ResponseTemplate) -> Result<Completion, Failure> {
    let (_server, providers) = stand_in("/v1/chat/completions", answer).await;
    ask(&providers, &request("openai", "gpt-4o-mini", "Hello")).await
}

async fn anthropic(answer: ResponseTemplate) -> Result<Completion, Failure> {
    let (_server, providers) = stand_in("/v1/messages", answer).await;
    ask(&providers, &request("anthropic", "claude-sonnet-4-5", "Hello")).await
}

fn ok(answer: &Value) -> ResponseTemplate {
    raw(&streamed(answer), "text/event-stream")
}

fn raw(body: &str, kind: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body.to_owned(), kind)
}

async fn ask(providers: &Providers, request: &Request) -> Result<Completion, Failure> {
    let draft = Draft::default();
    let answer = providers.answer(request, &draft).await;
    assert!(answer.as_ref().is_ok_and(|answer| answer.text == draft.text()) || answer.is_err());
    answer
}

#[tokio::test]
async fn openai_is_asked_for_a_chat_completion_with_everything_that_was_requested() {
    let (server, providers) = stand_in("/v1/chat/completions", ok(&openai_answer(" Hi \n"))).await;
    let mut asked = request("openai", "gpt-4o-mini", "Hello");
    asked.messages.insert(0, Message { role: Role::System, content: "Be short".to_owned() });
    asked.parameters = Parameters {
        system: Some("Be short".to_owned()),
        temperature: Some(0.5),
        top_p: Some(0.9),
        max_tokens: Some(64),
        seed: Some(7),
        stop: vec!["END".to_owned()],
        ..Parameters::default()
    };
    let completion = ask(&providers, &asked).await.unwrap();

    let (received, body) = last(&server).await;
    assert_eq!(received.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(
        body,
        json!({
            "model": "gpt-4o-mini", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "system", "content": "Be short"}, {"role": "user", "content": "Hello"}],
            "temperature": 0.5, "top_p": 0.9, "max_tokens": 64, "seed": 7, "stop": ["END"]
        })
    );
    let usage = Usage {
        input_tokens: Some(1_000),
        output_tokens: Some(500),
        cached_input_tokens: Some(400),
        reasoning_tokens: Some(128),
    };
    let (finish_reason, response_id) = (Some("stop".to_owned()), Some("chatcmpl-B9MBs8Cjcvo".to_owned()));
    assert_eq!(
        completion,
        Completion { text: " Hi \n".to_owned(), usage, finish_reason, response_id, ..Completion::default() }
    );
}

#[tokio::test]
async fn anthropic_is_asked_for_a_message_with_everything_that_it_knows_of() {
    let mut answer = anthropic_answer("Hi ");
    answer["content"].as_array_mut().unwrap().push(json!({"type": "text", "text": "there"}));
    let (server, providers) = stand_in("/v1/messages", ok(&answer)).await;
    let mut asked = request("anthropic", "claude-sonnet-4-5", "Hello");
    asked.messages.insert(0, Message { role: Role::System, content: "Be short".to_owned() });
    asked.parameters = Parameters {
        temperature: Some(0.5),
        top_p: Some(0.9),
        max_tokens: Some(64),
        seed: Some(7),
        stop: vec!["END".to_owned()],
        ..Parameters::default()
    };
    let completion = ask(&providers, &asked).await.unwrap();

    let (received, body) = last(&server).await;
    assert_eq!(received.headers["x-api-key"], KEY);
    assert_eq!(received.headers["anthropic-version"], "2023-06-01");
    assert_eq!(
        body,
        json!({
            "model": "claude-sonnet-4-5", "stream": true, "system": "Be short",
            "messages": [{"role": "user", "content": "Hello"}],
            "temperature": 0.5, "top_p": 0.9, "max_tokens": 64, "stop_sequences": ["END"]
        })
    );
    assert_eq!(completion.text, "Hi there");
    assert_eq!(completion.finish_reason.as_deref(), Some("end_turn"));
    assert_eq!(completion.response_id.as_deref(), Some("msg_013Zva2CMHLNnXjNJJKqJ2EF"));
    let usage = completion.usage;
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (Some(150), Some(50), Some(20)));
}

#[tokio::test]
async fn the_form_follows_from_the_providers_name_and_the_model_is_sent_as_it_is_called() {
    for (provider, at) in [
        ("openai", "/v1/chat/completions"),
        ("groq", "/openai/v1/chat/completions"),
        ("deepseek", "/v1/chat/completions"),
        ("openrouter", "/api/v1/chat/completions"),
    ] {
        let (server, providers) = stand_in(at, ok(&openai_answer("Hi"))).await;
        for model in ["claude-3-opus", "o3-mini-high", "anthropic::x", "a/b:free"] {
            let completion = ask(&providers, &request(provider, model, "Hello")).await.unwrap();
            assert_eq!(completion.text, "Hi");
            let (_, body) = last(&server).await;
            assert_eq!(body["model"], model, "{provider}");
            assert_eq!(body.get("reasoning_effort"), None, "{provider}");
        }
    }
    let (server, providers) = stand_in("/v1/messages", ok(&anthropic_answer("Hi"))).await;
    ask(&providers, &request("anthropic", "gpt-high", "Hello")).await.unwrap();
    assert_eq!(last(&server).await.1["model"], "gpt-high");
}

#[tokio::test]
async fn ollama_is_asked_without_a_key() {
    let line = |done: bool, content: &str| {
        json!({"model": "llama3", "created_at": "2026-11-20T00:00:00Z", "done": done,
               "message": {"role": "assistant", "content": content}})
    };
    let mut last_line = line(true, "");
    last_line["done_reason"] = "stop".into();
    (last_line["prompt_eval_count"], last_line["eval_count"]) = (11.into(), 3.into());
    let answer = format!("{}\n{}\n{last_line}\n", line(false, "H"), line(false, "i"));
    let (server, providers) = stand_in("/api/chat", raw(&answer, "application/x-ndjson")).await;
    let completion = ask(&providers, &request("ollama", "llama3:8b", "Hello")).await.unwrap();
    let (received, body) = last(&server).await;
    assert_eq!(completion.finish_reason.as_deref(), Some("stop"));
    assert_eq!((&body["model"], &body["stream"]), (&json!("llama3:8b"), &json!(true)));
    assert!(!received.headers.contains_key("authorization"));
    assert_eq!((completion.text.as_str(), completion.usage.input_tokens), ("Hi", Some(11)));
}

#[tokio::test]
async fn a_base_url_may_end_as_it_likes() {
    let server = MockServer::start().await;
    Mock::given(path("/v1/chat/completions")).respond_with(ok(&openai_answer("Hi"))).mount(&server).await;
    Mock::given(path("/v1/messages")).respond_with(ok(&anthropic_answer("Hi"))).mount(&server).await;
    for end in ["", "/", "/v1", "/v1/"] {
        let providers = Providers::new(&all_at(&format!("{}{end}", server.uri()))).unwrap();
        for provider in ["openai", "anthropic"] {
            assert_eq!(ask(&providers, &request(provider, "m", "Hello")).await.unwrap().text, "Hi", "{provider} {end}");
        }
    }
    let wrong = Providers::new(&all_at("localhost:1234")).err().unwrap();
    assert_eq!(wrong.to_string(), "OPENAI_BASE_URL is not an http or https URL");
}

#[tokio::test]
async fn a_key_that_is_not_set_is_named() {
    let providers = Providers::new(&workers::config::Providers {
        openai_api_key: Some("  ".to_owned().into()),
        openai_base_url: Some(String::new()),
        ..workers::config::Providers::default()
    })
    .unwrap();
    for (provider, variable) in [
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("groq", "GROQ_API_KEY"),
        ("deepseek", "DEEPSEEK_API_KEY"),
        ("openrouter", "OPENROUTER_API_KEY"),
    ] {
        let failure = ask(&providers, &request(provider, "m", "Hello")).await.unwrap_err();
        assert_eq!((failure.class, failure.code), (FailureClass::Misconfigured, "provider_not_configured"));
        assert_eq!(failure.detail, format!("{variable} is not set"));
    }
}

#[tokio::test]
async fn what_is_no_answer_has_a_class_and_never_shows_the_key() {
    use FailureClass::{Malformed, Misconfigured, Permanent, Retryable};
    let said = |status: u16| {
        let error = json!({"error": {"message": format!("No, {KEY}."), "type": "t"}, "type": "error"});
        ResponseTemplate::new(status).set_body_json(error)
    };
    for (answer, class, code, detail) in [
        (said(400), Permanent, "provider_rejected", "answered 400: No, [key]."),
        (said(401), Misconfigured, "provider_misconfigured", "refused the key (401): check"),
        (said(403), Misconfigured, "provider_misconfigured", "refused the key (403): check"),
        (said(404), Permanent, "provider_rejected", "answered 404"),
        (said(429), Retryable, "provider_rate_limited", "answered 429"),
        (said(500), Retryable, "provider_unavailable", "answered 500"),
        (said(307).insert_header("location", "/x"), Misconfigured, "provider_misconfigured", "redirect (307)"),
        (raw("{\"id\": ", "application/json"), Malformed, "malformed_answer", "JSON that is broken"),
        (raw("<html>", "text/html"), Malformed, "malformed_answer", "neither JSON nor a stream"),
        (raw("data: {\"cho\n\n", "text/event-stream"), Malformed, "malformed_answer", "JSON that is broken"),
        (raw("{}", "application/json"), Malformed, "malformed_answer", ""),
        (said(409), Retryable, "provider_unavailable", "answered 409"),
        (said(524), Retryable, "provider_unavailable", "answered 524"),
        (raw("{\"error\":{\"message\":\"no\",\"code\":\"400\"}}", "text/html"), Permanent, "provider_rejected", ": no"),
        (raw("", "text/event-stream"), Retryable, "provider_unavailable", "broke the answer off"),
        (raw(": keep-alive\n\n", "text/event-stream"), Retryable, "provider_unavailable", "broke the answer off"),
    ] {
        for failure in [openai(answer.clone()).await, anthropic(answer.clone()).await].map(Result::unwrap_err) {
            assert_eq!((failure.class, failure.code), (class, code), "{failure}");
            assert!(failure.detail.contains(detail), "{failure}");
            assert!(!failure.detail.contains(KEY), "{failure}");
            assert_eq!(failure.usage, Box::default());
        }
    }
    let wait = openai(said(429).insert_header("retry-after", "7")).await.unwrap_err().retry_after;
    assert_eq!(wait, Some(std::time::Duration::from_secs(7)));
}

#[tokio::test]
async fn a_provider_that_is_not_there_may_be_there_later() {
    // Kept, so nobody listens on it.
    let kept = service::embedded::Reserved::take("127.0.0.1:0".parse().unwrap()).unwrap();
    let providers = Providers::new(&all_at(&format!("http://{}", kept.addr()))).unwrap();
    let failure = ask(&providers, &request("openai", "m", "Hello")).await.unwrap_err();
    assert_eq!((failure.class, failure.code), (FailureClass::Retryable, "provider_unavailable"));
    assert_eq!(failure.detail, "openai cannot be reached");
}

#[tokio::test]
async fn a_base_url_may_have_a_query_and_a_key_a_header_of_its_own() {
    let azure = "/openai/deployments/d/chat/completions";
    for (base, header, at, own) in [
        ("/openai/deployments/d?api-version=2024-10-21", None, azure, "api-key"),
        ("/openai/deployments/d/chat/completions?api-version=2024-10-21", None, azure, "api-key"),
        ("/openai/deployments/d?api-version=2024-10-21", Some("Authorization"), azure, "authorization"),
        ("/?tenant=7", None, "/v1/chat/completions", "authorization"),
        ("", Some("X-Key"), "/v1/chat/completions", "x-key"),
    ] {
        let server = MockServer::start().await;
        Mock::given(path(at)).respond_with(ok(&openai_answer("Hi"))).mount(&server).await;
        let mut config = all_at(&format!("{}{base}", server.uri()));
        config.openai_key_header = header.map(str::to_owned);
        let providers = Providers::new(&config).unwrap();
        assert_eq!(ask(&providers, &request("openai", "m", "Hello")).await.unwrap().text, "Hi", "{base}");
        let received = last(&server).await.0;
        assert_eq!(received.url.query(), base.split_once('?').map(|(_, query)| query));
        let key = if own == "authorization" { format!("Bearer {KEY}") } else { KEY.to_owned() };
        assert_eq!(received.headers[own], key, "{base}");
        let with_key = received.headers.values().filter(|value| value.to_str().unwrap().contains(KEY));
        assert_eq!(with_key.count(), 1, "{base}");
    }
    let mut config = all_at("http://localhost");
    config.openai_key_header = Some("not a header".to_owned());
    let wrong = Providers::new(&config).err().unwrap();
    assert_eq!(wrong.to_string(), "OPENAI_KEY_HEADER is not the name of a header");
}

#[tokio::test]
async fn what_a_server_does_not_know_is_left_out_and_that_is_remembered() {
    let server = MockServer::start().await;
    let refuse =
        |status: u16, words: &str| ResponseTemplate::new(status).set_body_json(json!({"detail": [{"msg": words}]}));
    let has = |name: &'static str| {
        move |request: &wiremock::Request| serde_json::from_slice::<Value>(&request.body).unwrap().get(name).is_some()
    };
    let sends = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.";
    Mock::given(has("stream_options")).respond_with(refuse(422, "extra: stream_options")).mount(&server).await;
    Mock::given(has("max_tokens")).respond_with(refuse(400, sends)).mount(&server).await;
    Mock::given(path("/v1/chat/completions")).respond_with(ok(&openai_answer("Hi"))).mount(&server).await;
    let providers = Providers::new(&all_at(&server.uri())).unwrap();
    let mut asked = request("openai", "mine", "Hello");
    asked.parameters.max_tokens = Some(7);
    for calls in [3, 4, 5] {
        assert_eq!(ask(&providers, &asked).await.unwrap().text, "Hi");
        assert_eq!(server.received_requests().await.unwrap().len(), calls);
        let body = last(&server).await.1;
        assert_eq!((&body["max_completion_tokens"], body.get("stream_options")), (&json!(7), None));
    }
}

#[tokio::test]
async fn an_answer_that_said_why_it_ended_is_kept_however_its_connection_ends() {
    let upstream = Upstream::start().await;
    let providers = Providers::new(&all_at(&upstream.url())).unwrap();
    for (reason, kept) in [("stop", true), ("", false), ("new", false)] {
        let asked = request("openai", "m", "Hello");
        let (answer, ()) = tokio::join!(ask(&providers, &asked), async {
            let mut call = upstream.call().await;
            call.begin().await;
            call.say("Hel").await;
            let usage = json!({"prompt_tokens": 3, "completion_tokens": 1, "cost": "0.5"});
            let choices = json!([{"index": 0, "delta": {}, "finish_reason": reason}]);
            call.send(&format!("data: {}\n\n", json!({"choices": choices, "usage": usage}))).await;
            drop(call);
        });
        let cost = Some("0.5".parse().unwrap());
        match answer {
            Ok(answer) => assert_eq!((kept, answer.text.as_str(), answer.cost), (true, "Hel", cost)),
            Err(failure) => {
                assert_eq!((kept, failure.class, failure.cost), (false, FailureClass::Retryable, cost), "{failure}");
                assert_eq!(failure.usage.output_tokens, Some(1));
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_is_no_answer_and_is_billed() {
    let mut answer = openai_answer("");
    answer["choices"][0]["message"] = json!({"role": "assistant", "content": null, "refusal": "I will not."});
    let failure = openai(ok(&answer)).await.unwrap_err();
    assert_eq!((failure.class, failure.code), (FailureClass::Permanent, "provider_rejected"));
    assert!(failure.detail.ends_with("I will not."), "{failure}");
    assert_eq!(failure.usage.output_tokens, Some(500));

    let mut answer = anthropic_answer("");
    answer["stop_reason"] = json!("refusal");
    let failure = anthropic(ok(&answer)).await.unwrap_err();
    assert_eq!((failure.class, failure.usage.output_tokens), (FailureClass::Permanent, Some(20)));
}

#[tokio::test]
async fn an_answer_that_its_limit_left_empty_is_still_an_answer() {
    let mut answer = openai_answer("");
    answer["choices"][0]["finish_reason"] = json!("length");
    let completion = openai(ok(&answer)).await.unwrap();
    assert_eq!((completion.text.as_str(), completion.finish_reason.as_deref()), ("", Some("length")));
}

#[tokio::test]
async fn nul_becomes_the_replacement_character() {
    assert_eq!(openai(ok(&openai_answer("a\0b"))).await.unwrap().text, "a\u{fffd}b");
    assert_eq!(anthropic(ok(&anthropic_answer("a\0b"))).await.unwrap().text, "a\u{fffd}b");
}

#[tokio::test]
async fn echo_answers_with_the_prompt_and_says_what_it_is() {
    let providers = Providers::new(&workers::config::Providers::default()).unwrap();
    let mut asked = request("echo", "", "Hello, Ada");
    asked.messages.insert(0, Message { role: Role::System, content: "Be short".to_owned() });
    let completion = ask(&providers, &asked).await.unwrap();
    assert_eq!(completion.text, "Hello, Ada");
    assert_eq!(completion.finish_reason.as_deref(), Some("echo, no model"));
    assert_eq!((completion.usage.input_tokens, completion.usage.output_tokens), (Some(0), Some(0)));
    let failure = ask(&providers, &request("nobody", "m", "Hello")).await.unwrap_err();
    assert_eq!((failure.class, failure.code), (FailureClass::Permanent, "unknown_provider"));
}
