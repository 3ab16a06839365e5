//! An execution as it reads.

use poem_openapi::{Enum, Object};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::http::Problem;
use sqlx::{Database, Decode, Postgres, Type, error::BoxDynError, types::Json};
use uuid::Uuid;

use crate::{reading::Placed, time::Time};

/// How far an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", rename = "ExecutionStatus")]
pub enum Status {
    Queued,
    Running,
    OutcomeUnknown,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
}

impl Status {
    /// As it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(rename = "ExecutionError")]
pub struct Failure {
    /// A stable name of it.
    code: String,
    /// For a person.
    detail: String,
}

impl Type<Postgres> for Failure {
    fn type_info() -> <Postgres as Database>::TypeInfo {
        <Json<Self> as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &<Postgres as Database>::TypeInfo) -> bool {
        <Json<Self> as Type<Postgres>>::compatible(ty)
    }
}

impl<'r> Decode<'r, Postgres> for Failure {
    fn decode(value: <Postgres as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(<Json<Self> as Decode<Postgres>>::decode(value)?.0)
    }
}

/// A run of a prompt.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[expect(clippy::struct_field_names, reason = "the words of the contract")]
pub struct Execution {
    #[oai(skip)]
    #[serde(skip)]
    pub(super) at: i64,
    /// The execution.
    pub(super) id: Uuid,
    /// The prompt.
    pub(super) prompt_id: Uuid,
    /// Which version of it.
    pub(super) prompt_version: i32,
    /// Who runs it.
    pub(super) user_id: Uuid,
    /// What the prompt's template was rendered with.
    pub(super) variables: Value,
    /// The provider.
    pub(super) llm_provider: String,
    /// The model's name, as the provider knows it.
    pub(super) model: String,
    /// `queued`, `running`, `outcome_unknown`, `succeeded`, `failed`, `timed_out` or `cancelled`.
    pub(super) status: String,
    /// What the model answered.
    pub(super) result: Option<String>,
    /// Why the answer ended, in the provider's word (`echo, no model` where there was none).
    pub(super) finish_reason: Option<String>,
    /// What the model thought before it answered, as far as the provider shows that: the first 65,536 bytes, in whole
    /// characters.
    pub(super) reasoning: Option<String>,
    /// The tools that the model wants to be called, in OpenAI's form whatever the provider's is: `[{"id", "type",
    /// "function": {"name", "arguments"}}]`, where `arguments` is the text that the model wrote, as it came.
    pub(super) tool_calls: Option<Value>,
    /// Tokens that were sent, in all attempts.
    pub(super) input_tokens: Option<i64>,
    /// Tokens that came back.
    pub(super) output_tokens: Option<i64>,
    /// Both together.
    pub(super) tokens_used: Option<i64>,
    /// USD, as a decimal: what all attempts have cost, as far as it is known; null where it is not, as without a price.
    pub(super) cost: Option<String>,
    /// USD, as a decimal: `cost`, and the most that those calls can have cost of which nobody knows it, or not yet.
    pub(super) cost_booked: Option<String>,
    /// How long the last call took, in seconds.
    pub(super) execution_time: Option<f64>,
    /// How often it was tried.
    pub(super) attempts: i32,
    /// While it waits for another attempt: not before this.
    pub(super) next_attempt_at: Option<Time>,
    /// By when it must have ended; null for what was requested before there were deadlines.
    pub(super) deadline_at: Option<Time>,
    /// What went wrong, if it did.
    pub(super) error: Option<Failure>,
    /// It failed after all its attempts: it can be redriven or discarded.
    pub(super) dead: bool,
    /// When it was discarded, as a dead letter.
    pub(super) discarded_at: Option<Time>,
    /// The execution that this one repeats.
    pub(super) retry_of: Option<Uuid>,
    /// When it was requested.
    pub(super) created_at: Time,
    /// When it was first started.
    pub(super) started_at: Option<Time>,
    /// When it ended.
    pub(super) finished_at: Option<Time>,
    /// How many events it has.
    pub(super) version: i32,
    /// The place of its last event in the log.
    pub(super) position: i64,
}

impl Execution {
    /// Who may see it, beside admins.
    pub fn owner(&self) -> Uuid {
        self.user_id
    }

