//! How a model is called: what every prompt may say of it, what only some providers know, and what is passed on as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Limits, Message};
use crate::refusal::Fault;

/// The most messages beside the template.
pub const MAX_MESSAGES: usize = 100;
/// The most tools.
pub const MAX_TOOLS: usize = 128;
/// The most that the messages beside the template may weigh together, in bytes.
const MESSAGES_BYTES: usize = 256 * 1024;
/// The most that tools, the form of the answer and what is passed on may weigh together, in bytes of JSON.
const PASSED_BYTES: usize = 64 * 1024;
/// How hard a model may be asked to think.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
/// What is in no `extra`: it decides where the text is, what the call costs at most, or which model it is.
const OURS: [&str; 12] = [
    "model",
    "models",
    "messages",
    "prompt",
    "input",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "max_completion_tokens",
    "max_output_tokens",
    "num_predict",
];

/// How the model is to be called; what is none is left to the provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parameters {
    /// A message before the prompt, as the provider's system role. Not a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Messages after `system` and before the prompt, such as examples. Not templates. None in a request: there they are among
    /// its messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Of how many tokens the next is chosen, 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// The most tokens of an answer, 1 to 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// For providers that can repeat an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts at which an answer stops, at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// How hard a model that can think is to do so: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// How many tokens of context `ollama` makes room for, 1 to 10,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_ctx: Option<u32>,
    /// The form of the answer: an object with a `type`, as `OpenAI` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    /// What the model may call: objects as `OpenAI` has them, or as the provider has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    /// Which of the tools it is to call: `auto`, `none`, `required`, or an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    /// Whether it may call more than one tool at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// How long the call may take.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Whatever else the provider knows, passed on as it is.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Parameters {
    /// The names of all parameters that are sent under a name of the provider's.
    pub const SENT: [&'static str; 14] = [
        "temperature",
        "top_p",
        "top_k",
        "frequency_penalty",
        "presence_penalty",
        "max_tokens",
        "seed",
        "stop",
        "reasoning_effort",
        "num_ctx",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
    ];

    /// Whether the model is asked to think: by the effort, or under a name that a provider has for it.
    pub fn asks_to_reason(&self) -> bool {
        self.reasoning_effort.as_deref().is_some_and(|effort| effort != "none")
            || ["thinking", "reasoning", "think"]
                .iter()
                .any(|name| self.extra.get(*name).is_some_and(|said| said != false))
    }

    /// What all of it weighs that is sent beside the messages as it is, in bytes of JSON.
    pub fn passed_bytes(&self) -> usize {
        let weight = |value: &Value| value.to_string().len();
        let extra = self.extra.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>();
        let forms = [&self.response_format, &self.tool_choice].into_iter().flatten().map(weight).sum::<usize>();
        self.tools.iter().map(weight).sum::<usize>() + forms + extra
    }

    /// All that is wrong with them, for this provider.
    pub(super) fn check(&self, provider: &str) -> Vec<Fault> {
        let mut faults = self.check_numbers();
        if self.stop.len() > 4 {
            faults.push(Fault::new("/parameters/stop", "has more than 4 texts"));
        }
        if self.reasoning_effort.as_deref().is_some_and(|effort| !EFFORTS.contains(&effort)) {
            faults.push(Fault::new("/parameters/reasoning_effort", format!("is not one of {}", EFFORTS.join(", "))));
        }
        faults.extend(self.check_messages());
        faults.extend(self.check_tools());
        faults.extend(self.check_passed());
        faults.extend(self.check_known_to(provider));
        faults.extend(self.limits.check());
        faults
    }

    fn check_numbers(&self) -> Vec<Fault> {
        let beyond =
            |said: Option<f64>, least: f64, most: f64| said.is_some_and(|said| !(least..=most).contains(&said));
        let count = |said: Option<u32>, most: u32| said.is_some_and(|said| !(1..=most).contains(&said));
        [
            (beyond(self.temperature, 0.0, 2.0), "temperature", "is not between 0 and 2"),
            (beyond(self.top_p, 0.0, 1.0), "top_p", "is not between 0 and 1"),
            (beyond(self.frequency_penalty, -2.0, 2.0), "frequency_penalty", "is not between -2 and 2"),
            (beyond(self.presence_penalty, -2.0, 2.0), "presence_penalty", "is not between -2 and 2"),
            (count(self.top_k, 1_000), "top_k", "is not between 1 and 1000"),
            (count(self.max_tokens, 1_000_000), "max_tokens", "is not between 1 and 1000000"),
            (count(self.num_ctx, 10_000_000), "num_ctx", "is not between 1 and 10000000"),
        ]
        .into_iter()
        .filter(|(wrong, ..)| *wrong)
        .map(|(_, name, detail)| Fault::new(format!("/parameters/{name}"), detail))
        .collect()
    }

    fn check_messages(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let at = "/parameters/messages";
        if self.messages.len() > MAX_MESSAGES {
            faults.push(Fault::new(at, format!("has more than {MAX_MESSAGES} messages")));
        }
        let weight: usize = self.messages.iter().map(|message| message.content.len()).sum();
        if weight > MESSAGES_BYTES {
            faults.push(Fault::new(at, format!("weighs {weight} bytes, of at most {MESSAGES_BYTES}")));
        }
        let blank = self.messages.iter().enumerate().filter(|(_, message)| message.content.trim().is_empty());
        faults.extend(blank.map(|(n, _)| Fault::new(format!("{at}/{n}/content"), "is blank")));
        faults
    }

    /// Each is an object with a name; the two that name none are of providers that have tools of their own.
    fn check_tools(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.tools.len() > MAX_TOOLS {
            faults.push(Fault::new("/parameters/tools", format!("has more than {MAX_TOOLS} tools")));
        }
        for (n, tool) in self.tools.iter().enumerate() {
            let at = format!("/parameters/tools/{n}");
            let Some(fields) = tool.as_object() else {
                faults.push(Fault::new(at, "is not an object"));
                continue;
            };
            if let Some(function) = fields.get("function") {
                if !is_name(function.get("name")) {
                    let detail = "is not a name of 1 to 64 letters, digits, `_` and `-`";
                    faults.push(Fault::new(format!("{at}/function/name"), detail));
                }
                if function.get("parameters").is_some_and(|schema| !schema.is_object()) {
                    faults.push(Fault::new(format!("{at}/function/parameters"), "is not a JSON Schema of type object"));
                }
            } else if fields.get("type").and_then(Value::as_str) == Some("function") {
                faults.push(Fault::new(format!("{at}/function"), "is missing"));
            } else if !["type", "name"].iter().any(|name| fields.get(*name).is_some_and(Value::is_string)) {
                faults.push(Fault::new(at, "has neither a type nor a name"));
            }
        }
        match &self.tool_choice {
            None | Some(Value::Object(_)) => {}
            Some(Value::String(word)) if ["auto", "none", "required"].contains(&word.as_str()) => {}
            Some(_) => {
                let detail = "is neither auto, none or required nor an object";
                faults.push(Fault::new("/parameters/tool_choice", detail));
            }
        }
        if self.tools.is_empty() && self.tool_choice.is_some() {
            faults.push(Fault::new("/parameters/tool_choice", "chooses of no tools"));
        }
        faults
    }

    fn check_passed(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let at = "/parameters/response_format";
        if let Some(form) = &self.response_format {
            match form.get("type").and_then(Value::as_str) {
                Some("json_schema") if !form.pointer("/json_schema/schema").is_some_and(Value::is_object) => {
                    faults.push(Fault::new(format!("{at}/json_schema/schema"), "is not a JSON Schema"));
                }
                Some(_) => {}
                None => faults.push(Fault::new(at, "is not an object with a type, such as json_object")),
            }
        }
        let weight = self.passed_bytes();
        if weight > PASSED_BYTES {
            let detail = format!(
                "tools, response_format, tool_choice and extra weigh {weight} bytes together, of at most {PASSED_BYTES}"
            );
            faults.push(Fault::new("/parameters", detail));
        }
        for name in self.extra.keys() {
            let place = || format!("/parameters/extra/{}", name.replace('~', "~0").replace('/', "~1"));
            if OURS.contains(&name.as_str()) {
                faults.push(Fault::new(place(), "is not to be set here"));
            } else if Self::SENT.contains(&name.as_str()) || name == "system" {
                faults.push(Fault::new(place(), "is a parameter of its own: set it beside extra"));
            }
        }
        let options = self.extra.get("options").and_then(Value::as_object);
        if options.is_some_and(|options| options.contains_key("num_predict")) {
            faults.push(Fault::new("/parameters/extra/options/num_predict", "is max_tokens: set it beside extra"));
        }
        faults
    }

    /// What this provider's form has no place for.
    fn check_known_to(&self, provider: &str) -> Vec<Fault> {
        let said: &[(bool, &str)] = match provider {
            "anthropic" => &[
                (self.num_ctx.is_some(), "num_ctx"),
                (self.frequency_penalty.is_some(), "frequency_penalty"),
                (self.presence_penalty.is_some(), "presence_penalty"),
                (self.response_format.as_ref().is_some_and(|form| form["type"] == "json_object"), "response_format"),
            ],
            "ollama" => &[
                (self.tool_choice.is_some(), "tool_choice"),
                (self.parallel_tool_calls.is_some(), "parallel_tool_calls"),
            ],
            _ => &[],
        };
        let unknown = said.iter().filter(|(is_said, _)| *is_said);
        unknown
            .map(|(_, name)| Fault::new(format!("/parameters/{name}"), format!("is not known to {provider}")))
            .collect()
    }
}

