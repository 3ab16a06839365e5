//! `OpenAI`'s chat completions: <https://platform.openai.com/docs/api-reference/chat-streaming>.

use std::borrow::Cow;

use events::{
    execution::{Request, Usage},
    model::Parameters,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Draft, Tally, Wrong, json as parse, parameters};

/// The families of models that know `max_tokens` only under its newer name.
const NEWER: [&str; 5] = ["gpt-5", "gpt-6", "o1", "o3", "o4"];

pub(super) fn question(request: &Request) -> Value {
    let Parameters { temperature, top_p, max_tokens, seed, stop, .. } = &request.parameters;
    let mut body = json!({
        "model": request.model, "stream": true, "stream_options": { "include_usage": true }, "messages": request.messages,
    });
    let longest = if NEWER.iter().any(|family| request.model.starts_with(family)) {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    for (name, value) in [
        ("temperature", temperature.map(Value::from)),
        ("top_p", top_p.map(Value::from)),
        (longest, max_tokens.map(Value::from)),
        ("seed", seed.map(Value::from)),
        ("stop", (!stop.is_empty()).then(|| json!(stop))),
    ] {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    parameters::openai(&mut body, &request.parameters);
    body
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Option<Value>,
    /// Where groq has the usage of a stream.
    #[serde(default)]
    x_groq: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: Option<Part<'a>>,
    /// In place of the delta, where the answer is not streamed.
    #[serde(borrow, default)]
    message: Option<Part<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    /// What the model thinks, under the names that deepseek, and that openrouter and groq have for it.
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

pub(super) fn take(tally: &mut Tally, draft: &Draft, data: &[u8]) -> Result<(), Wrong> {
    if data == b"[DONE]" {
        tally.over = true;
        return Ok(());
    }
    let Chunk { id, choices, usage, x_groq, error } = parse(data)?;
    if let Some(error) = error.filter(|error| !error.is_null()) {
        return Err(said(&error));
    }
    tally.id(id.filter(|id| !id.is_empty()));
    let usage = usage.filter(Value::is_object).or_else(|| x_groq?.get("usage").cloned());
    if let Some(usage) = usage {
        tally.usage = used(&usage);
    }
    for Choice { index, delta, message, finish_reason } in choices.into_iter().flatten() {
        if index > 0 {
            continue;
        }
        if let Some(Part { content, refusal, reasoning_content, tool_calls }) = delta.or(message) {
            tally.beside.think(reasoning_content.as_ref().and_then(Value::as_str).unwrap_or_default());
            tool_calls.iter().flatten().try_for_each(|call| tally.beside.call(call))?;
            draft.push(&content.unwrap_or_default())?;
            if let Some(refusal) = refusal.filter(|refusal| !refusal.is_empty()) {
                let all = tally.refusal.get_or_insert_default();
                // More of it than a detail shows need not be kept.
                if all.len() < 4096 {
                    all.push_str(&refusal);
                }
            }
        }
        tally.reason(finish_reason);
    }
    Ok(())
}

fn used(usage: &Value) -> Usage {
    let count = |place: &str| usage.pointer(place).and_then(Value::as_u64);
    Usage {
        input_tokens: count("/prompt_tokens"),
        output_tokens: count("/completion_tokens"),
        // The second is DeepSeek's name for it.
        cached_input_tokens: count("/prompt_tokens_details/cached_tokens")
            .or_else(|| count("/prompt_cache_hit_tokens"))
            .filter(|tokens| *tokens > 0),
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens").filter(|tokens| *tokens > 0),
    }
}

/// An error in the middle: `{"message", "type", "code"}`, the code being a word, or a status as openrouter has it.
fn said(error: &Value) -> Wrong {
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let code = error.get("code");
    Wrong::Said {
        kind: text("type").or_else(|| text("code")).map(str::to_owned),
        status: code.and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()),
        message: text("message").or_else(|| error.as_str()).unwrap_or_default().to_owned(),
    }
}
