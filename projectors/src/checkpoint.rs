//! How far a projection has come: one row, moved in the transaction of the rows that it vouches for.

use std::sync::Arc;

use events::{Recorded, Store, plant, store::Connections};
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    fold::column,
    parking::{self, Care},
    projection::{Error, Projection},
};

/// A place in the log, with the identity of the event that stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The position of the last event that was applied; 0 before the first.
    pub position: i64,
    /// That event; none before the first.
    pub event_id: Option<Uuid>,
}

/// Reads the checkpoint of `P`, making it where there is none, and refuses one that is of another log or of other code.
pub async fn open(projection: &'static Projection, pool: &PgPool, store: &Store) -> Result<Checkpoint, Error> {
    open_on(projection, &mut *pool.acquire().await?, store).await
}

/// The same on a connection.
pub(crate) async fn open_on(
    projection: &'static Projection,
    connection: &mut PgConnection,
    store: &Store,
) -> Result<Checkpoint, Error> {
    sqlx::query!(
        "insert into checkpoint (name, version, position, epoch)
         select $1, $2, 0, l.epoch from ledger l on conflict (name) do nothing",
        projection.name,
        projection.version
    )
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query!("select version, position, event_id from checkpoint where name = $1", projection.name)
        .fetch_one(connection)
        .await?;
    if row.version != projection.version {
        return Err(Error::OtherVersion { name: projection.name, found: row.version, expected: projection.version });
    }
    if row.position > 0 {
        let there = store.identity(row.position).await?.map(|identity| identity.event_id);
        if there.is_none() || there != row.event_id {
            return Err(Error::OtherLog { name: projection.name, position: row.position });
        }
    }
    Ok(Checkpoint { position: row.position, event_id: row.event_id })
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the rows, and this is where the checkpoint stands now.
    Applied(Checkpoint),
    /// Another projector of the name has moved the checkpoint, and nothing was done here.
    Superseded,
}

/// A place in the log to move a checkpoint to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The place.
    pub place: Checkpoint,
    /// The epoch of the event there.
    pub epoch: i32,
}

impl Target {
    /// The end of `batch`, if it has one.
    pub fn of(batch: &[Arc<Recorded>]) -> Option<Self> {
        let last = batch.last()?;
        let place = Checkpoint { position: last.position, event_id: Some(last.event_id) };
        Some(Self { place, epoch: last.epoch })
    }
}

/// Applies `batch`, which follows on `from` without a gap, and moves the checkpoint, in one transaction.
pub async fn apply(
    projection: &'static Projection,
    connections: &Connections,
    from: Checkpoint,
    batch: &[Arc<Recorded>],
) -> Result<Outcome, Error> {
    let Some(to) = follow(from, batch)? else { return Ok(Outcome::Applied(from)) };
    let own: Vec<_> = batch.iter().filter(|event| projection.is_own(event)).cloned().collect();
    apply_own(projection, connections, from, to, &own).await
}

/// Applies `own`, which is all that concerns the projection after `from` up to `to`, and moves the checkpoint, in one
/// transaction.
///
/// The checkpoint's row is moved first, and locked with that, so that of two projectors of one name one waits, then finds
/// that the other was there. A thing whose event cannot be applied is parked.
pub(crate) async fn apply_own(
    projection: &'static Projection,
    connections: &Connections,
    from: Checkpoint,
    to: Target,
    own: &[Arc<Recorded>],
) -> Result<Outcome, Error> {
    if own.is_empty() {
        let mut connection = connections.lend().await?;
        let moved = advance(projection, &mut connection, from, to).await?;
        connection.give_back();
        return Ok(moved.map_or(Outcome::Superseded, |_| Outcome::Applied(to.place)));
    }
    match attempt(projection, connections, from, to, own, Care::Swift).await {
        Err(error) if error.is_of_an_event() => {
            tracing::debug!(projection = projection.name, %error, "the batch is applied again, each thing by itself");
            attempt(projection, connections, from, to, own, Care::Careful).await
        }
        done => done,
    }
}

