//! What can be asked of an execution.

use uuid::Uuid;

use super::event::{Answer, Bill, FailureClass, Request};

/// What can be asked of an execution. Outcomes name their attempt: only the current one may write.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the events")]
pub enum Command {
    /// Queue it.
    Request(Box<Request>),
    /// A worker takes it. One that was started before counts as lost with its worker.
    Start { worker: String },
    /// The model answered.
    Succeed { attempt: u32, answer: Answer, bill: Bill },
    /// It will not succeed.
    Fail { attempt: u32, class: FailureClass, code: String, detail: String, bill: Bill },
    /// The model did not answer in time.
    TimeOut { attempt: u32, limit_ms: u64, bill: Bill },
    /// Somebody wants it stopped: at once while it is queued, else its worker is asked to.
    Cancel { by: Uuid, reason: Option<String> },
    /// Its worker has stopped.
    Settle { attempt: u32, bill: Bill },
}
