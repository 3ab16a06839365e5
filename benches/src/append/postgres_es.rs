//! The event store of the ecosystem: cqrs-es' framework on its PostgreSQL repository, with the same aggregate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::postgres_es::{PostgresCqrs, postgres_cqrs};
use anyhow::Context as _;
use sqlx_of_postgres_es::Executor as _;
use sqlx_of_postgres_es::postgres::PgPoolOptions;
use uuid::Uuid;

use super::note::{Command, Note};
use super::workload::{Done, Load, Log, meta};
use crate::harness::{POSTGRES_ES, Server};

#[derive(Clone)]
struct PostgresEs(Arc<PostgresCqrs<Note>>);

impl Log for PostgresEs {
    /// It loads every time, a new thing too: it has no other way.
    async fn execute(&self, id: Uuid, command: Command, _fresh: bool) -> anyhow::Result<()> {
        let meta = meta();
        let metadata = HashMap::from([
            ("actor".to_owned(), meta.actor.unwrap_or_default().to_string()),
            ("correlation_id".to_owned(), meta.correlation_id.to_string()),
            ("causation_id".to_owned(), meta.causation_id.unwrap_or_default().to_string()),
            ("traceparent".to_owned(), meta.traceparent.unwrap_or_default()),
        ]);
        Ok(self.0.execute_with_metadata(&id.to_string(), command, metadata).await?)
    }
}

/// One round in a database of its own.
pub async fn measure(server: &Server, load: &Load, connections: u32) -> anyhow::Result<Done> {
    let database = server.database().await?;
    let pool = PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(30))
        .test_before_acquire(false)
        .connect(&database.url)
        .await?;
    pool.execute(POSTGRES_ES).await.context("making its table")?;
    let done = load.run(&PostgresEs(Arc::new(postgres_cqrs(pool.clone(), Vec::new(), ())))).await?;
    let (events,): (i64,) =
        sqlx_of_postgres_es::query_as("select count(*) from events").fetch_one(&pool).await.context("counting")?;
    let acknowledged = done.acknowledged;
    anyhow::ensure!(usize::try_from(events)? == acknowledged, "{acknowledged} were acknowledged, {events} are there");
    pool.close().await;
    server.drop(database).await?;
    Ok(done)
}
