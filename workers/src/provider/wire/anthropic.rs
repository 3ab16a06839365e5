//! Anthropic's messages: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use std::borrow::Cow;

use events::{
    execution::{Request, Usage},
    model::{Parameters, Role},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{Draft, Tally, Wrong, json as parse, parameters};

/// Models that answer with fewer tokens than others, and the most that they do. The form wants a limit always.
const LONGEST: [(&str, u32); 7] = [
    ("claude-3-opus", 4_096),
    ("claude-3-haiku", 4_096),
    ("claude-3-5", 8_192),
    ("claude-opus-4-0", 32_000),
    ("claude-opus-4-1", 32_000),
    ("claude-opus-4-2025", 32_000),
    ("", 64_000),
];

/// It has no seed, and the system's messages stand apart, an empty line between two.
pub(super) fn question(request: &Request) -> Value {
    let Parameters { temperature, top_p, max_tokens, stop, .. } = &request.parameters;
    let (system, messages): (Vec<_>, Vec<_>) =
        request.messages.iter().partition(|message| message.role == Role::System);
    let mut body = json!({
        "model": request.model,
        "stream": true,
        "max_tokens": max_tokens.unwrap_or_else(|| longest(&request.model)),
        "messages": messages,
    });
    if !system.is_empty() {
        body["system"] = system.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n").into();
    }
    for (name, value) in [
        ("temperature", temperature.map(Value::from)),
        ("top_p", top_p.map(Value::from)),
        ("stop_sequences", (!stop.is_empty()).then(|| json!(stop))),
    ] {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    parameters::anthropic(&mut body, &request.parameters);
    body
}

fn longest(model: &str) -> u32 {
    if model == "claude-opus-4" {
        return 32_000;
    }
    LONGEST.iter().find(|(family, _)| model.starts_with(family)).map_or(4_096, |(_, most)| *most)
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    content_block: Option<Part<'a>>,
    #[serde(borrow, default)]
    delta: Option<Part<'a>>,
    /// Which part of the content it is about.
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
    // What follows is of a message that is not streamed.
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<Vec<Part<'a>>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<Value>,
}

/// A part of the content, or a change of it.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    thinking: Option<Cow<'a, str>>,
    // What follows is of a tool that is to be called: its input is sent whole, or after an empty one in pieces.
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<Cow<'a, str>>,
}

pub(super) fn take(tally: &mut Tally, draft: &Draft, data: &[u8]) -> Result<(), Wrong> {
    let Event { kind, message, content_block, delta, index, usage, error, id, content, stop_reason } = parse(data)?;
    match kind.as_deref() {
        Some("message_start") => {
            let message = message.ok_or(Wrong::Malformed("JSON of another form"))?;
            tally.id(message.id);
            use_of(&mut tally.usage, message.usage.as_ref());
        }
        Some("content_block_start") => content_block.map_or(Ok(()), |part| take_part(tally, draft, index, part))?,
        Some("content_block_delta") => delta.map_or(Ok(()), |part| take_part(tally, draft, index, part))?,
        Some("content_block_stop") => tally.beside.whole(index),
        Some("message_delta") => {
            tally.reason(delta.and_then(|delta| delta.stop_reason));
            use_of(&mut tally.usage, usage.as_ref());
        }
        Some("message_stop") => tally.over = true,
        Some("error") => {
            let said = |name: &str| Some(error.as_ref()?.get(name)?.as_str()?.to_owned());
            let message = said("message").unwrap_or_default();
            return Err(Wrong::Said { kind: said("type"), status: None, message });
        }
        Some("message") => {
            tally.id(id);
            tally.reason(stop_reason);
            use_of(&mut tally.usage, usage.as_ref());
            for (index, part) in (0..).zip(content.into_iter().flatten()) {
                take_part(tally, draft, Some(index), part)?;
                tally.beside.whole(Some(index));
            }
        }
        // Pings, ends of parts, and what it will have some day: its clients are told to pass them over.
        Some(_) => {}
        None => return Err(Wrong::Malformed("JSON of another form")),
    }
    Ok(())
}

fn take_part(tally: &mut Tally, draft: &Draft, index: Option<u64>, part: Part<'_>) -> Result<(), Wrong> {
    let Part { kind, text, thinking, id, name, input, partial_json, .. } = part;
    match kind.as_deref() {
        Some("text" | "text_delta") => draft.push(&text.unwrap_or_default())?,
        Some("thinking" | "thinking_delta") => tally.beside.think(&thinking.unwrap_or_default()),
        Some("tool_use") => {
            let input = input.map(RawValue::get).filter(|input| *input != "{}").unwrap_or_default();
            tally.beside.add(index, id.as_deref(), None, name.as_deref(), input)?;
        }
        Some("input_json_delta") => tally.beside.add(index, None, None, None, &partial_json.unwrap_or_default())?,
        _ => {}
    }
    Ok(())
}

/// What it says now takes the place of what it said. Its input does not count what was cached; ours does.
fn use_of(usage: &mut Usage, told: Option<&Value>) {
    let count = |name: &str| told.and_then(|told| told.get(name)?.as_u64());
    if let Some(input) = count("input_tokens") {
        let (made, read) = (count("cache_creation_input_tokens"), count("cache_read_input_tokens"));
        let (made, read) = (made.unwrap_or(0), read.unwrap_or(0));
        usage.input_tokens = Some(input.saturating_add(made).saturating_add(read));
        usage.cached_input_tokens = (made > 0 || read > 0).then_some(read);
    }
    usage.output_tokens = count("output_tokens").or(usage.output_tokens);
    let thought = told.and_then(|told| told.pointer("/output_tokens_details/thinking_tokens")?.as_u64());
    usage.reasoning_tokens = thought.filter(|tokens| *tokens > 0).or(usage.reasoning_tokens);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_sent_that_the_model_takes() {
        for (model, most) in [
            ("claude-sonnet-4-5", 64_000),
            ("claude-opus-4-5", 64_000),
            ("claude-opus-4-6", 64_000),
            ("claude-opus-4", 32_000),
            ("claude-opus-4-1-20250805", 32_000),
            ("claude-opus-4-20250514", 32_000),
            ("claude-3-7-sonnet-latest", 64_000),
            ("claude-3-5-haiku-latest", 8_192),
            ("claude-3-haiku-20240307", 4_096),
            ("something", 64_000),
        ] {
            assert_eq!(longest(model), most, "{model}");
        }
    }

    #[test]
    fn what_was_used_is_what_it_said_last() {
        let mut usage = Usage::default();
        use_of(&mut usage, Some(&json!({"input_tokens": 100, "cache_read_input_tokens": 50, "output_tokens": 1})));
        use_of(&mut usage, Some(&json!({"output_tokens": 20})));
        use_of(&mut usage, None);
        assert_eq!(
            (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens),
            (Some(150), Some(50), Some(20))
        );
    }
}
