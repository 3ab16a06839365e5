//! Every version that a prompt ever had.

use events::{Recorded, fold, prompt::row::Prompt};
use sqlx::PgConnection;
use uuid::Uuid;

use super::row::begin;
use crate::{bulk::Line, child::ChildRow, fold::column, projection::Error};

/// A version: the prompt as one event has made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub Prompt);

impl ChildRow for Version {
    const STREAM: &'static str = "prompt";
    const TABLE: &'static str = "prompt_version";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "user_id",
        "sub_specialty_id",
        "title",
        "content",
        "variables",
        "llm_provider",
        "model",
        "parameters",
        "is_public",
        "created_at",
        "version",
        "position",
        "policy",
    ];
    type Key = i32;

    fn key(&self) -> (Uuid, i32) {
        (self.0.id, self.0.version)
    }

    fn position(&self) -> i64 {
        self.0.position
    }

    fn keys(event: &Recorded) -> Result<Vec<i32>, fold::Error> {
        Ok(if event.kind == "prompt_archived" { Vec::new() } else { vec![event.version] })
    }

    fn next(_: Option<Self>, _: i32, event: &Recorded) -> Result<Self, fold::Error> {
        Prompt::version_of(event)?.map(Self).ok_or_else(|| fold::out_of_place(event))
    }

    fn write(&self, line: &mut Line<'_>) {
        let Self(prompt) = self;
        begin(prompt, line)
            .time(prompt.created_at)
            .int(prompt.version)
            .long(prompt.position)
            .maybe_text(prompt.policy.as_deref());
    }

    /// None: a version is made by one event, and never changes.
    async fn load(_: &mut PgConnection, _: &[(Uuid, i32)]) -> Result<Vec<Self>, Error> {
        Ok(Vec::new())
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        store(tx, rows).await
    }
}

/// A version never changes: one that is there stays.
async fn store(tx: &mut PgConnection, rows: &[Version]) -> Result<(), Error> {
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
        &column(rows, |Version(row)| row.id),
        &column(rows, |Version(row)| row.version),
        &column(rows, |Version(row)| row.user_id),
        &column(rows, |Version(row)| row.sub_specialty_id),
        &column(rows, |Version(row)| row.title.as_str()) as &[&str],
        &column(rows, |Version(row)| row.content.as_str()) as &[&str],
        &column(rows, |Version(row)| row.variables.as_str()) as &[&str],
        &column(rows, |Version(row)| row.llm_provider.as_str()) as &[&str],
        &column(rows, |Version(row)| row.model.as_str()) as &[&str],
        &column(rows, |Version(row)| row.parameters.as_str()) as &[&str],
        &column(rows, |Version(row)| row.is_public),
        &column(rows, |Version(row)| row.created_at),
        &column(rows, |Version(row)| row.position),
        &column(rows, |Version(row)| row.policy.as_deref()) as &[Option<&str>],
    )
    .execute(tx)
    .await?;
    Ok(())
}
