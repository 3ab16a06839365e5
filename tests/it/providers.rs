//! Fake providers of the world outside, in the wire forms of the real ones.

use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, header, method, path},
};

/// OpenAI's chat completions: answers "Hello, Ada!" to whoever has the key.
pub async fn openai() -> MockServer {
    let server = MockServer::start().await;
    let chunk = |delta: Value, finish_reason: Value, usage: Value| {
        json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_790_000_000,
            "model": "gpt-4o-mini-2024-07-18", "usage": usage,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }]
        })
    };
    let mut last = chunk(
        json!({}),
        Value::Null,
        json!({
            "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500,
            "prompt_tokens_details": { "cached_tokens": 200 },
            "completion_tokens_details": { "reasoning_tokens": 40 }
        }),
    );
    last["choices"] = json!([]);
    let events = [
        chunk(json!({ "role": "assistant", "content": "" }), Value::Null, Value::Null),
        chunk(json!({ "content": "Hello, " }), Value::Null, Value::Null),
        chunk(json!({ "content": "Ada!" }), Value::Null, Value::Null),
        chunk(json!({}), json!("stop"), Value::Null),
        last,
    ];
    let events = events.map(|event| format!("data: {event}\n\n")).concat();
    let answer = events + "data: [DONE]\n\n";
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .and(header("authorization", "Bearer sk-planted-openai-key"))
        .and(body_partial_json(json!({
            "model": "gpt-4o-mini",
            "stream": true,
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "Say hello to Ada." }
            ]
        })))
        .respond_with(ResponseTemplate::new(200).set_body_raw(answer, "text/event-stream"))
        .mount(&server)
        .await;
    server
}

/// Anthropic's messages: answers "Good day, Ada." to whoever has the key.
pub async fn anthropic() -> MockServer {
    let server = MockServer::start().await;
    let events = [
        json!({ "type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-3-5-haiku-20241022", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 20, "output_tokens": 1 }
        } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Good day, " } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Ada." } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null },
                "usage": { "output_tokens": 7 } }),
        json!({ "type": "message_stop" }),
    ];
    let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    let answer: String = events.iter().map(event).collect();
    Mock::given(method("POST"))
        .and(path("/v1/messages"))
        .and(header("x-api-key", "sk-planted-anthropic-key"))
        .and(body_partial_json(
            json!({ "stream": true, "messages": [{ "role": "user", "content": "Say hello to Ada." }] }),
        ))
        .respond_with(ResponseTemplate::new(200).set_body_raw(answer, "text/event-stream"))
        .mount(&server)
        .await;
    server
}
