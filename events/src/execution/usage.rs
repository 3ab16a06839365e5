//! What executions have used, by day and model, folded from the events of all of them.

use chrono::NaiveDate;
use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    Recorded,
    execution::{Bill, Event},
    fold::{Error, Fold, out_of_place},
};

/// A row of `usage_execution`: what later events of an execution do not say again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct UsageExecution {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub llm_provider: String,
    pub model: String,
    pub version: i32,
    pub position: i64,
}

impl Fold for UsageExecution {
    const STREAM: &'static str = "execution";

    fn id(&self) -> Uuid {
        self.id
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn next(row: Option<Self>, event: &Recorded) -> Result<Self, Error> {
        let (version, position) = (event.version, event.position);
        match (event.decode()?, row) {
            (Event::ExecutionRequested { request }, None) => Ok(Self {
                id: event.id,
                tenant_id: request.user_id,
                llm_provider: request.llm_provider,
                model: request.model,
                version,
                position,
            }),
            (Event::ExecutionRequested { .. }, Some(_)) | (_, None) => Err(out_of_place(event)),
            (_, Some(row)) => Ok(Self { version, position, ..row }),
        }
    }
}

/// A row of `usage_daily`; also what one event adds to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct UsageDaily {
    pub id: Uuid,
    pub day: NaiveDate,
    pub tenant_id: Uuid,
    pub llm_provider: String,
    pub model: String,
    pub executions: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cached_input_tokens: i64,
    pub reasoning_tokens: i64,
    /// USD.
    pub cost: Decimal,
    pub position: i64,
}

impl UsageDaily {
    /// What an event of an execution adds: to the day on which it was recorded. Nothing, where nothing was used and nothing
    /// has ended.
    pub fn of(execution: &UsageExecution, event: &Recorded) -> Result<Option<Self>, Error> {
        let mut row = Self::nothing(execution, event);
        match event.decode()? {
            Event::ExecutionAttemptFailed { bill, .. } => row.used(&bill),
            Event::ExecutionSucceeded { bill, .. } => {
                (row.executions, row.succeeded) = (1, 1);
                row.used(&bill);
            }
            Event::ExecutionFailed { bill, .. } | Event::ExecutionTimedOut { bill, .. } => {
                (row.executions, row.failed) = (1, 1);
                row.used(&bill);
            }
            Event::ExecutionCancelled { bill, .. } => {
                row.executions = 1;
                row.used(&bill);
            }
            // What it has cost turned out later; tokens are those of attempts that were told in time.
            Event::ExecutionResolved { cost, .. } => row.cost = cost.unwrap_or_default(),
            Event::ProviderAnsweredLate { bill, .. } => row.cost = bill.cost.unwrap_or_default(),
            Event::ExecutionRequested { .. }
            | Event::ExecutionStarted { .. }
            | Event::ProviderCallStarted { .. }
            | Event::ExecutionRetryDue { .. }
            | Event::ExecutionOutcomeUnknown { .. }
            | Event::ExecutionDiscarded { .. }
            | Event::ExecutionCancelRequested { .. } => {}
        }
        let used = [row.executions, row.input_tokens, row.output_tokens, row.cached_input_tokens, row.reasoning_tokens];
        Ok((used != [0; 5] || !row.cost.is_zero()).then_some(row))
    }

    /// The sum of two rows of the same key; none where it is larger than can be told.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        Some(Self {
            executions: self.executions.checked_add(other.executions)?,
            succeeded: self.succeeded.checked_add(other.succeeded)?,
            failed: self.failed.checked_add(other.failed)?,
            input_tokens: self.input_tokens.checked_add(other.input_tokens)?,
            output_tokens: self.output_tokens.checked_add(other.output_tokens)?,
            cached_input_tokens: self.cached_input_tokens.checked_add(other.cached_input_tokens)?,
            reasoning_tokens: self.reasoning_tokens.checked_add(other.reasoning_tokens)?,
            cost: self.cost.checked_add(other.cost)?,
            position: self.position.max(other.position),
            ..self.clone()
        })
    }

    fn nothing(execution: &UsageExecution, event: &Recorded) -> Self {
        let day = event.recorded_at.date_naive();
        let UsageExecution { tenant_id, llm_provider, model, .. } = execution.clone();
        Self {
            id: key(day, tenant_id, &llm_provider, &model),
            day,
            tenant_id,
            llm_provider,
            model,
            executions: 0,
            succeeded: 0,
            failed: 0,
            input_tokens: 0,
            output_tokens: 0,
            cached_input_tokens: 0,
            reasoning_tokens: 0,
            cost: Decimal::ZERO,
            position: event.position,
        }
    }

    fn used(&mut self, bill: &Bill) {
        let count = |tokens: Option<u64>| i64::try_from(tokens.unwrap_or(0)).unwrap_or(i64::MAX);
        self.input_tokens = count(bill.usage.input_tokens);
        self.output_tokens = count(bill.usage.output_tokens);
        self.cached_input_tokens = count(bill.usage.cached_input_tokens);
        self.reasoning_tokens = count(bill.usage.reasoning_tokens);
        self.cost = bill.cost.unwrap_or_default();
    }
}

/// The row's id: the first 16 bytes of the SHA-256 of day (ISO 8601), tenant, the provider's length in bytes and provider with
/// model, with a line feed between.
fn key(day: NaiveDate, tenant: Uuid, llm_provider: &str, model: &str) -> Uuid {
    let hash = Sha256::digest(format!("{day}\n{tenant}\n{}\n{llm_provider}{model}", llm_provider.len()));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uuid::from_bytes(bytes)
}
