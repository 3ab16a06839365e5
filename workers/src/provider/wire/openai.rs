//! `OpenAI`'s chat completions: <https://platform.openai.com/docs/api-reference/chat-streaming>. What others that speak it send
//! otherwise is read as what is meant.

use events::{
    execution::{Request, Usage},
    model::Parameters,
};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::{
    Draft, Habits, Tally, Told, Wrong,
    json::{Json, count, decimal, text, word},
    parameters, said,
};

/// The families of models that know `max_tokens` only under its newer name.
const NEWER: [&str; 5] = ["gpt-5", "gpt-6", "o1", "o3", "o4"];

pub(super) fn question(request: &Request, habits: Habits) -> Value {
    let Parameters { temperature, top_p, max_tokens, seed, stop, .. } = &request.parameters;
    let mut body = json!({ "model": request.model, "stream": true });
    if habits.stream_options {
        body["stream_options"] = json!({ "include_usage": true });
    }
    if request.llm_provider == "openrouter" {
        // Without it, it does not say what it bills.
        body["usage"] = json!({ "include": true });
    }
    body["messages"] = json!(request.messages);
    let longest = if wants_newer(request, habits) { "max_completion_tokens" } else { "max_tokens" };
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

fn wants_newer(request: &Request, habits: Habits) -> bool {
    habits.completion_tokens.unwrap_or_else(|| is_newer(&request.model))
}

/// Whether the limit is sent by its newer name; none where none is sent.
pub(super) fn sends_newer(request: &Request, habits: Habits) -> Option<bool> {
    request.parameters.max_tokens.map(|_| wants_newer(request, habits))
}

/// By its name, as it is called by itself, by a gateway (`openai/o3`) or where it was trained further (`ft:gpt-5:x`).
fn is_newer(model: &str) -> bool {
    let model = model.to_ascii_lowercase();
    let name = model.rsplit('/').next().unwrap_or_default();
    let name = name.strip_prefix("ft:").unwrap_or(name);
    NEWER.iter().any(|family| name.strip_prefix(family).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric)))
}

pub(super) fn take(tally: &mut Tally, draft: &Draft, json: &Json<'_>, chunk: &Map<String, Value>) -> Result<(), Wrong> {
    let choices = match chunk.get("choices") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(choices)) => choices.as_slice(),
        Some(choice @ Value::Object(_)) => std::slice::from_ref(choice),
        Some(_) => return Err(Wrong::Malformed("JSON of another form")),
    };
    // Groq has the usage of a stream in a place of its own, Moonshot in the choice.
    let places = [chunk.get("usage"), chunk.get("x_groq").and_then(|groq| groq.get("usage"))];
    let usage = places.into_iter().chain([choices.first().and_then(|choice| choice.get("usage"))]).flatten();
    let usage = usage.into_iter().find(|usage| usage.as_object().is_some_and(|usage| !usage.is_empty()));
    if let Some(usage) = usage {
        tally.told(&Told { usage: used(usage), ..Told::default() });
        tally.told.cost = cost(usage, json).or(tally.told.cost);
    }
    if let Some(wrong) = said::error(chunk) {
        return Err(wrong);
    }
    if choices.is_empty()
        && usage.is_none()
        && let Some(wrong) = said::bare_error(chunk)
    {
        return Err(wrong);
    }
    if choices.is_empty() && !is_known(chunk) {
        tally.odd.get_or_insert_with(|| Value::Object(chunk.clone()).to_string());
    }
    tally.id(word(chunk.get("id")));
    choices.iter().filter_map(Value::as_object).try_for_each(|choice| take_choice(tally, draft, choice))
}

fn take_choice(tally: &mut Tally, draft: &Draft, choice: &Map<String, Value>) -> Result<(), Wrong> {
    let object = |name: &str| choice.get(name).and_then(Value::as_object).filter(|part| !part.is_empty());
    let (delta, message) = (object("delta"), object("message"));
    let places = [Some(choice), delta, message];
    if let Some(wrong) = places.into_iter().flatten().find_map(said::error) {
        return Err(wrong);
    }
    // Others are other answers to the same question.
    let index = count(choice.get("index")).unwrap_or(0);
    if *tally.index.get_or_insert(index) != index {
        return Ok(());
    }
    // The message is in place of the deltas, where the answer is not streamed; some repeat the whole of it behind them.
    tally.pieces |= choice.contains_key("delta");
    let part = delta.or(message.filter(|_| draft.is_empty()));
    if let Some(part) = part {
        take_part(tally, draft, part)?;
    } else if let Some(Value::String(text)) = choice.get("delta") {
        draft.push(text)?;
    } else if let Some(Value::String(text)) = choice.get("text") {
        tally.pieces |= choice.get("finish_reason").is_none_or(Value::is_null);
        draft.push(text)?;
    }
    tally.reason(choice.get("finish_reason"))
}

