//! What became of one attempt: the command that says it to the log, and the metrics that count it.

use std::time::Duration;

use events::execution::{Answer, Bill, Command, FailureClass, Request, Usage};
use metrics::{counter, gauge, histogram};
use rust_decimal::prelude::ToPrimitive as _;
use service::telemetry::name;

use crate::{
    price::Table,
    provider::{Completion, Failure},
};

/// How a call ended.
pub(super) enum Ended {
    /// The provider answered, or said why not.
    Answered(Result<Completion, Failure>),
    /// The time was over before.
    TimedOut,
    /// Somebody wanted it stopped.
    Stopped,
}

/// The command that says how `attempt` ended.
pub(super) fn command(
    attempt: u32,
    request: &Request,
    ended: Ended,
    took: Duration,
    limit: Duration,
    table: &Table,
) -> Command {
    let bill = |usage: Usage, response_id: Option<String>| Bill {
        duration_ms: milliseconds(took),
        response_id,
        ..table.bill(&request.llm_provider, &request.model, usage)
    };
    // What the provider may have used up by then, it has told nobody.
    let unknown = Bill { duration_ms: milliseconds(took), ..Bill::default() };
    match ended {
        Ended::Answered(Ok(Completion { text, usage, finish_reason, response_id })) => {
            Command::Succeed { attempt, answer: Answer { result: text, finish_reason }, bill: bill(usage, response_id) }
        }
        Ended::Answered(Err(Failure { class, code, detail, usage, .. })) => {
            Command::Fail { attempt, class, code: code.to_owned(), detail, bill: bill(*usage, None) }
        }
        Ended::TimedOut => Command::TimeOut { attempt, limit_ms: milliseconds(limit), bill: unknown },
        Ended::Stopped => Command::Settle { attempt, bill: unknown },
    }
}

/// Instead of an answer that no event can carry: the failure that says so, with what the answer cost.
pub(super) fn too_large(command: Command, why: &str) -> Command {
    match command {
        Command::Succeed { attempt, bill, .. } => Command::Fail {
            attempt,
            class: FailureClass::Permanent,
            code: "answer_too_large".to_owned(),
            detail: format!("the answer is too large to be recorded: {why}"),
            bill,
        },
        other => other,
    }
}

/// The state that a command leads to, and its code where it is a failure.
pub(super) fn status(command: &Command) -> (&'static str, Option<&str>) {
    match command {
        Command::Succeed { .. } => ("succeeded", None),
        Command::Fail { code, .. } => ("failed", Some(code)),
        Command::TimeOut { .. } => ("timed_out", None),
        Command::Settle { .. } => ("cancelled", None),
        Command::Request(_) | Command::Start { .. } | Command::Cancel { .. } => ("queued", None),
    }
}

/// Counts what a call took, used and cost, whatever becomes of its answer.
pub(super) fn count_call(request: &Request, command: &Command, took: Duration) {
    let provider = request.llm_provider.clone();
    histogram!(name::EXECUTION_DURATION, "llm_provider" => provider.clone()).record(took.as_secs_f64());
    let (Command::Succeed { bill, .. } | Command::Fail { bill, .. }) = command else { return };
    let labels = [("llm_provider", provider), ("model", request.model.clone())];
    let tokens = bill.usage.input_tokens.unwrap_or(0) + bill.usage.output_tokens.unwrap_or(0);
    if tokens > 0 {
        counter!(name::TOKENS, &labels).increment(tokens);
    }
    if let Some(cost) = bill.cost.and_then(|cost| cost.to_f64()).filter(|cost| *cost > 0.0) {
        // A counter here has whole numbers only.
        gauge!(name::COST, &labels).increment(cost);
    }
}

/// Counts an execution that has ended.
pub(super) fn count_end(request: &Request, status: &'static str) {
    counter!(name::EXECUTIONS, "llm_provider" => request.llm_provider.clone(), "status" => status).increment(1);
}

/// One call in flight, from its making to its drop.
pub(super) struct Active(());

impl Active {
    pub(super) fn begin() -> Self {
        gauge!(name::ACTIVE).increment(1.0);
        Self(())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        gauge!(name::ACTIVE).decrement(1.0);
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
