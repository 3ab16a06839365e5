//! What happens to an execution.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::request::{Answer, Bill, Request, ToolCall, Wire};
use crate::{Claim, Fact, Timer};

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

impl FailureClass {
    /// Its name as the outside sees it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::Permanent => "permanent",
            Self::Misconfigured => "misconfigured",
            Self::Malformed => "malformed",
            Self::WorkerLost => "worker_lost",
        }
    }
}

/// What a person decides on an execution whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It is called once more.
    Retry,
    /// It has failed.
    Fail,
}

/// What happened to an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
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
        /// By which the worker is known that may write what comes of it.
        #[serde(default, skip_serializing_if = "Uuid::is_nil")]
        token: Uuid,
        /// How long the worker has it without a sign of life, in milliseconds.
        #[serde(default, skip_serializing_if = "is_zero")]
        lease_ms: u64,
    },
    /// The provider is called now: from here on nobody but the provider knows whether it is billed, until an outcome says so.
    ProviderCallStarted {
        /// Which try it is.
        attempt: u32,
        /// SHA-256 of what is sent, in hex: see [`Request::hash`].
        request_hash: String,
        /// The most that the call can cost, in USD; none where the price is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_cost: Option<Decimal>,
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
        /// What the provider's answer was.
        #[serde(flatten)]
        wire: Wire,
        /// What was used and cost all the same.
        #[serde(flatten)]
        bill: Bill,
        /// How long to wait before the next, in milliseconds.
        #[serde(default)]
        retry_in_ms: u64,
    },
    /// The wait before another try is over: a worker may take it.
    ExecutionRetryDue {
        /// Which try it will be.
        attempt: u32,
    },
    /// The worker was lost after it had called the provider.
    ExecutionOutcomeUnknown {
        /// Which try it was.
        attempt: u32,
        /// What it may have cost, at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_cost: Option<Decimal>,
    },
    /// A person has decided what becomes of an execution whose outcome is unknown.
    ExecutionResolved {
        /// The try that it is about.
        attempt: u32,
        /// Who.
        by: Uuid,
        /// What was decided.
        resolution: Resolution,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What the provider says that the call has cost, in USD; without it the most that it can have cost stays booked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Decimal>,
        /// What was booked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_cost: Option<Decimal>,
        /// The deadline that begins now, if it is tried once more, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_seconds: Option<u32>,
    },
    /// The answer to a call whose outcome was unknown came after all: evidence of what it was and cost, and never the result.
    ProviderAnsweredLate {
        /// Which try it was.
        attempt: u32,
        /// What the model answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<String>,
        /// Why the answer ended, in the provider's word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finish_reason: Option<String>,
        /// What the model thought before it, as far as the provider shows that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoning: Option<String>,
        /// The tools that the model wanted to be called.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
        /// What went wrong, if it was no answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// What was booked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_cost: Option<Decimal>,
        /// What it used and cost.
        #[serde(flatten)]
        bill: Bill,
    },
    /// Nothing more is to be done about a dead letter.
    ExecutionDiscarded {
        /// Who; none for an operator at the command line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Uuid>,
        /// Why.
        reason: String,
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
        /// What the provider's answer was.
        #[serde(flatten)]
        wire: Wire,
        /// What was used and cost all the same.
        #[serde(flatten)]
        bill: Bill,
        /// It was tried as often as it may be: it is a dead letter, which can be redriven or discarded.
        #[serde(default, skip_serializing_if = "is_false")]
        dead: bool,
    },
    /// The model did not answer in time.
    ExecutionTimedOut {
        /// Which try it was; 0 when it never started.
        attempt: u32,
        /// The limit, in milliseconds.
        limit_ms: u64,
        /// The limit was the execution's deadline, not that of one call.
        #[serde(default, skip_serializing_if = "is_false")]
        deadline: bool,
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

impl Event {
    /// The kinds that end an execution. After them nothing changes what came of it: what may follow is evidence
    /// (`provider_answered_late`) and a mark (`execution_discarded`).
    pub const OUTCOMES: &'static [&'static str] =
        &["execution_succeeded", "execution_failed", "execution_timed_out", "execution_cancelled"];
}

impl Fact for Event {
    fn timer(&self) -> Option<Timer> {
        let deadline = |seconds: u32| Some(u64::from(seconds) * 1000);
        match self {
            Self::ExecutionRequested { request } => {
                let deadline = deadline(request.policy().deadline_seconds);
                Some(Timer::Set { after: None, deadline, holder: None, mark: 0 })
            }
            Self::ExecutionStarted { attempt, token, lease_ms, .. } => {
                Some(Timer::Set { after: Some(*lease_ms), deadline: None, holder: Some(*token), mark: *attempt })
            }
            Self::ExecutionAttemptFailed { attempt, retry_in_ms, .. } => {
                Some(Timer::Set { after: Some(*retry_in_ms), deadline: None, holder: None, mark: *attempt })
            }
            Self::ExecutionRetryDue { attempt } => {
                Some(Timer::Set { after: None, deadline: None, holder: None, mark: *attempt })
            }
            Self::ExecutionResolved { attempt, deadline_seconds: Some(seconds), .. } => {
                Some(Timer::Set { after: None, deadline: deadline(*seconds), holder: None, mark: *attempt })
            }
            Self::ExecutionOutcomeUnknown { .. }
            | Self::ExecutionSucceeded { .. }
            | Self::ExecutionFailed { .. }
            | Self::ExecutionTimedOut { .. }
            | Self::ExecutionCancelled { .. } => Some(Timer::Stop),
            Self::ProviderCallStarted { .. }
            | Self::ExecutionResolved { .. }
            | Self::ProviderAnsweredLate { .. }
            | Self::ExecutionDiscarded { .. }
            | Self::ExecutionCancelRequested { .. } => None,
        }
    }

    /// A dead letter is redriven once, or discarded: never both.
    fn claims(&self, id: Uuid) -> Vec<Claim> {
        let dead = match self {
            Self::ExecutionRequested { request } if request.redrive.is_some() => request.retry_of,
            Self::ExecutionDiscarded { .. } => Some(id),
            _ => None,
        };
        dead.map(|dead| Claim::exact(REDRIVE, dead.to_string())).into_iter().collect()
    }
}

/// The claim on a dead letter that who redrives or discards it has.
pub(super) const REDRIVE: &str = "redrive";

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
