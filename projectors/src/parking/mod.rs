//! What a projection cannot apply: an event that it does not know or that does not fit stops its thing, and nothing else.
//!
//! The thing is parked: its row stays as it is, and all that happens to it later waits with the event, in order, in the log.
//! From time to time, and whenever a program starts, which may be a mended one, the events are tried again ([`replay`]).

mod replay;

use std::{collections::HashSet, sync::Arc};

use events::Recorded;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

pub use replay::{replay, run};

use crate::projection::{Error, Projection};

/// How a batch is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// All at once; what cannot be applied is an error, and the transaction is lost with it.
    Swift,
    /// Each thing by itself; what cannot be applied is parked.
    Careful,
}

/// Applies `batch` to the tables of `P` that the connection finds, as rows of `generation`, for which `parked` things are
/// known to be parked. Returns how many are parked more. Where that would be more than [`Projection::most_parked`], it is an
/// error, and the transaction is to be given up.
///
/// An error that is of an event ([`Error::is_of_an_event`]) is to be answered by trying again with care.
pub async fn apply(
    projection: &'static Projection,
    tx: &mut PgConnection,
    generation: i32,
    parked: i32,
    batch: &[Arc<Recorded>],
    care: Care,
) -> Result<i32, Error> {
    let waiting = if parked > 0 { known(projection, tx, generation, batch).await? } else { HashSet::new() };
    let (held, free): (Vec<_>, Vec<_>) =
        batch.iter().cloned().partition(|event| waiting.contains(&(event.stream.clone(), event.id)));
    if !held.is_empty() {
        wait(projection, tx, generation, &held).await?;
    }
    if care == Care::Swift {
        for event in &free {
            projection.concerns(event)?;
        }
        if !free.is_empty() {
            projection.apply(tx, &free).await?;
        }
        return Ok(0);
    }
    let mut more = 0;
    for thing in things(&free) {
        let Some(position) = one(projection, tx, generation, &thing).await? else { continue };
        if parked + more >= projection.most_parked {
            return Err(Error::TooManyParked { name: projection.name, parked: parked + more, position });
        }
        more += 1;
    }
    Ok(more)
}

/// The events of each thing, in order.
fn things(events: &[Arc<Recorded>]) -> Vec<Vec<Arc<Recorded>>> {
    let mut places = std::collections::HashMap::new();
    let mut things: Vec<Vec<Arc<Recorded>>> = Vec::new();
    for event in events {
        let place = *places.entry((event.stream.as_str(), event.id)).or_insert_with(|| {
            things.push(Vec::new());
            things.len() - 1
        });
        things[place].push(Arc::clone(event));
    }
    things
}

/// Applies the events of one thing, and parks it before the first that cannot be: the position of that one.
async fn one(
    projection: &'static Projection,
    tx: &mut PgConnection,
    generation: i32,
    events: &[Arc<Recorded>],
) -> Result<Option<i64>, Error> {
    if attempt(projection, tx, events).await?.is_none() {
        return Ok(None);
    }
    for (index, event) in events.iter().enumerate() {
        if let Some(error) = attempt(projection, tx, std::slice::from_ref(event)).await? {
            park(projection, tx, generation, event, events.len() - index, &error).await?;
            return Ok(Some(event.position));
        }
    }
    Ok(None)
}

/// Applies events in a transaction within the transaction; the error, where one of them is at fault.
pub(crate) async fn attempt(
    projection: &'static Projection,
    tx: &mut PgConnection,
    events: &[Arc<Recorded>],
) -> Result<Option<Error>, Error> {
    for event in events {
        if let Err(error) = projection.concerns(event) {
            return Ok(Some(error));
        }
    }
    let mut inner = tx.begin().await?;
    match projection.apply(&mut inner, events).await {
        Ok(()) => {
            inner.commit().await?;
            Ok(None)
        }
        Err(error) if error.is_of_an_event() => {
            inner.rollback().await?;
            Ok(Some(error))
        }
        Err(error) => Err(error),
    }
}

async fn park(
    projection: &'static Projection,
    tx: &mut PgConnection,
    generation: i32,
    event: &Recorded,
    events: usize,
    error: &Error,
) -> Result<(), Error> {
    let (position, kind, thing) = (event.position, &event.kind, event.id);
    tracing::error!(projection = projection.name, position, kind, %thing, %error, "an event cannot be applied: its thing is parked");
    sqlx::query!(
        "insert into ops.parked (projection, generation, stream, id, position, version, kind, error, events)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        projection.name,
        generation,
        event.stream,
        event.id,
        event.position,
        event.version,
        event.kind,
        error.to_string(),
        i32::try_from(events).unwrap_or(i32::MAX)
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Which of the things of `batch` are parked.
async fn known(
    projection: &'static Projection,
    tx: &mut PgConnection,
    generation: i32,
    batch: &[Arc<Recorded>],
) -> Result<HashSet<(String, Uuid)>, Error> {
    let ids: Vec<Uuid> = batch.iter().map(|event| event.id).collect();
    let rows = sqlx::query!(
        "select stream, id from ops.parked where projection = $1 and generation = $2 and id = any ($3)",
        projection.name,
        generation,
        &ids
    );
    Ok(rows.fetch_all(tx).await?.into_iter().map(|row| (row.stream, row.id)).collect())
}

/// Counts events that wait with those before them.
async fn wait(
    projection: &'static Projection,
    tx: &mut PgConnection,
    generation: i32,
    held: &[Arc<Recorded>],
) -> Result<(), Error> {
    let ids: Vec<Uuid> = held.iter().map(|event| event.id).collect();
    let streams: Vec<String> = held.iter().map(|event| event.stream.clone()).collect();
    sqlx::query!(
        "update ops.parked p set events = p.events + x.events
         from (select stream, id, count(*)::integer as events
               from unnest($3::text[], $4::uuid[]) as e (stream, id) group by stream, id) x
         where p.projection = $1 and p.generation = $2 and p.stream = x.stream and p.id = x.id",
        projection.name,
        generation,
        &streams,
        &ids
    )
    .execute(tx)
    .await?;
    Ok(())
}
