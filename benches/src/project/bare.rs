//! The final rows of all executions, written by nothing but upserts.

use std::time::Instant;

use chrono::{DateTime, Utc};
use projectors::{execution::Execution, row::Row as _};
use sqlx::{Executor as _, PgPool};
use uuid::Uuid;

use super::{EVENTS, rate};

/// How many rows one statement writes.
const ROWS: usize = 1000;

/// The rows, a statement's worth each.
pub(super) struct Rows(Vec<Vec<Execution>>);

impl Rows {
    /// What the read model has now, in the order in which it came to be.
    pub(super) async fn read(pool: &PgPool) -> anyhow::Result<Self> {
        let ids: Vec<Uuid> = sqlx::query_scalar("select id from read.execution order by id").fetch_all(pool).await?;
        let mut connection = pool.acquire().await?;
        let mut chunks = Vec::new();
        for ids in ids.chunks(ROWS) {
            let mut rows = Execution::load(&mut connection, ids).await?;
            rows.sort_by_key(|row| row.id);
            chunks.push(rows);
        }
        Ok(Self(chunks))
    }
}

/// Events of the log per second of writing its rows into an empty table of the same columns and indexes, each statement in
/// a transaction of its own.
pub(super) async fn write(pool: &PgPool, rows: &Rows) -> anyhow::Result<f64> {
    pool.execute("drop table if exists bare").await?;
    pool.execute("create table bare (like read.execution including all)").await?;
    pool.execute("checkpoint").await?;
    let mut connection = pool.acquire().await?;
    let begin = Instant::now();
    for rows in &rows.0 {
        upsert(&mut connection, rows).await?;
    }
    let rate = rate(EVENTS, begin.elapsed().as_secs_f64());
    // Or it is less that is written.
    let same = "select not exists (select to_jsonb(r) from read.execution r except select to_jsonb(b) from bare b)";
    let is_same: bool = sqlx::query_scalar(same).fetch_one(&mut *connection).await?;
    anyhow::ensure!(is_same, "the bare upserts do not write the rows of the read model");
    Ok(rate)
}

