//! Requests, and providers that answer from this machine.

use events::{
    execution::Request,
    model::{Message, Parameters, Role},
};
use serde_json::{Value, json};
use uuid::Uuid;
use wiremock::{MockServer, Request as Received};
use workers::config::Providers;

/// The key of every stand-in, which must never be seen anywhere but in a header.
pub const KEY: &str = "sk-of-the-stand-in";

/// A request to `provider` with one message.
pub fn request(provider: &str, model: &str, text: &str) -> Request {
    Request {
        user_id: Uuid::from_u128(1),
        prompt_id: Uuid::from_u128(2),
        prompt_version: 1,
        variables: json!({}),
        messages: vec![Message { role: Role::User, content: text.to_owned() }],
        llm_provider: provider.to_owned(),
        model: model.to_owned(),
        parameters: Parameters::default(),
        retry_of: None,
    }
}

/// All providers at the same address, with keys.
pub fn all_at(url: &str) -> Providers {
    let (url, key) = (Some(url.to_owned()), || Some(KEY.to_owned().into()));
    Providers {
        openai_api_key: key(),
        openai_base_url: url.clone(),
        anthropic_api_key: key(),
        anthropic_base_url: url.clone(),
        groq_api_key: key(),
        groq_base_url: url.clone(),
        deepseek_api_key: key(),
        deepseek_base_url: url.clone(),
        openrouter_api_key: key(),
        openrouter_base_url: url.clone(),
        ollama_base_url: url,
    }
}

/// What a stand-in was asked last.
pub async fn last(server: &MockServer) -> (Received, Value) {
    let received = server.received_requests().await.unwrap().pop().expect("it was asked");
    let body = serde_json::from_slice(&received.body).unwrap();
    (received, body)
}

/// An answer in OpenAI's wire form, with `text`.
pub fn openai_answer(text: &str) -> Value {
    json!({
        "id": "chatcmpl-B9MBs8Cjcvo",
        "object": "chat.completion",
        "created": 1_741_569_952,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": "stop"
        }],
        "usage": {
            "prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500,
            "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
        },
        "service_tier": "default",
        "system_fingerprint": "fp_1"
    })
}

/// An answer in Anthropic's wire form, with `text`.
pub fn anthropic_answer(text: &str) -> Value {
    json!({
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {"input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 50, "output_tokens": 20}
    })
}
