//! What comes of an answer beside its text: what the model thought, and the tools that it wants to be called. Both are bounded.

use events::execution::{Function, REASONING_BYTES, ToolCall};
use serde_json::Value;

use super::{
    TooLarge, Wrong,
    json::{count, word},
};

/// The most that the tools that a model calls may weigh together, in bytes. They are all of an answer or none of it.
const CALLS_BYTES: usize = 256 * 1024;
/// The most of them.
const CALLS: usize = 256;

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Beside {
    reasoning: String,
    /// More came than is kept.
    full: bool,
    calls: Vec<(Option<u64>, ToolCall)>,
    weight: usize,
    /// How much has come of what the model thought, kept or not, in bytes.
    thought: usize,
}

impl Beside {
    /// Adds to what the model thought; what is beyond the bound is dropped. U+0000 becomes U+FFFD, as in the text.
    pub(super) fn think(&mut self, piece: &str) {
        self.thought += piece.len();
        if self.full {
            return;
        }
        let piece = piece.replace('\0', "\u{fffd}");
        let kept = piece.floor_char_boundary(REASONING_BYTES.saturating_sub(self.reasoning.len()));
        self.reasoning.push_str(&piece[..kept]);
        self.full = kept < piece.len();
    }

    /// How much has come beside the text, kept or not, in bytes.
    pub(super) fn came(&self) -> usize {
        self.thought + self.weight
    }

