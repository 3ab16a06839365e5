//! The `AsyncAPI` 3 document of the events on NATS, generated from the types that are put there.

mod live;

use std::collections::BTreeMap;

use events::{CONTEXTS, EventStream, ops};
use nats::subject;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

const DESCRIPTION: &str = "\
Every event of the log, in one JetStream stream that holds `events.>` (find it by subject). The stream's sequence is the \
position in the log, always: for a consumer there is no gap and no duplicate. A plain subscription to the same subjects may \
see an event twice, and before it is stored.";

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft07().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut events = Events { generator: settings.into_generator(), messages: BTreeMap::new(), streams: Vec::new() };
    for stream in CONTEXTS.streams() {
        events.add(stream);
    }
    events.document()
}

struct Events {
    generator: SchemaGenerator,
    messages: BTreeMap<String, Value>,
    streams: Vec<&'static str>,
}

impl Events {
    /// One message for each variant of an event enum, which is written as `{"kind": …, "data": {…}}`.
    fn add(&mut self, stream: &'static EventStream) {
        let schema = (stream.schema)(&mut self.generator).to_value();
        let stream = stream.name;
        self.streams.push(stream);
        let variants = schema.get("oneOf").and_then(Value::as_array).cloned();
        for variant in variants.unwrap_or_else(|| vec![schema]) {
            let properties = &variant["properties"];
            let Some(kind) = properties["kind"]["const"].as_str() else { continue };
            let message = json!({
                "name": kind,
                "title": kind.replace('_', " "),
                "summary": variant["description"],
                "contentType": "application/json",
                "headers": { "allOf": [
                    { "$ref": "#/components/schemas/CloudEvent" },
                    { "properties": { "ce-type": { "const": format!("daybook.{stream}.{kind}.v1") } } },
                ]},
                "payload": properties["data"],
                "x-subject": format!("events.{{scope}}.{stream}.{{id}}.{kind}"),
            });
            self.messages.insert(kind.to_owned(), message);
        }
    }

    fn document(mut self) -> Value {
        let mut schemas: Map<String, Value> = self.generator.take_definitions(true);
        schemas.insert("CloudEvent".to_owned(), headers());
        schemas.insert("LogHead".to_owned(), head());
        schemas.insert("Chunk".to_owned(), live::chunk());
        let references = |within: &str| -> Map<String, Value> {
            let reference = |kind: &String| (kind.clone(), json!({ "$ref": format!("#/{within}/{kind}") }));
            self.messages.keys().map(reference).collect()
        };
        let carried: Vec<Value> = references("channels/events/messages").into_values().collect();
        let mut messages = self.messages.clone();
        messages.insert(
            "log_head".to_owned(),
            json!({
                "name": "log_head",
                "title": "signed head of the log",
                "summary": "How large the log is, and the root of the Merkle tree over it, signed.",
                "contentType": "application/json",
                "payload": { "$ref": "#/components/schemas/LogHead" },
            }),
        );
        json!({
            "asyncapi": "3.0.0",
            "info": {
                "title": "Daybook events",
                "version": env!("CARGO_PKG_VERSION"),
                "description": DESCRIPTION,
                "license": { "name": "Apache-2.0" },
            },
            "defaultContentType": "application/json",
            "servers": { "nats": { "host": "127.0.0.1:4222", "protocol": "nats", "description": "As `daybook up` starts it" } },
            "channels": { "projections": projections(), "positions": positions(), "events": {
                "address": "events.{scope}.{stream}.{id}.{kind}",
                "title": "Events",
                "description": "`events.*.execution.>` is every execution, `events.{me}.>` is all of mine.",
                "parameters": {
                    "scope": { "description": "The tenant that owns the thing (a user's own has the user's id), or `public`." },
                    "stream": { "description": "What it happened to.", "enum": self.streams },
                    "id": { "description": "The thing's id." },
                    "kind": { "description": "What happened.", "enum": self.messages.keys().collect::<Vec<_>>() },
                },
                "messages": references("components/messages"),
            }, "log_head": {
                "address": subject::HEAD,
                "title": "Signed heads of the log",
                "description": "On core NATS, not in the stream: who is not there does not hear it. `GET /api/v1/log/head` has the last one.",
                "messages": { "log_head": { "$ref": "#/components/messages/log_head" } },
            }, "chunk": live::chunks(), "so_far": live::questions(), "so_far_answer": live::answers() },
            "operations": { "stream": live::telling(), "answer": live::answering(), "publish": {
                "action": "send",
                "summary": "The relay publishes the log, in its order.",
                "channel": { "$ref": "#/channels/events" },
                "messages": carried,
            }, "seal": {
                "action": "send",
                "summary": "The sealer tells of each head that it has signed.",
                "channel": { "$ref": "#/channels/log_head" },
                "messages": [{ "$ref": "#/channels/log_head/messages/log_head" }],
            }, "progress": {
                "action": "send",
                "summary": "Projectors tell how far read models and their rebuilds are.",
                "channel": { "$ref": "#/channels/projections" },
            }, "pass": {
                "action": "send",
                "summary": "Projectors tell how far read models are that nothing new concerns, all in one message.",
                "channel": { "$ref": "#/channels/positions" },
            }},
            "components": { "messages": messages, "schemas": schemas },
        })
    }
}

