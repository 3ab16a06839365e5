//! What happens to an execution.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Fact,
    model::{Message, Parameters},
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
    /// The version of the price table that the cost follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_table: Option<String>,
    /// How long the call took, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    /// The provider's own id of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

/// What the model answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The text.
    pub result: String,
    /// Why it ended, in the provider's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
}

/// What kind of failure it was: whether another try could help, and who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Another try may succeed: too many requests, the provider is down.
    Retryable,
    /// It will fail again: a bad request, a refused content, an answer that is too large.
    Permanent,
    /// A key or an address is missing or wrong.
    Misconfigured,
    /// The provider answered something that cannot be read.
    Malformed,
    /// The worker that had it is gone.
    WorkerLost,
}

/// What happened to an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Somebody wants it run.
    ExecutionRequested {
        /// What is to be run.
        #[serde(flatten)]
        request: Box<Request>,
    },
    /// A worker has it.
    ExecutionStarted {
        /// Which try it is, from 1.
        attempt: u32,
        /// The worker's name.
        worker: String,
    },
    /// A try did not work out, and another follows.
    ExecutionAttemptFailed {
        /// Which try it was.
        attempt: u32,
        /// The kind of failure.
        class: FailureClass,
        /// A stable name of what went wrong.
        code: String,
        /// What went wrong, for a person.
        detail: String,
    },
    /// The model answered.
    ExecutionSucceeded {
        /// Which try it was.
        attempt: u32,
        /// What it answered.
        #[serde(flatten)]
        answer: Answer,
        /// What it used and cost.
        #[serde(flatten)]
        bill: Bill,
    },
    /// It will not succeed.
    ExecutionFailed {
        /// Which try it was.
        attempt: u32,
        /// The kind of failure.
        class: FailureClass,
        /// A stable name of what went wrong.
        code: String,
        /// What went wrong, for a person.
        detail: String,
        /// What was used and cost all the same.
        #[serde(flatten)]
        bill: Bill,
    },
    /// The model did not answer in time.
    ExecutionTimedOut {
        /// Which try it was.
        attempt: u32,
        /// The limit, in milliseconds.
        limit_ms: u64,
        /// How long it took, and what is known to be used.
        #[serde(flatten)]
        bill: Bill,
    },
    /// Somebody wants it stopped.
    ExecutionCancelRequested {
        /// Who.
        by: Uuid,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It was stopped.
    ExecutionCancelled {
        /// The try that it was in; 0 when it never started.
        attempt: u32,
        /// What was used and cost all the same.
        #[serde(flatten)]
        bill: Bill,
    },
}

crate::kinds!(Event {
    ExecutionRequested => "execution_requested",
    ExecutionStarted => "execution_started",
    ExecutionAttemptFailed => "execution_attempt_failed",
    ExecutionSucceeded => "execution_succeeded",
    ExecutionFailed => "execution_failed",
    ExecutionTimedOut => "execution_timed_out",
    ExecutionCancelRequested => "execution_cancel_requested",
    ExecutionCancelled => "execution_cancelled",
});

impl Event {
    /// The kinds after which nothing follows.
    pub const OUTCOMES: &'static [&'static str] =
        &["execution_succeeded", "execution_failed", "execution_timed_out", "execution_cancelled"];
}

impl Fact for Event {
    fn kind(&self) -> &'static str {
        self.name()
    }
}