fn is_name(name: Option<&Value>) -> bool {
    let is_of_one = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    name.and_then(Value::as_str).is_some_and(|name| (1..=64).contains(&name.len()) && name.bytes().all(is_of_one))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(provider: &str, said: Value) -> Vec<String> {
        let said: Parameters = serde_json::from_value(said).unwrap();
        said.check(provider).into_iter().map(|fault| fault.pointer.replace("/parameters", "")).collect()
    }

    #[test]
    fn what_is_known_is_checked_and_each_fault_named() {
        for (said, pointers) in [
            (
                json!({"top_k": 0, "num_ctx": 0, "frequency_penalty": -2.1}),
                &["/frequency_penalty", "/top_k", "/num_ctx"][..],
            ),
            (json!({"reasoning_effort": "very"}), &["/reasoning_effort"]),
            (json!({"response_format": "json"}), &["/response_format"]),
            (json!({"response_format": {"type": "json_schema"}}), &["/response_format/json_schema/schema"]),
            (
                json!({"tools": [1, {"type": "function"}, {"type": "function", "function": {"name": "a b"}}, {}]}),
                &["/tools/0", "/tools/1/function", "/tools/2/function/name", "/tools/3"],
            ),
            (json!({"tool_choice": "auto"}), &["/tool_choice"]),
            (
                json!({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": " "}]}),
                &["/messages/1/content"],
            ),
            (
                json!({"extra": {"verbosity": "low", "model": "x", "top_k": 1, "a/b": 1}}),
                &["/extra/model", "/extra/top_k"],
            ),
            (json!({"extra": {"options": {"num_predict": 9}}}), &["/extra/options/num_predict"]),
            (json!({"extra": {"blob": "x".repeat(PASSED_BYTES)}}), &[""]),
            (json!({"limits": {"idle_seconds": 0}}), &["/limits/idle_seconds"]),
        ] {
            assert_eq!(faults("openai", said.clone()), pointers, "{said}");
        }
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
        let good = json!({
            "top_k": 40, "seed": 18_446_744_073_709_551_615_u64, "stop": ["a"], "reasoning_effort": "high",
            "num_ctx": 8192, "response_format": {"type": "json_object"}, "tools": [tool], "tool_choice": "required",
            "parallel_tool_calls": false, "extra": {"verbosity": "low"}, "limits": {"first_byte_seconds": 600},
            "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}],
        });
        assert_eq!(faults("openai", good.clone()), [""; 0]);
        assert_eq!(faults("anthropic", good.clone()), ["/num_ctx", "/response_format"]);
        assert_eq!(faults("ollama", good), ["/tool_choice", "/parallel_tool_calls"]);
    }
}