    /// As the row of the read model would be answered at `position`.
    pub(super) fn of(row: events::execution::row::Execution, position: i64) -> Result<Self, Problem> {
        let used = row.input_tokens.is_some() || row.output_tokens.is_some();
        let cost_booked = booked(&row).map(|cost| cost.to_string());
        let failure = |code| Failure { code, detail: row.error_detail.clone().unwrap_or_default() };
        Ok(Self {
            at: position,
            id: row.id,
            prompt_id: row.prompt_id,
            prompt_version: row.prompt_version,
            user_id: row.user_id,
            variables: serde_json::from_str(&row.variables).map_err(Problem::internal)?,
            llm_provider: row.llm_provider,
            model: row.model,
            status: row.status,
            result: row.result,
            finish_reason: row.finish_reason,
            reasoning: row.reasoning,
            tool_calls: row.tool_calls.as_deref().map(serde_json::from_str).transpose().map_err(Problem::internal)?,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            tokens_used: used.then(|| row.input_tokens.unwrap_or(0).saturating_add(row.output_tokens.unwrap_or(0))),
            cost_booked,
            cost: row.cost.map(|cost| cost.to_string()),
            execution_time: row.duration_ms.map(seconds),
            attempts: row.attempts,
            next_attempt_at: row.next_attempt_at.map(Time),
            deadline_at: row.deadline_at.map(Time),
            error: row.error_code.map(failure),
            dead: row.dead,
            discarded_at: row.discarded_at.map(Time),
            retry_of: row.retry_of,
            created_at: Time(row.created_at),
            started_at: row.started_at.map(Time),
            finished_at: row.finished_at.map(Time),
            version: row.version,
            position: row.position,
        })
    }
}

/// What is known and what is not, together; none where neither is.
fn booked(row: &events::execution::row::Execution) -> Option<Decimal> {
    [row.cost, row.cost_ceiling, row.cost_unknown].into_iter().flatten().reduce(|sum, more| sum + more)
}

#[expect(clippy::cast_precision_loss, reason = "a call takes no 2^53 ms; and so does PostgreSQL")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

impl Placed for Execution {
    fn at(&self) -> i64 {
        self.at
    }

    fn version(&self) -> Option<i32> {
        Some(self.version)
    }
}

/// An execution's columns, checked by sqlx with whatever follows `where`.
macro_rules! execution {
    ($tail:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            $crate::execution::row::Execution,
            r#"select (select c.position from checkpoint c where c.name = 'execution') as "at!",
                      id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, result,
                      finish_reason, reasoning, tool_calls, input_tokens, output_tokens,
                      case when input_tokens is not null or output_tokens is not null
                           then coalesce(input_tokens, 0) + coalesce(output_tokens, 0) end as tokens_used,
                      cost::text,
                      case when coalesce(cost, cost_ceiling, cost_unknown) is not null
                           then (coalesce(cost, 0) + coalesce(cost_ceiling, 0) + coalesce(cost_unknown, 0))::text end
                          as cost_booked,
                      duration_ms::float8 / 1000 as execution_time, attempts,
                      case when error_code is not null
                           then json_build_object('code', error_code, 'detail', coalesce(error_detail, '')) end
                          as "error: Failure",
                      next_attempt_at as "next_attempt_at: Time", deadline_at as "deadline_at: Time", dead,
                      discarded_at as "discarded_at: Time", retry_of,
                      created_at as "created_at: Time",
                      started_at as "started_at: Time", finished_at as "finished_at: Time", version, position
               from execution where "# + $tail,
            $($argument),+
        )
    };
}

pub(super) use execution;
