//! One transaction a command, as it is usually written, and as well as that can be: one statement that commits by itself,
//! positions from a sequence, the version guarded by its unique constraint, a pool that does nothing besides. The table
//! is the log's own, with all its indexes and triggers, and so are its columns, hash included.

use std::time::Duration;

use cqrs_es::Aggregate as _;
use cqrs_es::event_sink::EventSink;
use events::store::{New, Options, hash};
use events::{Store, Stream as _, clock};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::note::{Command, Note};
use super::workload::{Done, Load, Log, meta, verify};
use crate::harness::Server;

#[derive(Clone)]
struct Naive {
    pool: PgPool,
    /// For reading alone: a statement a thing, and our decoding.
    reads: Store,
}

impl Log for Naive {
    async fn execute(&self, id: Uuid, command: Command, fresh: bool) -> anyhow::Result<()> {
        let (mut note, mut version) = (Note::default(), 0);
        if !fresh {
            for event in self.reads.stream(Note::TYPE, id).await? {
                note.apply(event.decode()?);
                version = event.version;
            }
        }
        let sink = EventSink::default();
        note.handle(command, &(), &sink).await?;
        let scope = note.scope(id);
        let meta = serde_json::to_string(&meta())?;
        for event in sink.collect().await {
            version += 1;
            let New { event_id, kind, schema, data } = New::of(&event, clock::id())?;
            let at = clock::now();
            let hash = hash(event_id, Note::TYPE, id, version, kind, schema, scope, at, &data, &meta);
            sqlx::query(
                "insert into event
                     (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
                 values (nextval('position'), 1, $1, $2, $3, $4, $5, $6, $7, $8::json, $9::json, $10, $11)",
            )
            .bind(event_id)
            .bind(Note::TYPE)
            .bind(id)
            .bind(version)
            .bind(kind)
            .bind(schema)
            .bind(scope)
            .bind(data)
            .bind(&meta)
            .bind(at)
            .bind(hash.as_slice())
            .execute(&self.pool)
            .await?;
        }
        Ok(())
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
    sqlx::query("create sequence position").execute(&pool).await?;
    // Its writer is never given anything, and connects only then.
    let (reads, _writer) = Store::open(pool.clone(), (*pool.connect_options()).clone(), &Options::default());
    let done = load.run(&Naive { pool: pool.clone(), reads }).await?;
    verify(&pool, done.acknowledged).await?;
    pool.close().await;
    server.drop(database).await?;
    Ok(done)
}
