//! Parked things once more: after a fix their events can be applied.

use std::{convert::Infallible, sync::Arc, time::Duration};

use events::{Recorded, Store};
use service::telemetry::name;
use sqlx::{Connection as _, PgPool};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::attempt;
use crate::{
    memory,
    projection::{Error, Projection},
};

/// How often parked things are counted.
const COUNT: Duration = Duration::from_secs(5);
/// How often they are tried again, in counts.
const TRY: u32 = 12;
/// The most things that are tried in one transaction, in which the projection waits.
const AT_ONCE: i64 = 50;

/// Counts the parked things of all these projections, for the metric, and tries them again from time to time, until `soft`.
pub async fn run(
    projections: &'static [&'static Projection],
    pool: PgPool,
    store: Store,
    soft: CancellationToken,
) -> Result<(), Infallible> {
    let mut every = interval(COUNT);
    let mut count: u32 = 0;
    loop {
        tokio::select! {
            () = soft.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        let rows = sqlx::query!("select name, parked from checkpoint").fetch_all(&pool).await;
        // Where the database is away, others tell.
        for row in rows.unwrap_or_default() {
            let Some(projection) = projections.iter().find(|one| one.name == row.name) else { continue };
            metrics::gauge!(name::PROJECTION_PARKED, "projection" => projection.name).set(f64::from(row.parked));
            if row.parked > 0 && count.is_multiple_of(TRY) {
                match replay(projection, &pool, &store).await {
                    Ok(0) => {}
                    Ok(done) => tracing::info!(projection = projection.name, done, "parked things are applied"),
                    Err(error) => {
                        tracing::warn!(projection = projection.name, %error, "parked things could not be tried again");
                    }
                }
            }
        }
        count = count.wrapping_add(1);
    }
}

/// Tries all parked things of the live rows of `P` once; how many are parked no more.
pub async fn replay(projection: &'static Projection, pool: &PgPool, store: &Store) -> Result<usize, Error> {
    let (mut done, mut after) = (0, 0);
    loop {
        let mut connection = pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let live = sqlx::query!(
            "select position, generation from checkpoint where name = $1 and version = $2 for update",
            projection.name,
            projection.version
        );
        // The rows of another version are for its code to mend.
        let Some(live) = live.fetch_optional(&mut *tx).await? else { return Ok(done) };
        let parked = sqlx::query!(
            "select stream, id, version, position from ops.parked
             where projection = $1 and generation = $2 and position > $3 order by position limit $4",
            projection.name,
            live.generation,
            after,
            AT_ONCE
        );
        let parked = parked.fetch_all(&mut *tx).await?;
        let Some(last) = parked.last() else { return Ok(done) };
        after = last.position;
        let mut freed = 0;
        for thing in parked {
            let history = store.stream(&thing.stream, thing.id).await?;
            let waits = |event: &Recorded| event.version >= thing.version && event.position <= live.position;
            let events: Vec<_> = history.into_iter().filter(waits).map(Arc::new).collect();
            match attempt(projection, &mut tx, &events).await? {
                None => {
                    freed += 1;
                    sqlx::query!(
                        "delete from ops.parked where projection = $1 and generation = $2 and stream = $3 and id = $4",
                        projection.name,
                        live.generation,
                        thing.stream,
                        thing.id
                    )
                    .execute(&mut *tx)
                    .await?;
                }
                Some(error) => {
                    sqlx::query!(
                        "update ops.parked set tries = tries + 1, error = $5
                         where projection = $1 and generation = $2 and stream = $3 and id = $4",
                        projection.name,
                        live.generation,
                        thing.stream,
                        thing.id,
                        error.to_string()
                    )
                    .execute(&mut *tx)
                    .await?;
                }
            }
        }
        sqlx::query!("update checkpoint set parked = parked - $2 where name = $1", projection.name, freed)
            .execute(&mut *tx)
            .await?;
        memory::disturb(projection, &mut tx).await?;
        tx.commit().await?;
        done += usize::try_from(freed).unwrap_or(0);
    }
}
