//! What can be asked of an execution.

use rust_decimal::Decimal;
use uuid::Uuid;

use super::{
    event::{FailureClass, Resolution},
    late::Late,
    request::{Answer, Bill, Request, Wire},
};

/// Who may write what comes of an attempt: whoever started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Which try it is, from 1.
    pub attempt: u32,
    /// The token that it was started with.
    pub token: Uuid,
}

/// What a worker says of the call that it is about to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calling {
    /// [`Request::hash`].
    pub request_hash: String,
    /// The most that it can cost, in USD; none where the price is not known.
    pub max_cost: Option<Decimal>,
}

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the events")]
pub struct Failed {
    pub class: FailureClass,
    pub code: String,
    pub detail: String,
    pub wire: Wire,
    /// How long the provider wants to be left alone, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// What can be asked of an execution. Outcomes name their holder: only the current one may write.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the events")]
pub enum Command {
    /// Queue it.
    Request(Box<Request>),
    /// A worker takes it, and calls the provider. Once more by the same holder changes nothing.
    Start { holder: Holder, worker: String, lease_ms: u64, calling: Calling },
    /// The model answered.
    Succeed { holder: Holder, answer: Answer, bill: Bill },
    /// The model did not answer. `jitter`, from 0 to 1, is the chance by which the wait before another try is chosen.
    Fail { holder: Holder, failed: Failed, bill: Bill, jitter: f64 },
    /// Its worker has stopped.
    Settle { holder: Holder, bill: Bill },
    /// An answer came after the attempt was given up.
    Late { holder: Holder, late: Box<Late> },
    /// Its timer is due: the lease of the worker that held `attempt` has run out, the wait after `attempt` is over, or its
    /// `deadline` is past.
    Due { attempt: u32, held: bool, deadline: bool },
    /// Somebody wants it stopped: at once while nobody has it, else its worker is asked to.
    Cancel { by: Uuid, reason: Option<String> },
    /// Somebody decides what becomes of it, as its outcome is unknown.
    Resolve { by: Uuid, resolution: Resolution, reason: Option<String>, cost: Option<Decimal>, is_admin: bool },
    /// Nothing more is to be done about it: it is a dead letter.
    Discard { by: Option<Uuid>, reason: String },
}
