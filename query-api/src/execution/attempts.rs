//! The attempts of an execution, one by one, folded from its events in the log.

use chrono::{DateTime, TimeDelta, Utc};
use events::{
    Recorded,
    execution::{Bill, Event, FailureClass, Status, Wire},
};
use poem_openapi::Object;
use rust_decimal::Decimal;
use serde::Serialize;
use service::http::{Caller, Problem};
use uuid::Uuid;

use super::history::STREAM;
use crate::{reading::Reading, time::Time};

/// A try.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ExecutionAttempt")]
#[expect(clippy::struct_field_names, reason = "the words of the events")]
pub struct Attempt {
    /// Which one it is, from 1.
    attempt: u32,
    /// The worker that had it.
    worker: String,
    /// `running`, `succeeded`, `failed`, `timed_out`, `cancelled` or `outcome_unknown`.
    status: String,
    /// `retryable`, `permanent`, `misconfigured`, `malformed` or `worker_lost`, where it failed.
    class: Option<String>,
    /// A stable name of what went wrong.
    code: Option<String>,
    /// What went wrong, for a person.
    detail: Option<String>,
    /// The HTTP status of the provider's answer, where that was an error.
    provider_status: Option<u16>,
    /// The provider's own id of the request, where it told one with an error.
    request_id: Option<String>,
    /// The provider's own id of its answer.
    response_id: Option<String>,
    /// SHA-256, in hex, of what was sent.
    request_hash: Option<String>,
    /// How long the call took, in seconds.
    execution_time: Option<f64>,
    /// How long it took until the first of its text came, in seconds; null where no text came.
    time_to_first_chunk: Option<f64>,
    /// USD, as a decimal: what it has cost; null where that is not known.
    cost: Option<String>,
    /// Its tokens, and with them its cost, were estimated from the text, as the provider did not count them.
    estimated: bool,
    /// USD, as a decimal: the most that it can have cost; null where the price is not known.
    max_cost: Option<String>,
    /// An answer came after it had been given up: what came is in the execution's events, as evidence.
    answered_late: bool,
    /// When it was started.
    started_at: Time,
    /// When it ended, or was given up.
    finished_at: Option<Time>,
    /// When another try was to follow, at the earliest.
    retry_at: Option<Time>,
}

/// The attempts of the execution `id`, and the position of its last event: 404 unless it is there, and for this caller.
pub async fn of(reading: &Reading, id: Uuid, caller: &Caller) -> Result<(Vec<Attempt>, i64), Problem> {
    let events = reading.store.stream(STREAM, id).await?;
    let last = events.last().ok_or_else(Problem::not_found)?;
    if !caller.is_admin() && last.scope != Some(caller.id) {
        return Err(Problem::not_found());
    }
    let position = last.position;
    let mut attempts = Vec::new();
    for event in &events {
        apply(&mut attempts, event)?;
    }
    Ok((attempts, position))
}

fn apply(attempts: &mut Vec<Attempt>, recorded: &Recorded) -> Result<(), Problem> {
    let at = recorded.recorded_at;
    match recorded.decode::<Event>()? {
        Event::ExecutionStarted { attempt, worker, .. } => attempts.push(Attempt::started(attempt, worker, at)),
        Event::ProviderCallStarted { attempt, request_hash, max_cost } => with(attempts, attempt, |one| {
            one.request_hash = Some(request_hash);
            one.max_cost = max_cost.map(|cost| cost.to_string());
        }),
        Event::ExecutionAttemptFailed { attempt, class, code, detail, wire, bill, retry_in_ms } => {
            with(attempts, attempt, |one| {
                one.failed(class, code, detail, wire);
                one.ended(Status::Failed, at, bill);
                let wait = TimeDelta::try_milliseconds(i64::try_from(retry_in_ms).unwrap_or(i64::MAX));
                one.retry_at = wait.and_then(|wait| at.checked_add_signed(wait)).map(Time);
            });
        }
        Event::ExecutionOutcomeUnknown { attempt, .. } => with(attempts, attempt, |one| {
            Status::OutcomeUnknown.name().clone_into(&mut one.status);
            one.finished_at = Some(Time(at));
        }),
        Event::ExecutionResolved { attempt, cost, .. } => with(attempts, attempt, |one| one.costs(cost)),
        Event::ProviderAnsweredLate { attempt, bill, .. } => with(attempts, attempt, |one| {
            one.answered_late = true;
            one.used(bill);
        }),
        Event::ExecutionSucceeded { attempt, bill, .. } => {
            with(attempts, attempt, |one| one.ended(Status::Succeeded, at, bill));
        }
        Event::ExecutionFailed { attempt, class, code, detail, wire, bill, .. } => with(attempts, attempt, |one| {
            // What has ended already, as its outcome is unknown or another was to follow, has its own story.
            if one.finished_at.is_none() {
                one.failed(class, code, detail, wire);
                one.ended(Status::Failed, at, bill);
            }
        }),
        Event::ExecutionTimedOut { attempt, bill, .. } => with(attempts, attempt, |one| {
            if one.finished_at.is_none() {
                one.ended(Status::TimedOut, at, bill);
            }
        }),
        Event::ExecutionCancelled { attempt, bill } => with(attempts, attempt, |one| {
            if one.finished_at.is_none() {
                one.ended(Status::Cancelled, at, bill);
            }
        }),
        Event::ExecutionRequested { .. }
        | Event::ExecutionRetryDue { .. }
        | Event::ExecutionCancelRequested { .. }
        | Event::ExecutionDiscarded { .. } => {}
    }
    Ok(())
}

fn with(attempts: &mut [Attempt], attempt: u32, change: impl FnOnce(&mut Attempt)) {
    if let Some(one) = attempts.iter_mut().find(|one| one.attempt == attempt) {
        change(one);
    }
}

impl Attempt {
    fn started(attempt: u32, worker: String, at: DateTime<Utc>) -> Self {
        Self {
            attempt,
            worker,
            status: Status::Running.name().to_owned(),
            class: None,
            code: None,
            detail: None,
            provider_status: None,
            request_id: None,
            response_id: None,
            request_hash: None,
            execution_time: None,
            time_to_first_chunk: None,
            cost: None,
            estimated: false,
            max_cost: None,
            answered_late: false,
            started_at: Time(at),
            finished_at: None,
            retry_at: None,
        }
    }

    fn failed(&mut self, class: FailureClass, code: String, detail: String, wire: Wire) {
        self.class = Some(class.name().to_owned());
        (self.code, self.detail) = (Some(code), Some(detail));
        (self.provider_status, self.request_id) = (wire.provider_status, wire.request_id);
    }

    fn ended(&mut self, status: Status, at: DateTime<Utc>, bill: Bill) {
        status.name().clone_into(&mut self.status);
        self.finished_at = Some(Time(at));
        self.used(bill);
    }

    #[expect(clippy::cast_precision_loss, reason = "a call takes no 2^53 ms")]
    fn used(&mut self, bill: Bill) {
        self.execution_time = Some(bill.duration_ms as f64 / 1000.0);
        self.time_to_first_chunk = bill.first_chunk_ms.map(|ms| ms as f64 / 1000.0);
        self.response_id = bill.response_id;
        self.estimated = bill.estimated;
        self.costs(bill.cost);
    }

    fn costs(&mut self, cost: Option<Decimal>) {
        if let Some(cost) = cost {
            self.cost = Some(cost.to_string());
        }
    }
}
