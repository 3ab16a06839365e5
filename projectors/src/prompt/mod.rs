//! Prompts as they are now, and every version that each ever had.

mod row;

use std::sync::Arc;

use events::Recorded;
use sqlx::PgConnection;
use uuid::Uuid;

pub use events::prompt::row::Prompt;

use crate::{
    bulk::{Bulk, Copy, Last, Load, Rows, Taken},
    fold::{self, column},
    projection::{Error, Projection},
};

/// Writes `prompt` and `prompt_version`.
#[derive(Debug)]
pub struct Prompts;

impl Projection for Prompts {
    const NAME: &'static str = "prompt";
    const VERSION: i32 = 1;
    const STREAMS: &'static [&'static str] = &["prompt"];
    const KINDS: &'static [&'static [&'static str]] = &[events::prompt::Event::KINDS];
    const TABLES: &'static [&'static str] = &["prompt", "prompt_version"];
    type Bulk = Gathered;
    type Kept = ();

    async fn apply(tx: &mut PgConnection, batch: &[Arc<Recorded>]) -> Result<(), Error> {
        let there = load(tx, &fold::begun::<Prompt>(batch)).await?;
        store(tx, &fold::rows(there, batch)?).await?;
        let versions: Vec<Prompt> = fold::of::<Prompt>(batch).map(Prompt::version_of).collect::<Result<_, _>>()?;
        store_versions(tx, &versions).await
    }
}

/// Both tables, gathered.
#[derive(Debug, Default)]
pub struct Gathered {
    prompts: Rows<Prompt>,
    versions: Copy,
}

impl Bulk for Gathered {
    fn take(&mut self, event: &Recorded) -> Result<Taken, Error> {
        let taken = self.prompts.take(event)?;
        if taken == Taken::Gathered
            && let Some(prompt) = self.prompts.get(event.id)
        {
            row::write_version(prompt, &mut self.versions.row(row::VERSION_COLUMNS.len()));
        }
        Ok(taken)
    }

    /// Versions that are written already stay: they are as they will be made again.
    fn drop_thing(&mut self, id: Uuid) {
        self.prompts.drop_thing(id);
    }

    fn weight(&self) -> usize {
        self.prompts.weight() + self.versions.len()
    }

    fn hand_out(&mut self) -> Vec<Load> {
        let versions = Load { table: row::VERSION_TABLE, columns: row::VERSION_COLUMNS, rows: self.versions.take() };
        vec![self.prompts.load(), versions]
    }

    fn last(&mut self, table: &str, id: Uuid) -> Option<Last> {
        self.versions.take();
        if table != row::VERSION_TABLE {
            return self.prompts.last(table, id);
        }
        let prompt = self.prompts.get(id)?;
        let mut copy = Copy::default();
        row::write_version(prompt, &mut copy.row(row::VERSION_COLUMNS.len()));
        Some(Last { version: prompt.version, columns: row::VERSION_COLUMNS, row: copy })
    }
}

/// The rows of these prompts.
pub async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Prompt>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as!(
        Prompt,
        r#"select id, user_id, sub_specialty_id, title, content, variables::text as "variables!", llm_provider, model,
                  parameters::text as "parameters!", is_public, created_at, updated_at, version, position,
                  policy::text
           from prompt where id = any($1)"#,
        ids
    );
    Ok(rows.fetch_all(tx).await?)
}

async fn store(tx: &mut PgConnection, rows: &[Prompt]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into prompt
             (id, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters, is_public,
              created_at, updated_at, version, position, policy)
         select x.id, x.user_id, x.sub_specialty_id, x.title, x.content, x.variables::json, x.llm_provider, x.model,
                x.parameters::json, x.is_public, x.created_at, x.updated_at, x.version, x.position,
                x.policy::json
         from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::boolean[], $11::timestamptz[], $12::timestamptz[], $13::integer[], $14::bigint[],
                     $15::text[])
              as x (id, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters,
                    is_public, created_at, updated_at, version, position, policy)
         on conflict (id) do update
             set user_id = excluded.user_id, sub_specialty_id = excluded.sub_specialty_id, title = excluded.title,
                 content = excluded.content, variables = excluded.variables, llm_provider = excluded.llm_provider,
                 model = excluded.model, parameters = excluded.parameters, is_public = excluded.is_public,
                 created_at = excluded.created_at, updated_at = excluded.updated_at, version = excluded.version,
                 position = excluded.position, policy = excluded.policy
             where prompt.version < excluded.version",
        &column(rows, |row| row.id),
        &column(rows, |row| row.user_id),
        &column(rows, |row| row.sub_specialty_id),
        &column(rows, |row| row.title.as_str()) as &[&str],
        &column(rows, |row| row.content.as_str()) as &[&str],
        &column(rows, |row| row.variables.as_str()) as &[&str],
        &column(rows, |row| row.llm_provider.as_str()) as &[&str],
        &column(rows, |row| row.model.as_str()) as &[&str],
        &column(rows, |row| row.parameters.as_str()) as &[&str],
        &column(rows, |row| row.is_public),
        &column(rows, |row| row.created_at),
        &column(rows, |row| row.updated_at),
        &column(rows, |row| row.version),
        &column(rows, |row| row.position),
        &column(rows, |row| row.policy.as_deref()) as &[Option<&str>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A version never changes: one that is there stays.
async fn store_versions(tx: &mut PgConnection, rows: &[Prompt]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into prompt_version
             (id, version, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters,
              is_public, created_at, position, policy)
         select x.id, x.version, x.user_id, x.sub_specialty_id, x.title, x.content, x.variables::json, x.llm_provider,
                x.model, x.parameters::json, x.is_public, x.created_at, x.position, x.policy::json
         from unnest($1::uuid[], $2::integer[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::boolean[], $12::timestamptz[], $13::bigint[], $14::text[])
              as x (id, version, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters,
                    is_public, created_at, position, policy)
         on conflict (id, version) do nothing",
        &column(rows, |row| row.id),
        &column(rows, |row| row.version),
        &column(rows, |row| row.user_id),
        &column(rows, |row| row.sub_specialty_id),
        &column(rows, |row| row.title.as_str()) as &[&str],
        &column(rows, |row| row.content.as_str()) as &[&str],
        &column(rows, |row| row.variables.as_str()) as &[&str],
        &column(rows, |row| row.llm_provider.as_str()) as &[&str],
        &column(rows, |row| row.model.as_str()) as &[&str],
        &column(rows, |row| row.parameters.as_str()) as &[&str],
        &column(rows, |row| row.is_public),
        &column(rows, |row| row.created_at),
        &column(rows, |row| row.position),
        &column(rows, |row| row.policy.as_deref()) as &[Option<&str>],
    )
    .execute(tx)
    .await?;
    Ok(())
}
