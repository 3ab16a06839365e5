//! What is told on core NATS of texts while they are made, and who is asked for what was missed.

use serde_json::{Value, json};

/// The pieces.
pub(super) fn chunks() -> Value {
    json!({
        "address": "live.{scope}.execution.{id}.chunk",
        "title": "Texts in the making",
        "description": "On core NATS, at most once each, and neither in the stream nor in the log: the pieces of what a model \
    answers, as they come. A piece whose `offset` is past what one has tells that something was lost; an `attempt` that is higher \
    than the one before, that the text begins anew; a lower one is of a worker that has been given up, and is to be passed over. \
    In the end `execution_succeeded` has the whole text. `GET /api/v1/executions/{id}/stream` does all of this for its clients.",
        "parameters": parameters(),
        "messages": { "chunk": message("a piece of a text", "A piece of the text of an attempt.", &reference()) },
    })
}

/// The questions for what there is of a text.
pub(super) fn questions() -> Value {
    let place = json!({
        "type": "object",
        "properties": {
            "attempt": number("The attempt that one has a part of, or 0"),
            "offset": number("How many bytes of its text, in UTF-8, one has"),
        },
        "required": ["attempt", "offset"],
    });
    json!({
        "address": "live.{scope}.execution.{id}.so_far",
        "title": "Questions for texts in the making",
        "description": "Only the users `query` and `worker` may ask.",
        "parameters": parameters(),
        "messages": { "so_far": message("a question for a text", "What is there of the text, from this place on?", &place) },
    })
}

/// What is answered, on the subject that the question brings.
pub(super) fn answers() -> Value {
    let summary = "The text from the place on, at most 32 KiB of it; of another attempt from the beginning.";
    json!({
        "address": null,
        "title": "Answers",
        "messages": { "text": message("a text so far", summary, &reference()) },
    })
}

pub(super) fn telling() -> Value {
    json!({
        "action": "send",
        "summary": "Workers tell of texts as they come, a piece every 20 ms at most.",
        "channel": { "$ref": "#/channels/chunk" },
        "messages": [{ "$ref": "#/channels/chunk/messages/chunk" }],
    })
}

pub(super) fn answering() -> Value {
    json!({
        "action": "receive",
        "summary": "The worker that makes a text answers who asks for it; nobody does where it is not made.",
        "channel": { "$ref": "#/channels/so_far" },
        "messages": [{ "$ref": "#/channels/so_far/messages/so_far" }],
        "reply": {
            "channel": { "$ref": "#/channels/so_far_answer" },
            "messages": [{ "$ref": "#/channels/so_far_answer/messages/text" }],
        },
    })
}

/// The schema of a piece.
pub(super) fn chunk() -> Value {
    json!({
        "type": "object",
        "description": "A piece of a text",
        "properties": {
            "attempt": { "type": "integer", "minimum": 1, "description": "Which attempt's text it is of" },
            "index": number("Which of the attempt's messages it is"),
            "offset": number("How many bytes of the text, in UTF-8, come before it"),
            "text": { "type": "string", "description": "The piece, in whole characters; empty when an attempt begins" },
        },
        "required": ["attempt", "index", "offset", "text"],
    })
}

fn message(title: &str, summary: &str, payload: &Value) -> Value {
    json!({ "title": title, "summary": summary, "contentType": "application/json", "payload": payload })
}

fn reference() -> Value {
    json!({ "$ref": "#/components/schemas/Chunk" })
}

fn number(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

fn parameters() -> Value {
    json!({
        "scope": { "description": "The owner's id." },
        "id": { "description": "The execution's id." },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nats::live::{Chunk, Place};
    use serde_json::Value;

    /// The fields of what is sent.
    fn fields(sent: &Value) -> BTreeSet<&String> {
        sent.as_object().into_iter().flatten().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_fields_are_those_that_are_sent() {
        let (chunk, place) = (serde_json::json!(Chunk::default()), serde_json::json!(Place::default()));
        assert_eq!(fields(&super::chunk()["properties"]), fields(&chunk));
        assert_eq!(fields(&super::questions()["messages"]["so_far"]["payload"]["properties"]), fields(&place));
    }
}
