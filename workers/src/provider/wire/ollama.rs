//! Ollama's chat, a line of JSON for each piece: <https://docs.ollama.com/api/chat>.

use std::borrow::Cow;

use events::{
    execution::{Request, Usage},
    model::Parameters,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Draft, Tally, Wrong, json as parse, parameters};

pub(super) fn question(request: &Request) -> Value {
    let Parameters { temperature, top_p, max_tokens, seed, stop, .. } = &request.parameters;
    let mut body = json!({ "model": request.model, "stream": true, "messages": request.messages });
    for (name, value) in [
        ("temperature", temperature.map(Value::from)),
        ("top_p", top_p.map(Value::from)),
        ("num_predict", max_tokens.map(Value::from)),
        ("seed", seed.map(Value::from)),
        ("stop", (!stop.is_empty()).then(|| json!(stop))),
    ] {
        if let Some(value) = value {
            body["options"][name] = value;
        }
    }
    parameters::ollama(&mut body, &request.parameters, &request.model);
    body
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(default)]
    done: Option<bool>,
    #[serde(borrow, default)]
    done_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
    #[serde(default)]
    prompt_eval_cached_count: Option<u64>,
    #[serde(default)]
    eval_count: Option<u64>,
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    thinking: Option<Cow<'a, str>>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

pub(super) fn take(tally: &mut Tally, draft: &Draft, data: &[u8]) -> Result<(), Wrong> {
    let line: Line<'_> = parse(data)?;
    if let Some(error) = line.error {
        return Err(Wrong::Said { kind: None, status: None, message: error.into_owned() });
    }
    if line.message.is_none() && line.done.is_none() {
        return Err(Wrong::Malformed("JSON of another form"));
    }
    if let Some(Message { content, thinking, tool_calls }) = line.message {
        tally.beside.think(&thinking.unwrap_or_default());
        tool_calls.iter().flatten().try_for_each(|call| tally.beside.call(call))?;
        draft.push(&content.unwrap_or_default())?;
    }
    if line.done == Some(true) {
        tally.over = true;
        tally.reason(line.done_reason);
        tally.usage = Usage {
            input_tokens: line.prompt_eval_count,
            output_tokens: line.eval_count,
            cached_input_tokens: line.prompt_eval_cached_count.filter(|tokens| *tokens > 0),
            reasoning_tokens: None,
        };
    }
    Ok(())
}
