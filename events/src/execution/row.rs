//! An execution, folded.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{
    Recorded,
    execution::{Bill, Event, Request, Status, ToolCall},
    fold::{Error, Fold, out_of_place},
    store::StoreError,
};

/// A row of `execution`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Execution {
    pub id: Uuid,
    pub prompt_id: Uuid,
    pub prompt_version: i32,
    pub user_id: Uuid,
    /// JSON text, which stays byte for byte as it was first written.
    pub variables: String,
    pub llm_provider: String,
    pub model: String,
    /// A name of [`Status`].
    pub status: String,
    pub result: Option<String>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub cached_input_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    /// USD.
    pub cost: Option<Decimal>,
    pub price_table: Option<String>,
    pub duration_ms: Option<i64>,
    pub response_id: Option<String>,
    pub attempts: i32,
    pub error_code: Option<String>,
    pub error_detail: Option<String>,
    pub retry_of: Option<Uuid>,
    pub cancel_requested: bool,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub version: i32,
    pub position: i64,
    pub finish_reason: Option<String>,
    /// It failed after all its attempts.
    pub dead: bool,
    pub discarded_at: Option<DateTime<Utc>>,
    /// While it waits for another attempt: not before this.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// None for what was requested before there were deadlines.
    pub deadline_at: Option<DateTime<Utc>>,
    /// The most that the call that is made now can cost, in USD.
    pub cost_ceiling: Option<Decimal>,
    /// The most that calls can have cost of which nobody knows it, in USD.
    pub cost_unknown: Option<Decimal>,
    /// It sends the dead letter `retry_of` again.
    pub is_redrive: bool,
    /// What the model thought, as far as it is kept.
    pub reasoning: Option<String>,
    /// JSON text: the tools that the model wants to be called; none where there are none.
    pub tool_calls: Option<String>,
}

impl Execution {
    fn requested(request: Request, event: &Recorded) -> Self {
        Self {
            id: event.id,
            prompt_id: request.prompt_id,
            prompt_version: request.prompt_version,
            user_id: request.user_id,
            variables: request.variables.to_string(),
            llm_provider: request.llm_provider,
            model: request.model,
            status: Status::Queued.name().to_owned(),
            result: None,
            input_tokens: None,
            output_tokens: None,
            cached_input_tokens: None,
            reasoning_tokens: None,
            cost: None,
            price_table: None,
            duration_ms: None,
            response_id: None,
            attempts: 0,
            error_code: None,
            error_detail: None,
            retry_of: request.retry_of,
            cancel_requested: false,
            created_at: event.recorded_at,
            started_at: None,
            finished_at: None,
            version: event.version,
            position: event.position,
            finish_reason: None,
            dead: false,
            discarded_at: None,
            next_attempt_at: None,
            deadline_at: request.policy.map(|policy| deadline(event, policy.deadline_seconds)),
            cost_ceiling: None,
            cost_unknown: None,
            is_redrive: request.redrive.is_some(),
            reasoning: None,
            tool_calls: None,
        }
    }

    fn ended(&mut self, status: Status, attempt: u32, bill: &Bill, event: &Recorded) {
        status.name().clone_into(&mut self.status);
        self.attempts = small(attempt);
        self.finished_at = Some(event.recorded_at);
        self.next_attempt_at = None;
        (self.error_code, self.error_detail) = (None, None);
        // What never started has no time, rather than none.
        self.duration_ms = (attempt > 0).then(|| count(bill.duration_ms));
        self.price_table.clone_from(&bill.price_table);
        self.response_id.clone_from(&bill.response_id);
        self.used(bill);
    }

    /// Tokens and cost are those of all attempts. A call whose cost is not known keeps its ceiling booked.
    fn used(&mut self, bill: &Bill) {
        let more = |sum: &mut Option<i64>, tokens: Option<u64>| {
            if let Some(tokens) = tokens {
                *sum = Some(sum.unwrap_or(0).saturating_add(count(tokens)));
            }
        };
        more(&mut self.input_tokens, bill.usage.input_tokens);
        more(&mut self.output_tokens, bill.usage.output_tokens);
        more(&mut self.cached_input_tokens, bill.usage.cached_input_tokens);
        more(&mut self.reasoning_tokens, bill.usage.reasoning_tokens);
        let ceiling = self.cost_ceiling.take();
        match bill.cost {
            Some(cost) => add(&mut self.cost, cost),
            None => self.doubt(ceiling),
        }
    }

    /// Nobody knows what the call has cost that could cost so much.
    fn doubt(&mut self, ceiling: Option<Decimal>) {
        if let Some(ceiling) = ceiling.filter(|ceiling| !ceiling.is_zero()) {
            add(&mut self.cost_unknown, ceiling);
        }
    }

