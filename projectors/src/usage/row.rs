//! The rows of both tables, as they are read and written.

use events::{Recorded, fold};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{UsageDaily, UsageExecution};
use crate::{bulk::Line, fold::column, projection::Error, row::Row, summed::SummedRow};

impl Row for UsageExecution {
    const TABLE: &'static str = "usage_execution";
    const COLUMNS: &'static [&'static str] = &["id", "tenant_id", "llm_provider", "model", "version", "position"];

    fn write(&self, line: &mut Line<'_>) {
        line.uuid(self.id)
            .uuid(self.tenant_id)
            .text(&self.llm_provider)
            .text(&self.model)
            .int(self.version)
            .long(self.position);
    }

    async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Self>, Error> {
        let rows = sqlx::query_as!(
            Self,
            "select id, tenant_id, llm_provider, model, version, position from usage_execution where id = any($1)",
            ids
        );
        Ok(rows.fetch_all(tx).await?)
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        sqlx::query!(
            "insert into usage_execution (id, tenant_id, llm_provider, model, version, position)
             select x.id, x.tenant_id, x.llm_provider, x.model, x.version, x.position
             from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::integer[], $6::bigint[])
                  as x (id, tenant_id, llm_provider, model, version, position)
             on conflict (id) do update
                 set tenant_id = excluded.tenant_id, llm_provider = excluded.llm_provider, model = excluded.model,
                     version = excluded.version, position = excluded.position
                 where usage_execution.version < excluded.version",
            &column(rows, |row| row.id),
            &column(rows, |row| row.tenant_id),
            &column(rows, |row| row.llm_provider.as_str()) as &[&str],
            &column(rows, |row| row.model.as_str()) as &[&str],
            &column(rows, |row| row.version),
            &column(rows, |row| row.position),
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

impl SummedRow for UsageDaily {
    const TABLE: &'static str = "usage_daily";
    const STREAMS: &'static [&'static str] = &["execution"];
    type Base = UsageExecution;

    fn id(&self) -> Uuid {
        self.id
    }

    fn of(base: Option<&UsageExecution>, event: &Recorded) -> Result<Vec<Self>, fold::Error> {
        let base = base.ok_or_else(|| fold::out_of_place(event))?;
        Ok(Self::of(base, event)?.into_iter().collect())
    }

    fn plus(&self, other: &Self) -> Option<Self> {
        Self::plus(self, other)
    }

    async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Self>, Error> {
        let rows = sqlx::query!(
            r#"select id, day, tenant_id, llm_provider, model, executions, succeeded, failed, input_tokens, output_tokens,
                      cached_input_tokens, reasoning_tokens, cost::text as "cost!", position
               from usage_daily where id = any($1)"#,
            ids
        );
        let rows = rows.fetch_all(tx).await?.into_iter().map(|row| {
            // Numbers of any precision travel as text.
            let cost: Decimal = row.cost.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            Ok(Self {
                id: row.id,
                day: row.day,
                tenant_id: row.tenant_id,
                llm_provider: row.llm_provider,
                model: row.model,
                executions: row.executions,
                succeeded: row.succeeded,
                failed: row.failed,
                input_tokens: row.input_tokens,
                output_tokens: row.output_tokens,
                cached_input_tokens: row.cached_input_tokens,
                reasoning_tokens: row.reasoning_tokens,
                cost,
                position: row.position,
            })
        });
        rows.collect()
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        sqlx::query!(
            "insert into usage_daily
                 (id, day, tenant_id, llm_provider, model, executions, succeeded, failed, input_tokens, output_tokens,
                  cached_input_tokens, reasoning_tokens, cost, position)
             select x.id, x.day, x.tenant_id, x.llm_provider, x.model, x.executions, x.succeeded, x.failed,
                    x.input_tokens, x.output_tokens, x.cached_input_tokens, x.reasoning_tokens, x.cost::numeric,
                    x.position
             from unnest($1::uuid[], $2::date[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
                         $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[],
                         $14::bigint[])
                  as x (id, day, tenant_id, llm_provider, model, executions, succeeded, failed, input_tokens,
                        output_tokens, cached_input_tokens, reasoning_tokens, cost, position)
             on conflict (id) do update
                 set executions = excluded.executions, succeeded = excluded.succeeded, failed = excluded.failed,
                     input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
                     cached_input_tokens = excluded.cached_input_tokens,
                     reasoning_tokens = excluded.reasoning_tokens, cost = excluded.cost, position = excluded.position",
            &column(rows, |row| row.id),
            &column(rows, |row| row.day),
            &column(rows, |row| row.tenant_id),
            &column(rows, |row| row.llm_provider.as_str()) as &[&str],
            &column(rows, |row| row.model.as_str()) as &[&str],
            &column(rows, |row| row.executions),
            &column(rows, |row| row.succeeded),
            &column(rows, |row| row.failed),
            &column(rows, |row| row.input_tokens),
            &column(rows, |row| row.output_tokens),
            &column(rows, |row| row.cached_input_tokens),
            &column(rows, |row| row.reasoning_tokens),
            &column(rows, |row| row.cost.to_string()),
            &column(rows, |row| row.position),
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
