//! Where an answer says that it is none: the places and forms in which servers that speak these wire forms tell of an error
//! under the status 200, and the reasons for which an answer ends.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    Wrong,
    json::{Json, count, word},
};

/// Fields that have a person's words of an error.
const WORDS: [&str; 9] =
    ["message", "detail", "msg", "error_message", "errorMessage", "error_msg", "status_msg", "description", "title"];
/// Fields that have its name.
const NAMES: [&str; 6] = ["code", "type", "error_type", "status", "error_code", "reason"];
/// Fields that have its status.
const STATUS: [&str; 6] = ["code", "status", "status_code", "statusCode", "http_status", "error_code"];

/// What the end of an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The text is what the model made of it: whole, or as long as it may be.
    Good,
    /// The model, or a filter, would not.
    Refused,
    /// Something went wrong.
    Failed,
    /// Nobody knows: it is an end only where its marker says so too.
    Unknown,
}

impl Reason {
    /// What this word says, of whatever provider.
    pub(super) fn of(word: &str) -> Self {
        let word = word.trim().to_ascii_lowercase();
        match word.as_str() {
            "stop"
            | "length"
            | "tool_calls"
            | "tool_call"
            | "function_call"
            | "tool_use"
            | "end_turn"
            | "max_tokens"
            | "max_output_tokens"
            | "stop_sequence"
            | "pause_turn"
            | "model_context_window_exceeded"
            | "model_length"
            | "eos"
            | "eos_token"
            | "stop_token"
            | "complete"
            | "completed"
            | "compaction" => Self::Good,
            "content_filter"
            | "content_filtered"
            | "refusal"
            | "sensitive"
            | "safety"
            | "recitation"
            | "blocklist"
            | "prohibited_content"
            | "spii"
            | "guardrail_intervened"
            | "error_toxic"
            | "image_safety" => Self::Refused,
            _ if FAILED.iter().any(|part| word.contains(part)) => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// What is in the name of a reason that is an error.
const FAILED: [&str; 14] = [
    "error",
    "abort",
    "cancel",
    "timeout",
    "timed_out",
    "fail",
    "exception",
    "overload",
    "unavailable",
    "insufficient",
    "interrupt",
    "malformed",
    "rate_limit",
    "crash",
];

/// The error that an object of any form tells of in a field that is for that.
pub(super) fn error(object: &Map<String, Value>) -> Option<Wrong> {
    let is_error = |name: &str| object.get(name).and_then(Value::as_str) == Some("error");
    if let Some(error) = ["error", "errors"].iter().find_map(|name| object.get(*name).filter(|error| is_said(error))) {
        return Some(of(error, Some(object)));
    }
    if is_error("object") || is_error("type") {
        return Some(of(&Value::Object(object.clone()), None));
    }
    // As MiniMax has it: every answer has one, and 0 is none.
    let base = object.get("base_resp").filter(|base| count(base.get("status_code")).is_some_and(|code| code > 0));
    if let Some(base) = base {
        return Some(of(base, None));
    }
    let (status, words) = (status(object), words(object));
    (status.is_some() && words.is_some()).then(|| of(&Value::Object(object.clone()), None))
}

/// The error that an object tells of in which nothing else is told.
pub(super) fn bare_error(object: &Map<String, Value>) -> Option<Wrong> {
    let failed = matches!(object.get("success").or_else(|| object.get("ok")), Some(Value::Bool(false)));
    let named = word(object.get("status")).is_some_and(|status| Reason::of(&status) == Reason::Failed);
    let is_one = failed
        || named
        || status(object).is_some()
        || words(object).is_some()
        || object.get("detail").is_some_and(is_said);
    is_one.then(|| of(&Value::Object(object.clone()), None))
}

/// The error that an event is about that is called one.
pub(super) fn named(name: &str, data: &[u8]) -> Option<Wrong> {
    let name = name.to_ascii_lowercase();
    if !["error", "exception", "fail"].iter().any(|word| name.contains(word)) {
        return None;
    }
    Some(match Json::read(data).map(|json| json.value) {
        Ok(Value::Object(object)) => error(&object).unwrap_or_else(|| of(&Value::Object(object), None)),
        Ok(value) => of(&value, None),
        Err(_) => plain(data),
    })
}

/// Data that is no JSON, and speaks of an error.
pub(super) fn unframed(data: &[u8]) -> Option<Wrong> {
    let begin = String::from_utf8_lossy(&data[..data.len().min(64)]).to_ascii_lowercase();
    let markup = begin.starts_with('<');
    let speaks =
        ["error", "exception", "traceback", "unavailable", "overloaded"].iter().any(|word| begin.contains(word));
    (!markup && !matches!(data.first(), Some(b'{')) && speaks).then(|| plain(data))
}

pub(super) fn plain(data: &[u8]) -> Wrong {
    Wrong::Said { kind: None, status: None, message: String::from_utf8_lossy(data).into_owned() }
}

/// What the reason of an end says that is an error.
pub(super) fn of_reason(reason: &str) -> Wrong {
    let message = format!("it ended with the reason {reason}");
    Wrong::Said { kind: Some(reason.to_owned()), status: None, message }
}

/// Whether there is something in it.
fn is_said(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => list.iter().any(is_said),
        // One without words and name stands in answers that are good.
        Value::Object(error) => error.iter().any(|(name, value)| {
            is_said(value) && !(NAMES.contains(&name.as_str()) && word(Some(value)).is_some_and(|code| code == "0"))
        }),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// The error with its name, status and words, wherever it has them; or they stand beside it.
fn of(error: &Value, beside: Option<&Map<String, Value>>) -> Wrong {
    let error = match error {
        Value::Array(list) => list.iter().find(|error| is_said(error)).unwrap_or(error),
        error => error,
    };
    let empty = Map::new();
    let (inner, beside) = (error.as_object().unwrap_or(&empty), beside.unwrap_or(&empty));
    // An error in an error, as gateways pass it on.
    if let Some(deeper) = inner.get("error").filter(|deeper| deeper.is_object() && is_said(deeper)) {
        return of(deeper, Some(inner));
    }
    let own_words = match error {
        Value::Object(_) => words(inner).map(Cow::into_owned),
        error => word(Some(error)).filter(|_| *error != Value::Bool(true)).map(Cow::into_owned),
    };
    let message = own_words.or_else(|| inner.get("error").and_then(|error| word(Some(error))).map(Cow::into_owned));
    let message = message.or_else(|| words(beside).map(Cow::into_owned)).unwrap_or_else(|| error.to_string());
    Wrong::Said {
        kind: kind(inner).or_else(|| kind(beside)),
        status: status(inner).or_else(|| status(beside)),
        message,
    }
}

fn words(object: &Map<String, Value>) -> Option<Cow<'_, str>> {
    WORDS.iter().find_map(|name| word(object.get(*name)))
}

/// All that names it, as some say the class in one field and what it is in another.
fn kind(object: &Map<String, Value>) -> Option<String> {
    let names = NAMES.iter().filter_map(|name| object.get(*name)?.as_str());
    let names: Vec<_> =
        names.filter(|name| !name.is_empty() && name.parse::<f64>().is_err() && *name != "error").collect();
    (!names.is_empty()).then(|| names.join(" "))
}

fn status(object: &Map<String, Value>) -> Option<u16> {
    let status = STATUS.iter().filter_map(|name| u16::try_from(count(object.get(*name))?).ok());
    status.into_iter().find(|status| (400..600).contains(status))
}