    /// It has turned out what the call has cost that could cost so much.
    fn settle(&mut self, cost: Option<Decimal>, ceiling: Option<Decimal>) {
        let Some(cost) = cost else { return };
        add(&mut self.cost, cost);
        if let Some(ceiling) = ceiling.filter(|ceiling| !ceiling.is_zero()) {
            let left = self.cost_unknown.unwrap_or_default() - ceiling;
            self.cost_unknown = (!left.is_zero()).then_some(left);
        }
    }

    fn error(&mut self, code: String, detail: String) {
        self.error_code = Some(code);
        self.error_detail = Some(detail);
    }
}

/// A count as the database has it, signed.
fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn add(sum: &mut Option<Decimal>, more: Decimal) {
    *sum = Some(sum.unwrap_or_default() + more);
}

fn after(at: DateTime<Utc>, milliseconds: u64) -> DateTime<Utc> {
    let wait = TimeDelta::try_milliseconds(count(milliseconds)).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn deadline(event: &Recorded, seconds: u32) -> DateTime<Utc> {
    after(event.recorded_at, u64::from(seconds) * 1000)
}

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// As they are in the event.
fn tool_calls(calls: &[ToolCall], event: &Recorded) -> Result<Option<String>, Error> {
    let unwritten = |source| StoreError::Undecodable { position: event.position, kind: event.kind.clone(), source };
    Ok((!calls.is_empty()).then(|| serde_json::to_string(calls)).transpose().map_err(unwritten)?)
}

impl Fold for Execution {
    const STREAM: &'static str = "execution";

    fn id(&self) -> Uuid {
        self.id
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn next(row: Option<Self>, event: &Recorded) -> Result<Self, Error> {
        let happened = event.decode()?;
        let Some(mut row) = row else {
            return match happened {
                Event::ExecutionRequested { request } => Ok(Self::requested(*request, event)),
                _ => Err(out_of_place(event)),
            };
        };
        match happened {
            Event::ExecutionRequested { .. } => return Err(out_of_place(event)),
            Event::ExecutionStarted { attempt, .. } => {
                Status::Running.name().clone_into(&mut row.status);
                row.attempts = small(attempt);
                row.started_at.get_or_insert(event.recorded_at);
                (row.error_code, row.error_detail) = (None, None);
                row.next_attempt_at = None;
            }
            Event::ProviderCallStarted { max_cost, .. } => row.cost_ceiling = max_cost,
            Event::ExecutionAttemptFailed { attempt, code, detail, bill, retry_in_ms, .. } => {
                Status::Queued.name().clone_into(&mut row.status);
                row.attempts = small(attempt);
                row.error(code, detail);
                row.used(&bill);
                row.next_attempt_at = Some(after(event.recorded_at, retry_in_ms));
            }
            Event::ExecutionRetryDue { .. } => {
                Status::Queued.name().clone_into(&mut row.status);
                row.next_attempt_at = None;
            }
            Event::ExecutionOutcomeUnknown { attempt, .. } => {
                Status::OutcomeUnknown.name().clone_into(&mut row.status);
                row.attempts = small(attempt);
                let ceiling = row.cost_ceiling.take();
                row.doubt(ceiling);
            }
            Event::ExecutionResolved { cost, max_cost, deadline_seconds, .. } => {
                row.settle(cost, max_cost);
                if let Some(seconds) = deadline_seconds {
                    row.deadline_at = Some(deadline(event, seconds));
                }
            }
            Event::ProviderAnsweredLate { max_cost, bill, .. } => {
                row.settle(bill.cost, max_cost);
            }
            Event::ExecutionDiscarded { .. } => row.discarded_at = Some(event.recorded_at),
            Event::ExecutionSucceeded { attempt, answer, bill } => {
                row.ended(Status::Succeeded, attempt, &bill, event);
                row.result = Some(answer.result);
                row.finish_reason = answer.finish_reason;
                row.reasoning = answer.reasoning;
                row.tool_calls = tool_calls(&answer.tool_calls, event)?;
            }
            Event::ExecutionFailed { attempt, code, detail, bill, dead, .. } => {
                row.ended(Status::Failed, attempt, &bill, event);
                row.error(code, detail);
                row.dead = dead;
            }
            Event::ExecutionTimedOut { attempt, limit_ms, bill, deadline } => {
                row.ended(Status::TimedOut, attempt, &bill, event);
                let (code, detail) = if deadline {
                    ("deadline_exceeded", format!("it had not ended within its deadline of {limit_ms} ms"))
                } else {
                    ("timed_out", format!("the model did not answer within {limit_ms} ms"))
                };
                row.error(code.to_owned(), detail);
            }
            Event::ExecutionCancelRequested { .. } => row.cancel_requested = true,
            Event::ExecutionCancelled { attempt, bill } => row.ended(Status::Cancelled, attempt, &bill, event),
        }
        row.version = event.version;
        row.position = event.position;
        Ok(row)
    }
}
