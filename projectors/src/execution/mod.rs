//! Executions, from the request to the outcome.

mod kept;
mod row;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::{Recorded, execution::Event};
use futures_util::future::BoxFuture;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

pub use events::execution::row::Execution;
use kept::Unfinished;

use crate::{
    fold::{self, column},
    kept::Kept,
    memory::Move,
    projection::{Error, MOST_PARKED, Projection},
    row::RowTable,
};

/// Writes `execution`.
pub static EXECUTIONS: Projection = Projection {
    name: "execution",
    version: 1,
    streams: &["execution"],
    kinds: &[Event::KINDS],
    tables: &[&RowTable::<Execution>::NEW],
    most_parked: MOST_PARKED,
    kept: Some(|| Box::new(Unfinished::default())),
};

impl Kept for Unfinished {
    fn advance<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        batch: &'a [Arc<Recorded>],
        step: &'a Move,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let (mut there, mut missing) = (Vec::new(), Vec::new());
            for id in fold::begun::<Execution>(batch) {
                match self.take(id) {
                    Some(row) => there.push(row),
                    None => missing.push(id),
                }
            }
            // What is read before the statement is still so when its condition holds.
            if !missing.is_empty() {
                there.extend(load(connection, &missing).await?);
            }
            let rows = fold::rows(there, batch)?;
            let done = store(connection, &rows, Some(step)).await?;
            if done {
                self.keep(rows);
            }
            Ok(done)
        })
    }
}

/// The rows of these executions.
pub async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Execution>, Error> {
    let rows = sqlx::query!(
        r#"select id, prompt_id, prompt_version, user_id, variables::text as "variables!", llm_provider, model,
                  status, result, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost::text,
                  price_table, duration_ms, response_id, attempts, error_code, error_detail, retry_of,
                  cancel_requested, created_at, started_at, finished_at, version, position, finish_reason, dead,
                  discarded_at, next_attempt_at, deadline_at, cost_ceiling::text, cost_unknown::text, is_redrive,
                  reasoning, tool_calls::text
           from execution where id = any($1)"#,
        ids
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Execution {
                cost: money(row.cost.as_deref())?,
                cost_ceiling: money(row.cost_ceiling.as_deref())?,
                cost_unknown: money(row.cost_unknown.as_deref())?,
                id: row.id,
                prompt_id: row.prompt_id,
                prompt_version: row.prompt_version,
                user_id: row.user_id,
                variables: row.variables,
                llm_provider: row.llm_provider,
                model: row.model,
                status: row.status,
                result: row.result,
                input_tokens: row.input_tokens,
                output_tokens: row.output_tokens,
                cached_input_tokens: row.cached_input_tokens,
                reasoning_tokens: row.reasoning_tokens,
                price_table: row.price_table,
                duration_ms: row.duration_ms,
                response_id: row.response_id,
                attempts: row.attempts,
                error_code: row.error_code,
                error_detail: row.error_detail,
                retry_of: row.retry_of,
                cancel_requested: row.cancel_requested,
                created_at: row.created_at,
                started_at: row.started_at,
                finished_at: row.finished_at,
                version: row.version,
                position: row.position,
                finish_reason: row.finish_reason,
                dead: row.dead,
                discarded_at: row.discarded_at,
                next_attempt_at: row.next_attempt_at,
                deadline_at: row.deadline_at,
                is_redrive: row.is_redrive,
                reasoning: row.reasoning,
                tool_calls: row.tool_calls,
            })
        })
        .collect()
}

/// Numbers of any precision travel as text.
fn money(text: Option<&str>) -> Result<Option<Decimal>, Error> {
    let amount = text.map(str::parse).transpose();
    Ok(amount.map_err(|error: rust_decimal::Error| sqlx::Error::Decode(Box::new(error)))?)
}

