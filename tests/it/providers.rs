//! Fake providers of the world outside, in the wire forms of the real ones.

use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, header, method, path},
};

/// OpenAI's chat completions: answers "Hello, Ada!" to whoever has the key.
pub async fn openai() -> MockServer {
    let server = MockServer::start().await;
    let answer = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_790_000_000, "model": "gpt-4o-mini-2024-07-18",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "Hello, Ada!" }
        }],
        "usage": {
            "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500,
            "prompt_tokens_details": { "cached_tokens": 200 },
            "completion_tokens_details": { "reasoning_tokens": 40 }
        }
    });
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .and(header("authorization", "Bearer sk-planted-openai-key"))
        .and(body_partial_json(json!({
            "model": "gpt-4o-mini",
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "Say hello to Ada." }
            ]
        })))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .mount(&server)
        .await;
    server
}

/// Anthropic's messages: answers "Good day, Ada." to whoever has the key.
pub async fn anthropic() -> MockServer {
    let server = MockServer::start().await;
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-3-5-haiku-20241022",
        "content": [{ "type": "text", "text": "Good day, Ada." }],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": { "input_tokens": 20, "output_tokens": 7 }
    });
    Mock::given(method("POST"))
        .and(path("/v1/messages"))
        .and(header("x-api-key", "sk-planted-anthropic-key"))
        .and(body_partial_json(json!({ "messages": [{ "role": "user", "content": "Say hello to Ada." }] })))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .mount(&server)
        .await;
    server
}