/// How far projections are: on core NATS, for whoever listens at the time.
fn projections() -> Value {
    let number = json!({ "type": "integer", "minimum": 0 });
    json!({
        "address": "ops.projection.{name}",
        "title": "Progress of projections",
        "description": "On core NATS, at most once, and not in the stream.",
        "parameters": { "name": { "description": "The projection.", "enum": ops::projections() } },
        "messages": {
            "position": {
                "summary": "The live rows have come to this position.",
                "contentType": "text/plain",
                "payload": { "type": "string", "pattern": "^[0-9]+$" },
            },
            "rebuild": {
                "summary": "Once a second while rows are made anew: so many of the events are loaded.",
                "contentType": "application/json",
                "payload": {
                    "type": "object",
                    "properties": {
                        "projection": { "type": "string" },
                        "generation": number,
                        "version": number,
                        "phase": { "enum": ["load", "index", "late", "follow", "compare", "switch"] },
                        "done": number,
                        "target": number,
                    },
                    "required": ["projection", "generation", "version", "phase", "done", "target"],
                },
            },
        },
    })
}

/// How far several projections are: on core NATS, for whoever listens at the time.
fn positions() -> Value {
    json!({
        "address": subject::POSITIONS,
        "title": "Progress of projections that nothing new concerns",
        "description": "On core NATS, at most once, and not in the stream.",
        "messages": {
            "positions": {
                "summary": "The live rows of each of these projections have come to this position.",
                "contentType": "application/json",
                "payload": {
                    "type": "object",
                    "propertyNames": { "enum": ops::projections() },
                    "additionalProperties": { "type": "integer", "minimum": 0 },
                },
            },
        },
    })
}

/// The headers of every message: `CloudEvents` 1.0 in binary mode, and W3C Trace Context.
fn headers() -> Value {
    let uuid = |description: &str| json!({ "type": "string", "format": "uuid", "description": description });
    let number =
        |description: &str| json!({ "type": "string", "pattern": "^[1-9][0-9]*$", "description": description });
    json!({
        "type": "object",
        "description": "CloudEvents 1.0 in binary mode; values are percent-encoded as in its HTTP binding",
        "properties": {
            "ce-specversion": { "const": "1.0" },
            "ce-id": uuid("The event's own id"),
            "ce-source": { "const": "/daybook" },
            "ce-type": { "type": "string", "description": "daybook.{stream}.{kind}.v{schema}" },
            "ce-subject": uuid("The thing it happened to"),
            "ce-time": { "type": "string", "format": "date-time", "description": "When it was recorded" },
            "ce-datacontenttype": { "const": "application/json" },
            "ce-position": number("Its place in the log, which is the stream's sequence"),
            "ce-streamversion": number("The thing's version after it"),
            "ce-epoch": number("The log's epoch when it was recorded"),
            "ce-actor": uuid("The user who acted; absent for what the system does by itself"),
            "ce-correlationid": uuid("The same for all that followed from one request"),
            "ce-causationid": uuid("The event that this one follows from"),
            "traceparent": { "type": "string", "description": "W3C Trace Context of the request" },
        },
        "required": [
            "ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "ce-datacontenttype",
            "ce-position", "ce-streamversion", "ce-epoch", "ce-correlationid",
        ],
    })
}

/// A signed head of the log; docs/audit.md says how it is checked.
fn head() -> Value {
    let base64 = |length: usize, description: &str| json!({ "type": "string", "minLength": length, "maxLength": length, "description": description });
    json!({
        "type": "object",
        "description": "A signed head of the log's Merkle tree (RFC 6962)",
        "properties": {
            "size": { "type": "integer", "minimum": 1, "description": "The position of the last event that it covers" },
            "root": base64(44, "The tree's root, in Base64"),
            "epoch": { "type": "integer", "minimum": 1, "description": "The log's epoch when it was made" },
            "time": { "type": "string", "format": "date-time", "description": "When it was made" },
            "key": { "type": "string", "pattern": "^[0-9a-f]{8}$", "description": "Which key signed it; GET /api/v1/log/key has it" },
            "signature": base64(88, "Ed25519, in Base64"),
        },
        "required": ["size", "root", "epoch", "time", "key", "signature"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_its_message() {
        // Every form that was ever shipped is in a golden file: a list that the document is not made of.
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/golden");
        let files = std::fs::read_dir(golden).expect("golden files").map(|file| file.expect("a file").path());
        let lines: String = files.map(|file| std::fs::read_to_string(file).expect("lines")).collect();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let kinds: BTreeSet<&str> = lines.iter().map(|line| line["kind"].as_str().expect("a kind")).collect();
        let document = document();
        let messages = document["components"]["messages"].as_object().expect("messages");
        let events = document["channels"]["events"]["messages"].as_object().expect("messages");
        assert_eq!(events.keys().map(String::as_str).collect::<BTreeSet<_>>(), kinds);
        for kind in kinds {
            let payload = &messages[kind]["payload"];
            assert!(payload["type"] == "object" || payload["$ref"].is_string(), "{kind}: {payload}");
            assert!(messages[kind]["summary"].is_string(), "{kind}");
        }
        let succeeded = &messages["execution_succeeded"]["payload"]["properties"];
        assert_eq!(succeeded["cost"]["type"], json!(["string", "null"]));
        assert!(succeeded["result"].is_object() && succeeded["input_tokens"].is_object());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                        let pointer = reference.strip_prefix('#').expect("within the document");
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    fields.values().for_each(|value| walk(value, document));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, document)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
    }
}
