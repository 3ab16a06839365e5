//! An execution, as `COPY` writes it.

use events::execution::row::Execution;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{bulk::Line, projection::Error, row::Row};

impl Row for Execution {
    const TABLE: &'static str = "execution";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "prompt_id",
        "prompt_version",
        "user_id",
        "variables",
        "llm_provider",
        "model",
        "status",
        "result",
        "input_tokens",
        "output_tokens",
        "cached_input_tokens",
        "reasoning_tokens",
        "cost",
        "price_table",
        "duration_ms",
        "response_id",
        "finish_reason",
        "attempts",
        "error_code",
        "error_detail",
        "retry_of",
        "cancel_requested",
        "created_at",
        "started_at",
        "finished_at",
        "version",
        "position",
        "dead",
        "discarded_at",
        "next_attempt_at",
        "deadline_at",
        "cost_ceiling",
        "cost_unknown",
        "is_redrive",
        "reasoning",
        "tool_calls",
    ];

    fn write(&self, line: &mut Line<'_>) {
        line.uuid(self.id)
            .uuid(self.prompt_id)
            .int(self.prompt_version)
            .uuid(self.user_id)
            .text(&self.variables)
            .text(&self.llm_provider)
            .text(&self.model)
            .text(&self.status)
            .maybe_text(self.result.as_deref())
            .maybe_long(self.input_tokens)
            .maybe_long(self.output_tokens)
            .maybe_long(self.cached_input_tokens)
            .maybe_long(self.reasoning_tokens)
            .maybe_numeric(self.cost)
            .maybe_text(self.price_table.as_deref())
            .maybe_long(self.duration_ms)
            .maybe_text(self.response_id.as_deref())
            .maybe_text(self.finish_reason.as_deref())
            .int(self.attempts)
            .maybe_text(self.error_code.as_deref())
            .maybe_text(self.error_detail.as_deref())
            .maybe_uuid(self.retry_of)
            .bool(self.cancel_requested)
            .time(self.created_at)
            .maybe_time(self.started_at)
            .maybe_time(self.finished_at)
            .int(self.version)
            .long(self.position)
            .bool(self.dead)
            .maybe_time(self.discarded_at)
            .maybe_time(self.next_attempt_at)
            .maybe_time(self.deadline_at)
            .maybe_numeric(self.cost_ceiling)
            .maybe_numeric(self.cost_unknown)
            .bool(self.is_redrive)
            .maybe_text(self.reasoning.as_deref())
            .maybe_text(self.tool_calls.as_deref());
    }

    async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Self>, Error> {
        super::load(tx, ids).await
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        super::store(tx, rows, None).await.map(drop)
    }
}
