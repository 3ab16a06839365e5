//! Puts a history into the log's table.

use events::{Recorded, store::hash};
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::History;

/// How many events one statement brings.
const CHUNK: usize = 5000;
/// How many statements run beside each other.
const LANES: usize = 2;

/// Takes the next `count` events of `history` and puts them into the log of the database of `pool`, where its last event
/// must be the one before them. Then the table is as it would be after a while: vacuumed, and written to the disk.
pub async fn fill(pool: &PgPool, history: &mut History, count: usize) -> anyhow::Result<()> {
    let mut lanes = JoinSet::new();
    let mut left = count;
    while left > 0 {
        let chunk = history.take(left.min(CHUNK))?;
        left -= chunk.len();
        if lanes.len() >= LANES
            && let Some(done) = lanes.join_next().await
        {
            done??;
        }
        lanes.spawn(insert(pool.clone(), chunk));
    }
    while let Some(done) = lanes.join_next().await {
        done??;
    }
    for statement in ["vacuum (analyze) event", "checkpoint"] {
        let mut connection = pool.acquire().await?;
        sqlx::query("set statement_timeout = 0").execute(&mut *connection).await?;
        sqlx::query(statement).execute(&mut *connection).await?;
        connection.close().await?;
    }
    Ok(())
}

async fn insert(pool: PgPool, events: Vec<Recorded>) -> anyhow::Result<()> {
    let meta: Vec<String> = events.iter().map(|event| serde_json::to_string(&event.meta)).collect::<Result<_, _>>()?;
    let hashes: Vec<[u8; 32]> = events
        .iter()
        .zip(&meta)
        .map(|(e, meta)| {
            hash(e.event_id, &e.stream, e.id, e.version, &e.kind, e.schema, e.scope, e.recorded_at, &e.data, meta)
        })
        .collect();
    sqlx::query(
        "insert into event (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
         select position, epoch, event_id, stream, id, version, kind, schema, scope, data::json, meta::json, recorded_at, hash
         from unnest($1::bigint[], $2::integer[], $3::uuid[], $4::text[], $5::uuid[], $6::integer[], $7::text[],
                     $8::smallint[], $9::uuid[], $10::text[], $11::text[], $12::timestamptz[], $13::bytea[])
              as x (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)",
    )
    .bind(events.iter().map(|e| e.position).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.epoch).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.event_id).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.stream.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.id).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.version).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.schema).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.scope).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.data.as_str()).collect::<Vec<_>>())
    .bind(&meta)
    .bind(events.iter().map(|e| e.recorded_at).collect::<Vec<_>>())
    .bind(hashes.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
    .execute(&pool)
    .await?;
    Ok(())
}
