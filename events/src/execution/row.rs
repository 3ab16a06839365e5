//! An execution, folded.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{
    Recorded,
    execution::{Bill, Event, Request, Status},
    fold::{Error, Fold, out_of_place},
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
        }
    }

    fn ended(&mut self, status: Status, attempt: u32, bill: Bill, event: &Recorded) {
        status.name().clone_into(&mut self.status);
        self.attempts = small(attempt);
        self.finished_at = Some(event.recorded_at);
        self.input_tokens = bill.usage.input_tokens.map(count);
        self.output_tokens = bill.usage.output_tokens.map(count);
        self.cached_input_tokens = bill.usage.cached_input_tokens.map(count);
        self.reasoning_tokens = bill.usage.reasoning_tokens.map(count);
        self.cost = bill.cost;
        self.price_table = bill.price_table;
        // What never started has no time, rather than none.
        self.duration_ms = (attempt > 0).then(|| count(bill.duration_ms));
        self.response_id = bill.response_id;
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

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
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
            }
            Event::ExecutionAttemptFailed { attempt, .. } => row.attempts = small(attempt),
            Event::ExecutionSucceeded { attempt, answer, bill } => {
                row.ended(Status::Succeeded, attempt, bill, event);
                row.result = Some(answer.result);
                row.finish_reason = answer.finish_reason;
            }
            Event::ExecutionFailed { attempt, code, detail, bill, .. } => {
                row.ended(Status::Failed, attempt, bill, event);
                row.error(code, detail);
            }
            Event::ExecutionTimedOut { attempt, limit_ms, bill } => {
                row.ended(Status::TimedOut, attempt, bill, event);
                row.error("timed_out".to_owned(), format!("the model did not answer within {limit_ms} ms"));
            }
            Event::ExecutionCancelRequested { .. } => row.cancel_requested = true,
            Event::ExecutionCancelled { attempt, bill } => row.ended(Status::Cancelled, attempt, bill, event),
        }
        row.version = event.version;
        row.position = event.position;
        Ok(row)
    }
}