    /// Adds a piece of a call in the form of `OpenAI`: one with the index of an earlier piece goes on with that.
    pub(super) fn call(&mut self, piece: &Value) -> Result<(), Wrong> {
        let (id, kind, name) = (word(piece.get("id")), word(piece.get("type")), word(piece.pointer("/function/name")));
        // As text, or as the JSON that it would be; the same JSON at least.
        let arguments = match piece.pointer("/function/arguments") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(json) => json.to_string(),
        };
        self.add(count(piece.get("index")), id.as_deref(), kind.as_deref(), name.as_deref(), &arguments)
    }

    /// Adds a piece of the call at `index`, or a call of its own where there is none.
    pub(super) fn add(
        &mut self,
        index: Option<u64>,
        id: Option<&str>,
        kind: Option<&str>,
        name: Option<&str>,
        arguments: &str,
    ) -> Result<(), Wrong> {
        let there = |(at, call): &&mut (Option<u64>, ToolCall)| {
            // Some give all their calls the index 0: another id is another call.
            *at == index && index.is_some() && (id.is_none() || call.id.is_none() || call.id.as_deref() == id)
        };
        self.weight += [id.unwrap_or_default(), kind.unwrap_or_default(), name.unwrap_or_default(), arguments]
            .iter()
            .map(|text| text.len())
            .sum::<usize>();
        if self.weight > CALLS_BYTES {
            return Err(TooLarge.into());
        }
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        if let Some((_, call)) = self.calls.iter_mut().rev().find(there) {
            call.id = call.id.take().or_else(|| id.map(clean));
            if let (true, Some(name)) = (call.function.name.is_empty(), name) {
                call.function.name = clean(name);
            }
            call.function.arguments.push_str(&clean(arguments));
            return Ok(());
        }
        if self.calls.len() == CALLS {
            return Err(TooLarge.into());
        }
        let function = Function { name: name.map(clean).unwrap_or_default(), arguments: clean(arguments) };
        let kind = clean(kind.unwrap_or("function"));
        self.calls.push((index, ToolCall { id: id.map(clean), kind, function }));
        Ok(())
    }

    /// No more comes of the call at `index`: without arguments it is one with an empty object of them.
    pub(super) fn whole(&mut self, index: Option<u64>) {
        if let Some((_, call)) = self.calls.iter_mut().rev().find(|(at, _)| *at == index)
            && call.function.arguments.is_empty()
        {
            "{}".clone_into(&mut call.function.arguments);
        }
    }

    /// All of it.
    pub(super) fn end(self) -> (Option<String>, Vec<ToolCall>) {
        let reasoning = Some(self.reasoning).filter(|reasoning| !reasoning.is_empty());
        (reasoning, self.calls.into_iter().map(|(_, call)| call).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{Draft, Reading, Wire},
        *,
    };

    fn calls(beside: Beside) -> Vec<(Option<String>, String, String)> {
        beside.end().1.into_iter().map(|call| (call.id, call.function.name, call.function.arguments)).collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> (Option<String>, String, String) {
        (Some(id.to_owned()), name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn pieces_of_calls_are_put_together_as_they_came() {
        let mut beside = Beside::default();
        for piece in [
            json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            json!({"index": 0, "function": {"arguments": "{\"x\":  1.0"}}),
            json!({"index": 1, "id": "b", "function": {"name": "g"}}),
            json!({"index": 0, "id": "", "function": {"name": null, "arguments": "0}"}}),
            json!({"index": 1, "function": {"arguments": "not JSON"}}),
        ] {
            beside.call(&piece).unwrap();
        }
        assert_eq!(calls(beside), [call("a", "f", "{\"x\":  1.00}"), call("b", "g", "not JSON")]);
        let mut beside = Beside::default();
        for id in ["a", "b"] {
            beside.call(&json!({"index": 0, "id": id, "function": {"name": "f", "arguments": {"x": 1}}})).unwrap();
        }
        assert_eq!(calls(beside), [call("a", "f", "{\"x\":1}"), call("b", "f", "{\"x\":1}")]);
    }

    /// What is beside the text of an answer, how it ended, and the text.
    fn read(wire: Wire, body: &str) -> (Option<String>, Vec<ToolCall>, Option<String>, String) {
        let draft = Draft::default();
        let mut reading = Reading::new(wire, &draft);
        reading.push(body.as_bytes()).unwrap();
        let ending = reading.end().unwrap().ending("test", &draft).unwrap();
        (ending.reasoning, ending.tool_calls, ending.finish_reason, draft.text())
    }

    fn events(events: &[Value]) -> String {
        events.iter().map(|event| format!("data: {event}\n\n")).collect::<Vec<_>>().concat()
    }

    #[test]
    fn an_answer_without_a_text_is_told_by_its_reason_in_every_form() {
        let chunk = |delta: Value, reason: Value| json!({"choices": [{"delta": delta, "finish_reason": reason}]});
        let call =
            |arguments: &str| json!([{"index": 0, "id": "c1", "function": {"name": "f", "arguments": arguments}}]);
        let more = json!([{"index": 0, "function": {"arguments": " 1.0}"}}]);
        let openai = events(&[
            chunk(json!({"reasoning_content": "Hm"}), Value::Null),
            chunk(json!({"reasoning": ", so."}), Value::Null),
            chunk(json!({"tool_calls": call("{\"n\":")}), Value::Null),
            chunk(json!({"tool_calls": more}), Value::Null),
            chunk(json!({}), json!("tool_calls")),
        ]);
        let part = |index: u64, kind: &str, part: Value| json!({"type": kind, "index": index, "content_block": part, "delta": part});
        let (start, delta) = ("content_block_start", "content_block_delta");
        let anthropic = events(&[
            part(0, start, json!({"type": "thinking", "thinking": ""})),
            part(0, delta, json!({"type": "thinking_delta", "thinking": "Hm, so."})),
            part(0, delta, json!({"type": "signature_delta", "signature": "x"})),
            part(1, start, json!({"type": "tool_use", "id": "c1", "name": "f", "input": {}})),
            part(1, delta, json!({"type": "input_json_delta", "partial_json": "{\"n\":"})),
            part(1, delta, json!({"type": "input_json_delta", "partial_json": " 1.0}"})),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_calls"}}),
            json!({"type": "message_stop"}),
        ]);
        let function = Function { name: "f".to_owned(), arguments: "{\"n\": 1.0}".to_owned() };
        let expected = ToolCall { id: Some("c1".to_owned()), kind: "function".to_owned(), function };
        for (wire, body) in [(Wire::OpenAi, openai), (Wire::Anthropic, anthropic)] {
            let (reasoning, calls, reason, text) = read(wire, &body);
            assert_eq!((reasoning.as_deref(), reason.as_deref()), (Some("Hm, so."), Some("tool_calls")), "{wire:?}");
            assert_eq!((calls, text.as_str()), (vec![expected.clone()], ""), "{wire:?}");
        }
        let ollama = "{\"message\":{\"thinking\":\"Hm, so.\"},\"done\":false}\n\
            {\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"n\":1.0}}}]},\"done\":true,\"done_reason\":\"stop\"}\n";
        let (reasoning, calls, reason, text) = read(Wire::Ollama, ollama);
        assert_eq!((reasoning.as_deref(), reason.as_deref(), text.as_str()), (Some("Hm, so."), Some("stop"), ""));
        assert_eq!(calls[0].function.arguments, "{\"n\":1.0}");
        for reason in ["pause_turn", "model_context_window_exceeded", "max_tokens"] {
            let whole = json!({"type": "message", "content": [{"type": "thinking", "thinking": "Hm"},
                               {"type": "tool_use", "id": "c1", "name": "f", "input": {}}], "stop_reason": reason});
            let (reasoning, calls, told, text) = read(Wire::Anthropic, &whole.to_string());
            assert_eq!((reasoning.as_deref(), told.as_deref(), text.as_str()), (Some("Hm"), Some(reason), ""));
            assert_eq!(calls[0].function.arguments, "{}");
        }
    }

    #[test]
    fn the_beginning_of_a_thought_is_kept_and_calls_whole_or_not() {
        let mut beside = Beside::default();
        beside.think(&"é".repeat(REASONING_BYTES / 2 - 1));
        beside.think("x€");
        beside.think("more");
        let (reasoning, calls) = beside.end();
        let reasoning = reasoning.unwrap();
        assert_eq!((reasoning.len(), reasoning.ends_with("éx"), calls), (REASONING_BYTES - 1, true, vec![]));
        let mut beside = Beside::default();
        beside.add(Some(0), Some("a"), None, Some("f"), &"x".repeat(CALLS_BYTES / 2)).unwrap();
        assert_eq!(beside.add(Some(0), None, None, None, &"x".repeat(CALLS_BYTES / 2)), Err(Wrong::TooLarge));
    }
}