/// The move of a checkpoint past events that do not concern its projection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) projection: &'static Projection,
    pub(crate) from: Checkpoint,
    pub(crate) to: Target,
}

/// Moves checkpoints in one statement; the names of those that were moved. The others are not where they were read to be, or
/// somebody holds them, for whom nobody else is to wait.
pub(crate) async fn pass(connections: &Connections, passes: &[Pass]) -> Result<Vec<String>, Error> {
    if passes.is_empty() {
        return Ok(Vec::new());
    }
    let mut connection = connections.lend().await?;
    let moved = sqlx::query_scalar!(
        "with free as (
             select c.name, x.position, x.epoch, x.event_id
             from unnest($1::text[], $2::integer[], $3::bigint[], $4::uuid[], $5::bigint[], $6::integer[], $7::uuid[])
                  as x (name, version, from_position, from_event_id, position, epoch, event_id)
             join checkpoint c on c.name = x.name
             where c.version = x.version and c.position = x.from_position
               and c.event_id is not distinct from x.from_event_id
             for update of c skip locked
         )
         update checkpoint c set position = free.position, epoch = free.epoch, event_id = free.event_id, updated_at = now()
         from free where c.name = free.name
         returning c.name",
        &column(passes, |pass| pass.projection.name) as &[&str],
        &column(passes, |pass| pass.projection.version),
        &column(passes, |pass| pass.from.position),
        &column(passes, |pass| pass.from.event_id) as &[Option<Uuid>],
        &column(passes, |pass| pass.to.place.position),
        &column(passes, |pass| pass.to.epoch),
        &column(passes, |pass| pass.to.place.event_id) as &[Option<Uuid>],
    )
    .fetch_all(&mut *connection)
    .await?;
    connection.give_back();
    Ok(moved)
}

async fn attempt(
    projection: &'static Projection,
    connections: &Connections,
    from: Checkpoint,
    to: Target,
    own: &[Arc<Recorded>],
    care: Care,
) -> Result<Outcome, Error> {
    let mut connection = connections.lend().await?;
    let mut tx = connection.begin().await?;
    let Some(rows) = advance(projection, &mut tx, from, to).await? else { return Ok(Outcome::Superseded) };
    if plant::planted(plant::CHECKPOINT) {
        tx.commit().await?;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        tx = connection.begin().await?;
    }
    let more = parking::apply(projection, &mut tx, rows.generation, rows.parked, own, care).await?;
    if more > 0 {
        sqlx::query!("update checkpoint set parked = parked + $2 where name = $1", projection.name, more)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    connection.give_back();
    Ok(Outcome::Applied(to.place))
}

/// Which rows a checkpoint is of.
struct Rows {
    generation: i32,
    parked: i32,
}

/// Moves the checkpoint and locks its row to the end of the transaction; nothing, and nothing is moved, if it is not where it
/// was read to be, or if the rows are of another version by now.
async fn advance(
    projection: &'static Projection,
    tx: &mut PgConnection,
    from: Checkpoint,
    to: Target,
) -> Result<Option<Rows>, Error> {
    let moved = sqlx::query_as!(
        Rows,
        "update checkpoint set position = $3, epoch = $4, event_id = $5, updated_at = now()
         where name = $1 and position = $2 and event_id is not distinct from $6 and version = $7
         returning generation, parked",
        projection.name,
        from.position,
        to.place.position,
        to.epoch,
        to.place.event_id,
        from.event_id,
        projection.version
    );
    Ok(moved.fetch_optional(tx).await?)
}

/// Where `batch` leads from `from`; nowhere if it is empty.
pub(crate) fn follow(from: Checkpoint, batch: &[Arc<Recorded>]) -> Result<Option<Target>, Error> {
    for (expected, event) in (from.position + 1..).zip(batch) {
        if event.position != expected {
            return Err(Error::NotContiguous { expected, found: event.position });
        }
    }
    Ok(Target::of(batch))
}