fn take_part(tally: &mut Tally, draft: &Draft, part: &Map<String, Value>) -> Result<(), Wrong> {
    // The names that deepseek, and that openrouter and groq have for it; some have both.
    let thought = ["reasoning_content", "reasoning", "thinking", "reasoning_details"];
    let thought = thought.iter().filter_map(|name| part.get(*name)).map(text).find(|thought| !thought.is_empty());
    tally.beside.think(&thought.unwrap_or_default());
    match part.get("tool_calls") {
        Some(Value::Array(calls)) => calls.iter().try_for_each(|call| tally.beside.call(call))?,
        Some(call @ Value::Object(_)) => tally.beside.call(call)?,
        _ => {}
    }
    if let Some(function) = part.get("function_call").filter(|function| function.is_object()) {
        tally.beside.call(&json!({ "index": 0, "function": function }))?;
    }
    take_text(tally, draft, part.get("content"))?;
    tally.refuse(&part.get("refusal").map(text).unwrap_or_default());
    Ok(())
}

/// A text, or a list of its parts.
pub(super) fn take_text(tally: &mut Tally, draft: &Draft, content: Option<&Value>) -> Result<(), Wrong> {
    match content {
        Some(Value::Array(parts)) => parts.iter().try_for_each(|part| take_content(tally, draft, part)),
        Some(part) => take_content(tally, draft, part),
        None => Ok(()),
    }
}

/// A part of the text, or what is told among its parts and is none.
fn take_content(tally: &mut Tally, draft: &Draft, part: &Value) -> Result<(), Wrong> {
    match part.get("type").and_then(Value::as_str) {
        Some("thinking" | "reasoning" | "reasoning_content") => tally.beside.think(&text(part)),
        Some("refusal") => tally.refuse(&text(part)),
        Some("error") => return part.as_object().and_then(said::error).map_or(Ok(()), Err),
        _ => draft.push(&text(part))?,
    }
    Ok(())
}

/// Whether an object without an answer is known to come in the middle of one.
fn is_known(chunk: &Map<String, Value>) -> bool {
    let is = |name: &str, word: &str| chunk.get(name).and_then(Value::as_str).is_some_and(|is| is.starts_with(word));
    let names = ["choices", "usage", "x_groq", "timings", "prompt_filter_results", "citations", "search_results"];
    chunk.is_empty()
        || is("object", "chat.completion")
        || is("type", "ping")
        || names.iter().any(|name| chunk.contains_key(*name))
}

fn used(usage: &Value) -> Usage {
    let first = |places: &[&str]| places.iter().find_map(|place| count(usage.pointer(place)));
    let some = |places: &[&str]| first(places).filter(|tokens| *tokens > 0);
    Usage {
        input_tokens: first(&["/prompt_tokens", "/input_tokens"]),
        output_tokens: first(&["/completion_tokens", "/output_tokens"]),
        // The last is DeepSeek's name for it.
        cached_input_tokens: some(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/cached_tokens",
            "/prompt_cache_hit_tokens",
        ]),
        reasoning_tokens: some(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/reasoning_tokens",
        ]),
    }
}

/// What the provider bills, in USD, as openrouter tells it: digit by digit.
fn cost(usage: &Value, json: &Json<'_>) -> Option<Decimal> {
    let told = usage.get("cost").filter(|cost| cost.is_number() || cost.is_string())?;
    decimal(&json.raw(&["usage", "cost"]).unwrap_or_else(|| told.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_wants_the_newer_name_is_known_by_any_of_its_own() {
        for newer in ["o3", "o4-mini", "gpt-5.1", "openai/gpt-5-mini", "OpenAI/O3-mini", "ft:gpt-5:me::1"] {
            assert!(is_newer(newer), "{newer}");
        }
        for older in ["gpt-4o", "o3x", "gpt-50", "olmo", "openai/gpt-oss-120b"] {
            assert!(!is_newer(older), "{older}");
        }
    }
}