/// Writes rows, and moves the checkpoint with them if it `step`s: then both are done, or neither. Returns whether they were.
#[expect(clippy::too_many_lines, reason = "one statement, a line for each column")]
async fn store(connection: &mut PgConnection, rows: &[Execution], step: Option<&Move>) -> Result<bool, Error> {
    if rows.is_empty() && step.is_none() {
        return Ok(true);
    }
    let (from, to) = (step.map(|step| step.from), step.map(|step| step.to));
    let done = sqlx::query_scalar!(
        r#"with moved as (
             update read.checkpoint set position = $42, epoch = $43, event_id = $44, updated_at = now()
             where name = $38 and position = $45 and event_id is not distinct from $46 and version = $39
               and generation = $40 and revision = $41 and parked = 0
             returning position
         ), stored as (
         insert into execution
             (id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, result, input_tokens,
              output_tokens, cached_input_tokens, reasoning_tokens, cost, price_table, duration_ms, response_id,
              attempts, error_code, error_detail, retry_of, cancel_requested, created_at, started_at, finished_at,
              version, position, finish_reason, dead, discarded_at, next_attempt_at, deadline_at, cost_ceiling,
              cost_unknown, is_redrive, reasoning, tool_calls)
         select x.id, x.prompt_id, x.prompt_version, x.user_id, x.variables::json, x.llm_provider, x.model, x.status,
                x.result, x.input_tokens, x.output_tokens, x.cached_input_tokens, x.reasoning_tokens, x.cost::numeric,
                x.price_table, x.duration_ms, x.response_id, x.attempts, x.error_code, x.error_detail, x.retry_of,
                x.cancel_requested, x.created_at, x.started_at, x.finished_at, x.version, x.position,
                x.finish_reason, x.dead, x.discarded_at, x.next_attempt_at, x.deadline_at, x.cost_ceiling::numeric,
                x.cost_unknown::numeric, x.is_redrive, x.reasoning, x.tool_calls::json
         from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[],
                     $15::text[], $16::bigint[], $17::text[], $18::integer[], $19::text[], $20::text[], $21::uuid[],
                     $22::boolean[], $23::timestamptz[], $24::timestamptz[], $25::timestamptz[], $26::integer[],
                     $27::bigint[], $28::text[], $29::boolean[], $30::timestamptz[], $31::timestamptz[],
                     $32::timestamptz[], $33::text[], $34::text[], $35::boolean[], $36::text[], $37::text[])
              as x (id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, result,
                    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost, price_table,
                    duration_ms, response_id, attempts, error_code, error_detail, retry_of, cancel_requested,
                    created_at, started_at, finished_at, version, position, finish_reason, dead, discarded_at,
                    next_attempt_at, deadline_at, cost_ceiling, cost_unknown, is_redrive, reasoning, tool_calls)
         where $38::text is null or exists (select from moved)
         on conflict (id) do update
             set prompt_id = excluded.prompt_id, prompt_version = excluded.prompt_version, user_id = excluded.user_id,
                 variables = excluded.variables, llm_provider = excluded.llm_provider, model = excluded.model,
                 status = excluded.status, result = excluded.result, input_tokens = excluded.input_tokens,
                 output_tokens = excluded.output_tokens, cached_input_tokens = excluded.cached_input_tokens,
                 reasoning_tokens = excluded.reasoning_tokens, cost = excluded.cost,
                 price_table = excluded.price_table, duration_ms = excluded.duration_ms,
                 response_id = excluded.response_id, attempts = excluded.attempts, error_code = excluded.error_code,
                 error_detail = excluded.error_detail, retry_of = excluded.retry_of,
                 cancel_requested = excluded.cancel_requested, created_at = excluded.created_at,
                 started_at = excluded.started_at, finished_at = excluded.finished_at, version = excluded.version,
                 position = excluded.position, finish_reason = excluded.finish_reason, dead = excluded.dead,
                 discarded_at = excluded.discarded_at, next_attempt_at = excluded.next_attempt_at,
                 deadline_at = excluded.deadline_at, cost_ceiling = excluded.cost_ceiling,
                 cost_unknown = excluded.cost_unknown, is_redrive = excluded.is_redrive,
                 reasoning = excluded.reasoning, tool_calls = excluded.tool_calls
             where execution.version < excluded.version)
         select $38::text is null or exists (select from moved) as "done!""#,
        &column(rows, |row| row.id),
        &column(rows, |row| row.prompt_id),
        &column(rows, |row| row.prompt_version),
        &column(rows, |row| row.user_id),
        &column(rows, |row| row.variables.as_str()) as &[&str],
        &column(rows, |row| row.llm_provider.as_str()) as &[&str],
        &column(rows, |row| row.model.as_str()) as &[&str],
        &column(rows, |row| row.status.as_str()) as &[&str],
        &column(rows, |row| row.result.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.input_tokens) as &[Option<i64>],
        &column(rows, |row| row.output_tokens) as &[Option<i64>],
        &column(rows, |row| row.cached_input_tokens) as &[Option<i64>],
        &column(rows, |row| row.reasoning_tokens) as &[Option<i64>],
        &column(rows, |row| row.cost.map(|cost| cost.to_string())) as &[Option<String>],
        &column(rows, |row| row.price_table.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.duration_ms) as &[Option<i64>],
        &column(rows, |row| row.response_id.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.attempts),
        &column(rows, |row| row.error_code.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.error_detail.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.retry_of) as &[Option<Uuid>],
        &column(rows, |row| row.cancel_requested),
        &column(rows, |row| row.created_at),
        &column(rows, |row| row.started_at) as &[Option<DateTime<Utc>>],
        &column(rows, |row| row.finished_at) as &[Option<DateTime<Utc>>],
        &column(rows, |row| row.version),
        &column(rows, |row| row.position),
        &column(rows, |row| row.finish_reason.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.dead),
        &column(rows, |row| row.discarded_at) as &[Option<DateTime<Utc>>],
        &column(rows, |row| row.next_attempt_at) as &[Option<DateTime<Utc>>],
        &column(rows, |row| row.deadline_at) as &[Option<DateTime<Utc>>],
        &column(rows, |row| row.cost_ceiling.map(|cost| cost.to_string())) as &[Option<String>],
        &column(rows, |row| row.cost_unknown.map(|cost| cost.to_string())) as &[Option<String>],
        &column(rows, |row| row.is_redrive),
        &column(rows, |row| row.reasoning.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.tool_calls.as_deref()) as &[Option<&str>],
        step.map(|step| step.name),
        step.map(|step| step.version),
        step.map(|step| step.generation),
        step.map(|step| step.revision),
        to.map(|to| to.position),
        step.map(|step| step.epoch),
        to.and_then(|to| to.event_id),
        from.map(|from| from.position),
        from.and_then(|from| from.event_id),
    )
    .fetch_one(connection)
    .await?;
    Ok(done)
}
