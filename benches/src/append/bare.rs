//! What PostgreSQL can take in at all: rows of the same weight into the log's own table, 500 a statement, with no checks,
//! no decisions and nobody who waits for an answer.

use std::time::Instant;

use anyhow::Context as _;
use cqrs_es::Aggregate as _;
use cqrs_es::event_sink::EventSink;
use events::{clock, store::New};
use service::db::Kind;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::note::{self, Note};
use super::workload::{Done, Load, meta, verify};
use crate::harness::Server;

/// Rows a statement.
const ROWS: usize = 500;

/// One round in a database of its own.
pub async fn measure(server: &Server) -> anyhow::Result<Done> {
    let Load { warm_up, span, .. } = Load::default();
    let database = server.database().await?;
    let mut connection = PgConnection::connect(&database.url).await?;
    let [written, edited] = both().await?;
    let meta = serde_json::to_string(&meta())?;
    let from = Instant::now() + warm_up;
    let until = from + span;
    let (mut inserted, mut counted) = (0, 0_u32);
    loop {
        insert(&mut connection, inserted, &[&written, &edited], &meta).await?;
        inserted += ROWS;
        let now = Instant::now();
        if now >= until {
            break;
        }
        counted += if now >= from { 500 } else { 0 };
    }
    verify(&database.pool(Kind::Health)?, inserted).await?;
    connection.close().await?;
    server.drop(database).await?;
    Ok(Done { acknowledged: inserted, rate: f64::from(counted) / span.as_secs_f64() })
}

/// The two events of a note.
async fn both() -> anyhow::Result<[New; 2]> {
    let (mut note, sink) = (Note::default(), EventSink::default());
    note.handle(note::write(clock::id()), &(), &sink).await?;
    note.handle(note::edit(), &(), &sink).await?;
    let events = sink.collect().await.into_iter().map(|event| New::of(&event, clock::id()));
    let events: Vec<New> = events.collect::<Result<_, _>>()?;
    events.try_into().map_err(|_| anyhow::anyhow!("a note has not two events"))
}

/// The next rows: things with two events each.
async fn insert(connection: &mut PgConnection, before: usize, kinds: &[&New; 2], meta: &str) -> anyhow::Result<()> {
    let scope = clock::id();
    let mut thing = Uuid::nil();
    let mut rows = Columns::default();
    for row in 0..ROWS {
        let first = row % 2 == 0;
        if first {
            thing = clock::id();
        }
        let event = kinds[row % 2];
        rows.position.push(i64::try_from(before + row + 1)?);
        rows.event_id.push(clock::id());
        rows.id.push(thing);
        rows.version.push(if first { 1 } else { 2 });
        rows.kind.push(event.kind);
        rows.data.push(&event.data);
        rows.meta.push(meta);
        rows.hash.push(&[0x5a; 32]);
    }
    sqlx::query(
        "insert into event
             (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
         select r.position, 1, r.event_id, $9, r.id, r.version, r.kind, 1, $10, r.data::json, r.meta::json, $11, r.hash
         from unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::text[], $8::bytea[])
              as r (position, event_id, id, version, kind, data, meta, hash)",
    )
    .bind(rows.position)
    .bind(rows.event_id)
    .bind(rows.id)
    .bind(rows.version)
    .bind(rows.kind)
    .bind(rows.data)
    .bind(rows.meta)
    .bind(rows.hash)
    .bind(Note::TYPE)
    .bind(scope)
    .bind(clock::now())
    .execute(connection)
    .await
    .context("inserting rows")?;
    Ok(())
}

#[derive(Default)]
struct Columns<'a> {
    position: Vec<i64>,
    event_id: Vec<Uuid>,
    id: Vec<Uuid>,
    version: Vec<i32>,
    kind: Vec<&'static str>,
    data: Vec<&'a str>,
    meta: Vec<&'a str>,
    hash: Vec<&'static [u8]>,
}
