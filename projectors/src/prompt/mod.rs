//! Prompts as they are now, and every version that each ever had.

mod row;
mod version;

use sqlx::PgConnection;
use uuid::Uuid;

pub use events::prompt::row::Prompt;
pub use version::Version;

use crate::{
    child::ChildTable,
    fold::column,
    projection::{Error, MOST_PARKED, Projection},
    row::RowTable,
};

/// Writes `prompt` and `prompt_version`.
pub static PROMPTS: Projection = Projection {
    name: "prompt",
    version: 1,
    streams: &["prompt"],
    kinds: &[events::prompt::Event::KINDS],
    tables: &[&RowTable::<Prompt>::NEW, &ChildTable::<Version>::NEW],
    most_parked: MOST_PARKED,
    kept: None,
};

/// The rows of these prompts.
async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Prompt>, Error> {
    let rows = sqlx::query_as!(
        Prompt,
        r#"select id, user_id, sub_specialty_id, title, content, variables::text as "variables!", llm_provider, model,
                  parameters::text as "parameters!", is_public, created_at, updated_at, version, position,
                  policy::text, archived
           from prompt where id = any($1)"#,
        ids
    );
    Ok(rows.fetch_all(tx).await?)
}

async fn store(tx: &mut PgConnection, rows: &[Prompt]) -> Result<(), Error> {
    sqlx::query!(
        "insert into prompt
             (id, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters, is_public,
              created_at, updated_at, version, position, policy, archived)
         select x.id, x.user_id, x.sub_specialty_id, x.title, x.content, x.variables::json, x.llm_provider, x.model,
                x.parameters::json, x.is_public, x.created_at, x.updated_at, x.version, x.position,
                x.policy::json, x.archived
         from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::boolean[], $11::timestamptz[], $12::timestamptz[], $13::integer[], $14::bigint[],
                     $15::text[], $16::boolean[])
              as x (id, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters,
                    is_public, created_at, updated_at, version, position, policy, archived)
         on conflict (id) do update
             set user_id = excluded.user_id, sub_specialty_id = excluded.sub_specialty_id, title = excluded.title,
                 content = excluded.content, variables = excluded.variables, llm_provider = excluded.llm_provider,
                 model = excluded.model, parameters = excluded.parameters, is_public = excluded.is_public,
                 created_at = excluded.created_at, updated_at = excluded.updated_at, version = excluded.version,
                 position = excluded.position, policy = excluded.policy, archived = excluded.archived
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
        &column(rows, |row| row.archived),
    )
    .execute(tx)
    .await?;
    Ok(())
}