async fn upsert(connection: &mut sqlx::PgConnection, rows: &[Execution]) -> anyhow::Result<()> {
    fn column<'a, T>(rows: &'a [Execution], of: impl Fn(&'a Execution) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    sqlx::query(STATEMENT)
        .bind(column::<Uuid>(rows, |row| row.id))
        .bind(column::<Uuid>(rows, |row| row.prompt_id))
        .bind(column::<i32>(rows, |row| row.prompt_version))
        .bind(column::<Uuid>(rows, |row| row.user_id))
        .bind(column::<&str>(rows, |row| &row.variables))
        .bind(column::<&str>(rows, |row| &row.llm_provider))
        .bind(column::<&str>(rows, |row| &row.model))
        .bind(column::<&str>(rows, |row| &row.status))
        .bind(column::<Option<&str>>(rows, |row| row.result.as_deref()))
        .bind(column::<Option<i64>>(rows, |row| row.input_tokens))
        .bind(column::<Option<i64>>(rows, |row| row.output_tokens))
        .bind(column::<Option<i64>>(rows, |row| row.cached_input_tokens))
        .bind(column::<Option<i64>>(rows, |row| row.reasoning_tokens))
        .bind(column::<Option<String>>(rows, |row| row.cost.map(|cost| cost.to_string())))
        .bind(column::<Option<&str>>(rows, |row| row.price_table.as_deref()))
        .bind(column::<Option<i64>>(rows, |row| row.duration_ms))
        .bind(column::<Option<&str>>(rows, |row| row.response_id.as_deref()))
        .bind(column::<Option<&str>>(rows, |row| row.finish_reason.as_deref()))
        .bind(column::<i32>(rows, |row| row.attempts))
        .bind(column::<Option<&str>>(rows, |row| row.error_code.as_deref()))
        .bind(column::<Option<&str>>(rows, |row| row.error_detail.as_deref()))
        .bind(column::<Option<Uuid>>(rows, |row| row.retry_of))
        .bind(column::<bool>(rows, |row| row.cancel_requested))
        .bind(column::<DateTime<Utc>>(rows, |row| row.created_at))
        .bind(column::<Option<DateTime<Utc>>>(rows, |row| row.started_at))
        .bind(column::<Option<DateTime<Utc>>>(rows, |row| row.finished_at))
        .bind(column::<i32>(rows, |row| row.version))
        .bind(column::<i64>(rows, |row| row.position))
        .bind(column::<bool>(rows, |row| row.dead))
        .bind(column::<Option<DateTime<Utc>>>(rows, |row| row.discarded_at))
        .bind(column::<Option<DateTime<Utc>>>(rows, |row| row.next_attempt_at))
        .bind(column::<Option<DateTime<Utc>>>(rows, |row| row.deadline_at))
        .bind(column::<Option<String>>(rows, |row| row.cost_ceiling.map(|cost| cost.to_string())))
        .bind(column::<Option<String>>(rows, |row| row.cost_unknown.map(|cost| cost.to_string())))
        .bind(column::<bool>(rows, |row| row.is_redrive))
        .execute(connection)
        .await?;
    Ok(())
}

const STATEMENT: &str = "
    insert into bare
        (id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, result, input_tokens, output_tokens,
         cached_input_tokens, reasoning_tokens, cost, price_table, duration_ms, response_id, finish_reason, attempts,
         error_code, error_detail, retry_of, cancel_requested, created_at, started_at, finished_at, version, position, dead,
         discarded_at, next_attempt_at, deadline_at, cost_ceiling, cost_unknown, is_redrive)
    select x.id, x.prompt_id, x.prompt_version, x.user_id, x.variables::json, x.llm_provider, x.model, x.status, x.result,
           x.input_tokens, x.output_tokens, x.cached_input_tokens, x.reasoning_tokens, x.cost::numeric, x.price_table,
           x.duration_ms, x.response_id, x.finish_reason, x.attempts, x.error_code, x.error_detail, x.retry_of,
           x.cancel_requested, x.created_at, x.started_at, x.finished_at, x.version, x.position, x.dead,
           x.discarded_at, x.next_attempt_at, x.deadline_at, x.cost_ceiling::numeric, x.cost_unknown::numeric, x.is_redrive
    from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[],
                $16::bigint[], $17::text[], $18::text[], $19::integer[], $20::text[], $21::text[], $22::uuid[],
                $23::boolean[], $24::timestamptz[], $25::timestamptz[], $26::timestamptz[], $27::integer[], $28::bigint[],
                $29::boolean[], $30::timestamptz[], $31::timestamptz[], $32::timestamptz[], $33::text[], $34::text[],
                $35::boolean[])
         as x (id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, result, input_tokens,
               output_tokens, cached_input_tokens, reasoning_tokens, cost, price_table, duration_ms, response_id,
               finish_reason, attempts, error_code, error_detail, retry_of, cancel_requested, created_at, started_at,
               finished_at, version, position, dead, discarded_at, next_attempt_at, deadline_at, cost_ceiling,
               cost_unknown, is_redrive)
    on conflict (id) do update
        set prompt_id = excluded.prompt_id, prompt_version = excluded.prompt_version, user_id = excluded.user_id,
            variables = excluded.variables, llm_provider = excluded.llm_provider, model = excluded.model,
            status = excluded.status, result = excluded.result, input_tokens = excluded.input_tokens,
            output_tokens = excluded.output_tokens, cached_input_tokens = excluded.cached_input_tokens,
            reasoning_tokens = excluded.reasoning_tokens, cost = excluded.cost, price_table = excluded.price_table,
            duration_ms = excluded.duration_ms, response_id = excluded.response_id,
            finish_reason = excluded.finish_reason, attempts = excluded.attempts, error_code = excluded.error_code,
            error_detail = excluded.error_detail, retry_of = excluded.retry_of,
            cancel_requested = excluded.cancel_requested, created_at = excluded.created_at,
            started_at = excluded.started_at, finished_at = excluded.finished_at, version = excluded.version,
            position = excluded.position, dead = excluded.dead, discarded_at = excluded.discarded_at,
            next_attempt_at = excluded.next_attempt_at, deadline_at = excluded.deadline_at,
            cost_ceiling = excluded.cost_ceiling, cost_unknown = excluded.cost_unknown, is_redrive = excluded.is_redrive";
