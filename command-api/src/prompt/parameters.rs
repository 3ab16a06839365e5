//! How the model is to be called, as a body says it.

use std::collections::BTreeMap;

use events::model;
use poem_openapi::{Enum, Object};
use serde_json::Value;

/// How the model is to be called; what is left out is left to the provider.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields)]
pub struct Parameters {
    /// A message before the prompt, as the provider's system role. Not a template.
    #[oai(validator(max_length = 100_000))]
    system: Option<String>,
    /// Messages after `system` and before the prompt, such as examples of what to answer: at most 100, of 262,144 bytes
    /// together. Not templates.
    #[oai(validator(max_items = 100))]
    messages: Option<Vec<Message>>,
    /// 0 to 2.
    temperature: Option<f64>,
    /// 0 to 1.
    top_p: Option<f64>,
    /// Of how many tokens the next is chosen, 1 to 1,000.
    top_k: Option<u32>,
    /// -2 to 2. Not known to `anthropic`.
    frequency_penalty: Option<f64>,
    /// -2 to 2. Not known to `anthropic`.
    presence_penalty: Option<f64>,
    /// The most tokens of an answer, 1 to 1,000,000.
    max_tokens: Option<u32>,
    /// For providers that can repeat an answer.
    seed: Option<u64>,
    /// Texts at which an answer stops, at most 4.
    stop: Option<Vec<String>>,
    /// How hard a model that can think is to do so: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`. Not every
    /// model knows each.
    reasoning_effort: Option<String>,
    /// How many tokens of context `ollama` makes room for, 1 to 10,000,000. Not known to `anthropic`.
    num_ctx: Option<u32>,
    /// The form of the answer, as OpenAI has it: `{"type": "json_object"}` (not known to `anthropic`), or
    /// `{"type": "json_schema", "json_schema": {"name", "schema"}}`.
    response_format: Option<Value>,
    /// What the model may call, at most 128: as OpenAI has it, `{"type": "function", "function": {"name", "description",
    /// "parameters"}}`, or as the provider has it. What it wants to be called is in `tool_calls` of the execution.
    tools: Option<Vec<Value>>,
    /// Which of the tools it is to call: `auto`, `none`, `required`, or an object. Not known to `ollama`.
    tool_choice: Option<Value>,
    /// Whether it may call more than one tool at once. Not known to `ollama`.
    parallel_tool_calls: Option<bool>,
    /// How long one call may take.
    limits: Option<Limits>,
    /// Whatever else the provider knows, by the provider's names: passed on as it is, at the root of what is sent, and for
    /// `ollama` `options` beside those that are set here. Together with `tools`, `tool_choice` and `response_format` at most
    /// 65,536 bytes.
    extra: Option<BTreeMap<String, Value>>,
}

/// One message beside the template.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, rename = "PromptMessage")]
pub struct Message {
    /// Who says it.
    role: Role,
    /// What it says; not blank.
    #[oai(validator(max_length = 100_000))]
    content: String,
}

/// Who says a message.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case", rename = "MessageRole")]
pub enum Role {
    /// The instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// How long one call of the provider may take; what is left out is as the workers have it, which is longer for models that are
/// known to reason and where `reasoning_effort` is set.
#[derive(Debug, Clone, Copy, Object)]
#[oai(deny_unknown_fields, rename = "CallLimits")]
#[expect(clippy::struct_field_names, reason = "each says its unit")]
pub struct Limits {
    /// How long the first byte of the answer may take, in seconds, 1 to 3600.
    first_byte_seconds: Option<u32>,
    /// How long nothing may come in the middle of the answer, in seconds, 1 to 3600.
    idle_seconds: Option<u32>,
    /// How long the call may take in all, in seconds, 1 to 86400, and no longer than the policy's `deadline_seconds`, which
    /// is as long if it is left out in a new prompt.
    total_seconds: Option<u32>,
}

impl Parameters {
    /// The deadline of a policy that says none: as usual, or as long as a call may take.
    pub fn deadline_seconds(&self) -> Option<u32> {
        self.limits?.total_seconds
    }
}

impl From<Parameters> for model::Parameters {
    fn from(said: Parameters) -> Self {
        Self {
            system: said.system,
            messages: said.messages.unwrap_or_default().into_iter().map(Into::into).collect(),
            temperature: said.temperature,
            top_p: said.top_p,
            top_k: said.top_k,
            frequency_penalty: said.frequency_penalty,
            presence_penalty: said.presence_penalty,
            max_tokens: said.max_tokens,
            seed: said.seed,
            stop: said.stop.unwrap_or_default(),
            reasoning_effort: said.reasoning_effort,
            num_ctx: said.num_ctx,
            response_format: said.response_format,
            tools: said.tools.unwrap_or_default(),
            tool_choice: said.tool_choice,
            parallel_tool_calls: said.parallel_tool_calls,
            limits: said.limits.map(Into::into).unwrap_or_default(),
            extra: said.extra.unwrap_or_default().into_iter().collect(),
        }
    }
}

impl From<Message> for model::Message {
    fn from(Message { role, content }: Message) -> Self {
        let role = match role {
            Role::System => model::Role::System,
            Role::User => model::Role::User,
            Role::Assistant => model::Role::Assistant,
        };
        Self { role, content }
    }
}

impl From<Limits> for model::Limits {
    fn from(Limits { first_byte_seconds, idle_seconds, total_seconds }: Limits) -> Self {
        Self { first_byte_seconds, idle_seconds, total_seconds }
    }
}
