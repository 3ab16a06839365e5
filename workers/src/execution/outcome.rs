//! What became of one attempt: the command that says it to the log, and the metrics that count it.

use std::time::Duration;

use events::{
    clock,
    execution::{Answer, Bill, Command, Failed, FailureClass, Holder, Late, Request, Wire},
    model,
};
use metrics::{counter, gauge, histogram};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use service::telemetry::name;

use super::estimate;
use crate::{
    price::{TABLE, Table},
    provider::{Completion, Draft, Failure, Told},
};

/// The label of what is not known by name.
const OTHER: &str = "other";

/// How a call ended.
#[expect(clippy::large_enum_variant, reason = "there is one for each call, and it is moved once")]
pub(super) enum Ended {
    /// The provider answered, or said why not.
    Answered(Result<Completion, Failure>),
    /// The time was over before.
    TimedOut,
    /// Somebody wanted it stopped.
    Stopped,
}

/// The times of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// How long it took.
    pub took: Duration,
    /// How long it took until the first of its text came.
    pub first_chunk: Option<Duration>,
    /// How long it may take.
    pub limit: Duration,
}

/// The command that says how the holder's attempt ended. `draft` has what came of the answer, and what was told of its use.
pub(super) fn command(
    holder: Holder,
    request: &Request,
    ended: Ended,
    draft: &Draft,
    times: Times,
    table: &Table,
) -> Command {
    let Times { took, first_chunk, limit } = times;
    let (duration_ms, first_chunk_ms) = (milliseconds(took), first_chunk.map(milliseconds));
    let bill = |Told { usage, cost, .. }: Told, response_id: Option<String>| {
        let bill = Bill {
            duration_ms,
            first_chunk_ms,
            response_id,
            ..table.bill(&request.llm_provider, &request.model, usage)
        };
        match cost {
            // Its own word takes the place of list prices.
            Some(_) => Bill { cost, price_table: None, ..bill },
            None => bill,
        }
    };
    let broken = |told: Told, ended: bool| {
        let (told, estimated) = estimate::broken(told, &draft.text(), ended);
        Bill { estimated, ..bill(told, None) }
    };
    let fail = |failed, bill| Command::Fail { holder, failed, bill, jitter: clock::chance() };
    match ended {
        Ended::Answered(Ok(Completion { text, usage, cost, finish_reason, response_id, reasoning, tool_calls })) => {
            let answer = Answer { result: text, finish_reason, reasoning, tool_calls };
            let (usage, estimated) = estimate::complete(usage, request, &answer);
            let bill = Bill { estimated, ..bill(Told { usage, cost, ..Told::default() }, response_id) };
            Command::Succeed { holder, answer, bill }
        }
        Ended::Answered(Err(failure)) => {
            let Failure { class, code, detail, usage, cost, retry_after, provider_status, request_id, .. } = failure;
            let mut bill = broken(Told { usage: *usage, cost, ..draft.told() }, failure.ended);
            if failure.unbilled && bill.cost.is_none() {
                bill.cost = Some(Decimal::ZERO);
            }
            let retry_after_ms = retry_after.map(milliseconds);
            let wire = Wire { provider_status, request_id };
            fail(Failed { class, code: code.to_owned(), detail, wire, retry_after_ms }, bill)
        }
        Ended::TimedOut => {
            let failed = Failed {
                class: FailureClass::Retryable,
                code: "provider_timeout".to_owned(),
                detail: format!("{} did not answer within {} ms", request.llm_provider, milliseconds(limit)),
                wire: Wire::default(),
                retry_after_ms: None,
            };
            fail(failed, broken(draft.told(), false))
        }
        Ended::Stopped => Command::Settle { holder, bill: broken(draft.told(), false) },
    }
}

/// Whether a command brings a text that may be too large for an event.
pub(super) fn has_text(command: &Command) -> bool {
    matches!(command, Command::Succeed { .. }) || matches!(command, Command::Late { late, .. } if late.result.is_some())
}

/// Instead of an answer that no event can carry: the same without what the model thought, else the failure that says so, with
/// what the answer cost.
pub(super) fn too_large(command: Command, why: &str) -> Command {
    let code = "answer_too_large".to_owned();
    match command {
        Command::Succeed { holder, mut answer, bill } if answer.reasoning.is_some() => {
            answer.reasoning = None;
            Command::Succeed { holder, answer, bill }
        }
        Command::Succeed { holder, bill, .. } => {
            let failed = Failed {
                class: FailureClass::Permanent,
                code,
                detail: format!("the answer is too large to be recorded: {why}"),
                wire: Wire::default(),
                retry_after_ms: None,
            };
            Command::Fail { holder, failed, bill, jitter: 0.0 }
        }
        Command::Late { holder, mut late } if late.reasoning.is_some() => {
            late.reasoning = None;
            Command::Late { holder, late }
        }
        Command::Late { holder, late } => {
            let tool_calls = Vec::new();
            Command::Late { holder, late: Box::new(Late { result: None, tool_calls, code: Some(code), ..*late }) }
        }
        other => other,
    }
}

/// The code of a failure.
pub(super) fn code(command: &Command) -> Option<&str> {
    match command {
        Command::Fail { failed, .. } => Some(&failed.code),
        _ => None,
    }
}

/// Counts what a call took, used and cost, whatever becomes of its answer.
pub(super) fn count_call(request: &Request, command: &Command, took: Duration) {
    let provider = known_provider(&request.llm_provider);
    histogram!(name::EXECUTION_DURATION, "llm_provider" => provider).record(took.as_secs_f64());
    let (Command::Succeed { bill, .. } | Command::Fail { bill, .. }) = command else { return };
    let labels = [("llm_provider", provider), ("model", known_model(request))];
    let tokens = bill.usage.input_tokens.unwrap_or(0) + bill.usage.output_tokens.unwrap_or(0);
    if tokens > 0 {
        counter!(name::TOKENS, &labels).increment(tokens);
    }
    if let Some(cost) = bill.cost.and_then(|cost| cost.to_f64()).filter(|cost| *cost > 0.0) {
        // A counter here has whole numbers only.
        gauge!(name::COST, &labels).increment(cost);
    }
}

/// The provider as metrics name it: the log may be of a version that knew others.
fn known_provider(name: &str) -> &'static str {
    model::PROVIDERS.into_iter().find(|known| *known == name).unwrap_or(OTHER)
}

/// The model as metrics name it: as the price table has it. Any user may invent others, and each would stay for good.
fn known_model(request: &Request) -> &'static str {
    let price = TABLE.price(&request.llm_provider, &request.model);
    price.map(|price| price.model.as_str()).filter(|model| *model != "*").unwrap_or(OTHER)
}

/// Counts an execution that has ended.
pub(super) fn count_end(request: &Request, status: &'static str) {
    counter!(name::EXECUTIONS, "llm_provider" => known_provider(&request.llm_provider), "status" => status)
        .increment(1);
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
