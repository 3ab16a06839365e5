//! Ollama's chat, a line of JSON for each piece: <https://docs.ollama.com/api/chat>.

use events::{
    execution::{Request, Usage},
    model::Parameters,
};
use serde_json::{Map, Value, json};

use super::{
    Draft, Tally, Told, Wrong,
    json::{count, text},
    openai, parameters, said,
};

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

pub(super) fn take(tally: &mut Tally, draft: &Draft, line: &Map<String, Value>) -> Result<(), Wrong> {
    tally.pieces = true;
    let done = matches!(line.get("done"), Some(Value::Bool(true))) || line.get("done") == Some(&json!("true"));
    if done {
        let cached = count(line.get("prompt_eval_cached_count")).filter(|tokens| *tokens > 0);
        let usage = Usage {
            input_tokens: count(line.get("prompt_eval_count")),
            output_tokens: count(line.get("eval_count")),
            cached_input_tokens: cached,
            reasoning_tokens: None,
        };
        tally.told(&Told { usage, ..Told::default() });
    }
    if let Some(wrong) = said::error(line) {
        return Err(wrong);
    }
    let message = line.get("message").and_then(Value::as_object);
    if message.is_none() && line.get("done").is_none() {
        return Err(said::bare_error(line).unwrap_or(Wrong::Malformed("JSON of another form")));
    }
    if let Some(message) = message {
        let part = |name: &str| message.get(name).map(text).unwrap_or_default();
        tally.beside.think(&part("thinking"));
        let calls = message.get("tool_calls").and_then(Value::as_array);
        calls.into_iter().flatten().try_for_each(|call| tally.beside.call(call))?;
        openai::take_text(tally, draft, message.get("content"))?;
    }
    if done {
        tally.reason(line.get("done_reason"))?;
        tally.over = true;
    }
    Ok(())
}
