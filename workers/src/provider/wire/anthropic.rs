//! Anthropic's messages: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use events::{
    execution::{Request, Usage},
    model::{Parameters, Role},
};
use serde_json::{Map, Value, json};

use super::{
    Draft, Tally, Told, Wrong,
    json::{Json, count, text, word},
    parameters, said,
};

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

/// Takes an event, which is called as its `type` says, else as the stream says.
pub(super) fn take(
    tally: &mut Tally,
    draft: &Draft,
    json: &Json<'_>,
    event: &Map<String, Value>,
    name: &str,
) -> Result<(), Wrong> {
    let kind = event.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty()).unwrap_or(name);
    let (delta, index) = (event.get("delta"), count(event.get("index")));
    tally.pieces |= !matches!(kind, "message" | "");
    match kind {
        "message_delta" | "message" => use_of(tally, event.get("usage")),
        "message_start" => {
            let message = event.get("message");
            use_of(tally, message.and_then(|message| message.get("usage")));
            tally.id(message.and_then(|message| word(message.get("id"))));
        }
        _ => {}
    }
    if let Some(wrong) = said::error(event) {
        return Err(wrong);
    }
    match kind {
        "message_start" if !event.contains_key("message") => Err(Wrong::Malformed("JSON of another form")),
        "content_block_start" => event.get("content_block").map_or(Ok(()), |part| {
            let input = json.raw(&["content_block", "input"]);
            take_part(tally, draft, index, part, input.as_deref())
        }),
        "content_block_delta" => delta.map_or(Ok(()), |part| take_part(tally, draft, index, part, None)),
        "content_block_stop" => {
            tally.beside.whole(index);
            Ok(())
        }
        "message_delta" => tally.reason(delta.and_then(|delta| delta.get("stop_reason"))),
        "message_stop" => {
            tally.over = true;
            Ok(())
        }
        "message" => {
            tally.id(word(event.get("id")));
            take_whole(tally, draft, json, event.get("content"))?;
            tally.reason(event.get("stop_reason"))
        }
        "" => Err(said::bare_error(event).unwrap_or(Wrong::Malformed("JSON of another form"))),
        // Pings, and what it will have some day: its clients are told to pass them over.
        _ => Ok(()),
    }
}

fn take_whole(tally: &mut Tally, draft: &Draft, json: &Json<'_>, content: Option<&Value>) -> Result<(), Wrong> {
    let parts = match content {
        Some(Value::Array(parts)) => parts.as_slice(),
        Some(content) => return Ok(draft.push(&text(content))?),
        None => &[],
    };
    for (index, part) in (0..).zip(parts) {
        let input = json.raw(&["content", &index.to_string(), "input"]);
        take_part(tally, draft, Some(index), part, input.as_deref())?;
        tally.beside.whole(Some(index));
    }
    Ok(())
}

/// A part of the content, or a change of it. The input of a tool is sent whole, or after an empty one in pieces.
fn take_part(
    tally: &mut Tally,
    draft: &Draft,
    index: Option<u64>,
    part: &Value,
    input: Option<&str>,
) -> Result<(), Wrong> {
    let field = |name: &str| part.get(name).map(text).unwrap_or_default();
    match part.get("type").and_then(Value::as_str) {
        Some("text" | "text_delta") => draft.push(&field("text"))?,
        Some("thinking" | "thinking_delta") => tally.beside.think(&field("thinking")),
        Some("tool_use") => {
            let input = input.filter(|input| !matches!(*input, "{}" | "null")).unwrap_or_default();
            let (id, name) = (word(part.get("id")), word(part.get("name")));
            tally.beside.add(index, id.as_deref(), None, name.as_deref(), input)?;
        }
        Some("input_json_delta") => tally.beside.add(index, None, None, None, &field("partial_json"))?,
        Some(_) => {}
        None => draft.push(&text(part))?,
    }
    Ok(())
}

fn use_of(tally: &mut Tally, told: Option<&Value>) {
    tally.told(&Told { usage: used(told), ..Told::default() });
}

/// Its input does not count what was cached; ours does.
fn used(told: Option<&Value>) -> Usage {
    let mut usage = Usage::default();
    let number = |name: &str| told.and_then(|told| count(told.get(name)));
    if let Some(input) = number("input_tokens") {
        let (made, read) = (number("cache_creation_input_tokens"), number("cache_read_input_tokens"));
        let (made, read) = (made.unwrap_or(0), read.unwrap_or(0));
        usage.input_tokens = Some(input.saturating_add(made).saturating_add(read));
        usage.cached_input_tokens = (made > 0 || read > 0).then_some(read);
    }
    usage.output_tokens = number("output_tokens");
    let thought = told.and_then(|told| count(told.pointer("/output_tokens_details/thinking_tokens")));
    usage.reasoning_tokens = thought.filter(|tokens| *tokens > 0);
    usage
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
        let mut tally = Tally::default();
        use_of(&mut tally, Some(&json!({"input_tokens": 100, "cache_read_input_tokens": 50, "output_tokens": 1})));
        use_of(&mut tally, Some(&json!({"output_tokens": 20})));
        use_of(&mut tally, Some(&json!({"input_tokens": 0, "output_tokens": 0})));
        use_of(&mut tally, None);
        let usage = tally.told.usage;
        assert_eq!(
            (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens),
            (Some(150), Some(50), Some(20))
        );
    }
}
