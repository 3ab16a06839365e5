//! What is in the events of an execution: what is sent to the model, what it answers, and what that used and cost.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    model::{Message, Parameters},
    policy::Policy,
};

/// All that a worker needs, so that the log alone tells what was sent to the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Whose execution it is.
    pub user_id: Uuid,
    /// The prompt.
    pub prompt_id: Uuid,
    /// Which version of it.
    pub prompt_version: i32,
    /// What its template was rendered with.
    pub variables: Value,
    /// What is sent to the model.
    pub messages: Vec<Message>,
    /// The provider's name.
    pub llm_provider: String,
    /// The model's name, as the provider knows it.
    pub model: String,
    /// How the model is to be called.
    #[serde(default)]
    pub parameters: Parameters,
    /// The ended execution that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<Uuid>,
    /// How hard it is tried; none in what was requested before there were policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// It sends a dead letter again: who did that, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive: Option<Redrive>,
}

/// Who sent a dead letter again, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Redrive {
    /// Who; none for an operator at the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Uuid>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Tokens by kind, as the provider counted them; none where it did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens that were sent, cached ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens that came back, reasoning included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Those of the input that the provider had cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<u64>,
    /// Those of the output that went into reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}

/// What a call used and cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bill {
    /// Tokens by kind.
    #[serde(flatten)]
    pub usage: Usage,
    /// In USD; none where the price is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    /// The tokens, or some of them, were not counted by the provider but estimated from the text, and what the cost follows from
    /// with them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
    /// The version of the price table that the cost follows from; none where the cost is what the provider says that it bills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_table: Option<String>,
    /// How long the call took, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    /// How long it took until the first of its text came, in milliseconds; none where no text came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_chunk_ms: Option<u64>,
    /// The provider's own id of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What the model answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The text.
    pub result: String,
    /// Why it ended, in the provider's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// What the model thought before it, as far as the provider shows that: its first [`REASONING_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The tools that the model wants to be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// The most that is kept of what a model thought, in bytes.
pub const REASONING_BYTES: usize = 64 * 1024;

/// A tool that the model wants to be called, in the form of `OpenAI`, whatever the provider's is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// By which an answer to it would name it; none where the provider gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`, or what else the provider says.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is to be called.
    pub function: Function,
}

/// A function that the model wants to be called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// With what: the text as the model wrote it, character by character, which should be JSON and need not.
    pub arguments: String,
}

/// What the provider's answer over the wire was, where it was no good one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wire {
    /// Its HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// The provider's own id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Request {
    /// How hard it is tried.
    pub fn policy(&self) -> Policy {
        self.policy.unwrap_or_default()
    }

    /// SHA-256 in hex of what is sent to the provider: its name, the model's, the messages and the parameters, as the JSON of
    /// these four in a list.
    pub fn hash(&self) -> String {
        let sent = serde_json::to_vec(&(&self.llm_provider, &self.model, &self.messages, &self.parameters));
        hex::encode(Sha256::digest(sent.unwrap_or_default()))
    }
}
