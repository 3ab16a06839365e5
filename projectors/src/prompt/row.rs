//! A prompt, as `COPY` writes them.

use events::prompt::row::Prompt;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{bulk::Line, projection::Error, row::Row};

impl Row for Prompt {
    const TABLE: &'static str = "prompt";
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
        "updated_at",
        "version",
        "position",
        "policy",
        "archived",
    ];

    fn write(&self, line: &mut Line<'_>) {
        begin(self, line)
            .time(self.created_at)
            .time(self.updated_at)
            .int(self.version)
            .long(self.position)
            .maybe_text(self.policy.as_deref())
            .bool(self.archived);
    }

    async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Self>, Error> {
        super::load(tx, ids).await
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        super::store(tx, rows).await
    }
}

/// Writes what a version has as the prompt has it.
pub(super) fn begin<'a, 'b>(prompt: &Prompt, line: &'a mut Line<'b>) -> &'a mut Line<'b> {
    line.uuid(prompt.id)
        .uuid(prompt.user_id)
        .uuid(prompt.sub_specialty_id)
        .text(&prompt.title)
        .text(&prompt.content)
        .text(&prompt.variables)
        .text(&prompt.llm_provider)
        .text(&prompt.model)
        .text(&prompt.parameters)
        .bool(prompt.is_public)
}
