//! A generation that is complete follows the live rows: the same batches, by the projection's usual way.

use std::{collections::HashSet, sync::Arc};

use events::Recorded;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::{Error, Live, generation, throttle::Throttle, work::Work};
use crate::{
    parking::Care,
    projection::{self, Projection},
};

/// The most events of one transaction.
const BATCH: i64 = 2000;

/// Where a generation stands, and the things that it has applied events of since it was compared.
#[derive(Debug, Clone, Default)]
pub(super) struct Followed {
    pub(super) position: i64,
    pub(super) things: HashSet<Uuid>,
}

/// Follows up to the position where the live rows are now, in as many transactions as it takes.
pub(super) async fn up_to_live(projection: &'static Projection, work: &Work, at: &mut Followed) -> Result<(), Error> {
    let mut throttle = Throttle::new(work.share, 1);
    loop {
        let live = Live::read(projection, work).await?;
        if at.position >= live.position {
            return Ok(());
        }
        up_to(projection, work, at, live.position, &mut throttle).await?;
    }
}

/// Follows up to `until`.
pub(super) async fn up_to(
    projection: &'static Projection,
    work: &Work,
    at: &mut Followed,
    until: i64,
    throttle: &mut Throttle,
) -> Result<(), Error> {
    let mut care = Care::Swift;
    while at.position < until {
        work.check()?;
        throttle.begin();
        let mut connection = work.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        match step(projection, work, &mut tx, at, until, care).await {
            Err(Error::Projection(error)) if error.is_of_an_event() && care == Care::Swift => {
                tx.rollback().await?;
                care = Care::Careful;
                continue;
            }
            applied => applied?,
        }
        care = Care::Swift;
        events::failpoint::reach("rebuild.follow");
        tx.commit().await?;
        throttle.rest().await;
    }
    Ok(())
}

/// One batch, at most up to `until`, in this transaction.
pub(super) async fn step(
    projection: &'static Projection,
    work: &Work,
    tx: &mut PgConnection,
    at: &mut Followed,
    until: i64,
    care: Care,
) -> Result<(), Error> {
    let batch = work.store.after(at.position, usize::try_from(BATCH.min(until - at.position)).unwrap_or(0)).await?;
    let Some(last) = batch.last() else {
        // The live rows are of events that this log does not have.
        return Err(projection::Error::NotContiguous { expected: at.position + 1, found: 0 }.into());
    };
    let (position, epoch, event_id) = (last.position, last.epoch, last.event_id);
    let own: Vec<Arc<Recorded>> = batch.into_iter().filter(|event| projection.is_own(event)).map(Arc::new).collect();
    generation::enter(tx, &work.generation, work.holder).await?;
    if !own.is_empty() {
        generation::apply(projection, tx, &work.generation, &own, care).await?;
    }
    let moved = sqlx::query!(
        "update ops.generation set position = $4, epoch = $5, event_id = $6, updated_at = now()
         where projection = $1 and number = $2 and position = $3 and holder = $7",
        work.generation.projection,
        work.generation.number,
        at.position,
        position,
        epoch,
        event_id,
        work.holder
    )
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() == 0 {
        return Err(Error::Lost { name: work.generation.projection.clone() });
    }
    // What comes after this in the transaction is about the live rows again.
    tx.execute("set local search_path = read, public").await?;
    at.position = position;
    at.things.extend(own.iter().map(|event| event.id));
    Ok(())
}

/// Marks what was loaded as complete: from here on the generation stands at its target.
pub(super) async fn begin(work: &mut Work) -> Result<(), Error> {
    let target = work.generation.target;
    let identity = work.store.identity(target).await?;
    let schema = work.generation.schema();
    let mut connection = work.pool.acquire().await?;
    let mut tx = connection.begin().await?;
    generation::enter(&mut tx, &work.generation, work.holder).await?;
    sqlx::query!(
        "update ops.generation set position = $3, epoch = coalesce($4, epoch), event_id = $5, done = $3
         where projection = $1 and number = $2",
        work.generation.projection,
        work.generation.number,
        target,
        identity.map(|identity| identity.epoch),
        identity.map(|identity| identity.event_id)
    )
    .execute(&mut *tx)
    .await?;
    let sql = format!("drop table if exists {schema}.load_part, {schema}.load_late");
    tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
    tx.commit().await?;
    work.generation.position = target;
    Ok(())
}
