//! What an event costs at the end of a short log, and of a long one.

use std::time::Instant;

use events::execution::Execution;
use service::db::{self, Kind};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Growth, each, place::Place, short};
use crate::{
    append::{ours::Ours, workload::Load},
    harness::{median, sized},
    history::History,
};

/// How many events are relayed, and projected, at each size.
const SOME: usize = sized(20_000, 1000);
/// How many executions are loaded.
const LOADS: usize = sized(2000, 100);
const CALLERS: usize = 256;
const ROUNDS: usize = 3;

pub(super) async fn measure(growth: &mut Growth, sizes: [usize; 3]) -> anyhow::Result<()> {
    let place = Place::start().await?;
    let commands = db::pool(&place.urls.database, Kind::Commands)?;
    let mut history = History::new();
    for size in sizes {
        let at = short(size);
        let there: i64 =
            sqlx::query_scalar("select coalesce(max(position), 0) from event").fetch_one(&place.pool).await?;
        let begin = Instant::now();
        let missing = size.saturating_sub(usize::try_from(there)?);
        place.fill(&mut history, missing).await?;
        eprintln!("a log of {at} events, made in {:.1} s", begin.elapsed().as_secs_f64());
        // What is measured is the end of the log alone.
        place.project(projectors::ALL, missing).await?;

        let mut costs = Vec::new();
        for _ in 0..ROUNDS {
            place.fill(&mut history, SOME).await?;
            costs.push(place.project(projectors::ALL, SOME).await?);
        }
        growth.add("catch-up, at the end of", &at, "µs/event", median(&mut costs), SOME * ROUNDS)?;

        let mut costs = Vec::new();
        for _ in 0..ROUNDS {
            costs.push(place.relay(SOME).await?);
        }
        growth.add("relay, at the end of", &at, "µs/event", median(&mut costs), SOME * ROUNDS)?;

        growth.add("load of an execution, out of", &at, "µs", load(&place, &commands).await?, LOADS)?;

        let mut costs = Vec::new();
        let mut done = 0;
        for _ in 0..ROUNDS {
            let outcome = Load { callers: CALLERS, ..Load::default() }.run(&Ours::open(&commands)).await?;
            costs.push(1e6 / outcome.rate);
            done += outcome.acknowledged;
        }
        growth.add("append, at the end of", &at, "µs/command", median(&mut costs), done)?;
    }
    commands.close().await;
    place.stop().await
}

/// Microseconds to load one of the executions, anywhere in the log, one after another.
async fn load(place: &Place, pool: &PgPool) -> anyhow::Result<f64> {
    let store = place.store().through(pool.clone());
    let head = store.head().await?;
    // Positions that look like chance, and whose executions they are.
    let count = i64::try_from(LOADS)?;
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select id from event where stream = 'execution'
         and position in (select 200 + (n * 7919 * 7919) % ($1 - 200) from generate_series(1, $2::bigint) as n)",
    )
    .bind(head)
    .bind(count)
    .fetch_all(pool)
    .await?;
    let begin = Instant::now();
    for id in &ids {
        store.load::<Execution>(*id).await?;
    }
    Ok(each(begin, ids.len()))
}
