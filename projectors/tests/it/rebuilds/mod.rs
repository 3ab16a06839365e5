//! Projections made anew: the same rows, whatever happens meanwhile, and nothing exchanged that differs unseen.

mod asked;
mod crash;
mod rows;
mod switch;

use std::sync::Arc;

use events::{Recorded, Store, ops, store::Connections};
use projectors::{
    Projection,
    checkpoint::{self, Outcome as Applied},
    execution::EXECUTIONS,
    rebuild::{self, Options, Outcome, Progress, Report, Workshop},
};
use service::{
    db::{self, Kind},
    testkit::Database,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Some of everything.
pub fn script(from: u8) -> Vec<(u8, u8)> {
    (0..200_u8).map(|n| (n.wrapping_mul(7), n.wrapping_mul(31).wrapping_add(from))).collect()
}

/// As fast as it can.
pub fn fast() -> Options {
    Options { share: 64.0, ..Options::default() }
}

fn workshop(database: &Database, store: &Store) -> Workshop {
    Workshop::new(store, db::beside(&database.pool, Kind::Rebuild))
}

/// Brings the live rows to the end of the log, as a projector does.
pub async fn project(projection: &'static Projection, pool: &PgPool, store: &Store) -> i64 {
    let mut at = checkpoint::open(projection, pool, store).await.unwrap();
    loop {
        let batch: Vec<Arc<Recorded>> =
            store.after(at.position, 100).await.unwrap().into_iter().map(Arc::new).collect();
        if batch.is_empty() {
            return at.position;
        }
        match checkpoint::apply(projection, &Connections::like(pool.clone()), at, &batch).await.unwrap() {
            Applied::Applied(to) => at = to,
            Applied::Superseded => at = checkpoint::open(projection, pool, store).await.unwrap(),
        }
    }
}

async fn run(
    projection: &'static Projection,
    workshop: &Workshop,
    options: &Options,
) -> Result<Outcome, rebuild::Error> {
    rebuild::run(projection, workshop, options, &Progress::default(), &CancellationToken::new()).await
}

/// The report of a rebuild that came to a decision.
async fn decided(projection: &'static Projection, workshop: &Workshop, options: &Options) -> Report {
    match run(projection, workshop, options).await.unwrap() {
        Outcome::Decided(report) => *report,
        waits @ Outcome::Waits { .. } => panic!("{waits:?}"),
    }
}

/// Columns, keys, checks and indexes of the live tables of `P`, with their names.
async fn shape(projection: &'static Projection, pool: &PgPool) -> Vec<String> {
    let tables: Vec<String> = projection.table_names().iter().map(|table| (*table).to_owned()).collect();
    sqlx::query_scalar(
        "select table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable
         from information_schema.columns where table_schema = 'read' and table_name = any ($1)
         union all
         select indexdef from pg_indexes where schemaname = 'read' and tablename = any ($1)
         union all
         select c.conname || ' ' || pg_get_constraintdef(c.oid) from pg_constraint c
         join pg_class t on t.oid = c.conrelid join pg_namespace n on n.oid = t.relnamespace
         where n.nspname = 'read' and t.relname = any ($1) and c.contype <> 'n'
         order by 1",
    )
    .bind(tables)
    .fetch_all(pool)
    .await
    .unwrap()
}

async fn execute(pool: &PgPool, sql: &'static str) {
    let changed = sqlx::query(sql).execute(pool).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
}

/// The events of the projection `name` that the log has in the stream `ops`.
async fn said(store: &Store, name: &str) -> Vec<ops::Event> {
    let events = store.stream("ops", ops::projection_id(name)).await.unwrap();
    events.iter().map(|event| event.decode().unwrap()).collect()
}

/// Executions as a newer version of the code has them.
static NEWER: Projection = Projection { version: EXECUTIONS.version + 1, kept: None, ..EXECUTIONS };
