//! What every query works with.

use std::time::Duration;

use events::Store;
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use serde::Serialize;
use service::{
    http::{self, Caller, Page, Problem, Read},
    shares::{Full, Limits, Share, Shares},
};
use sqlx::PgPool;
use tokio::time::timeout;

use crate::{
    events::Tail,
    waiters::{Waiters, late},
};

/// The read models, the log, the waiting room, and who listens. Clones are the same.
#[derive(Clone)]
pub struct Reading {
    /// Connections to the read models.
    pub pool: PgPool,
    /// The log, for the history of one thing.
    pub store: Store,
    /// For what is not there yet.
    pub waiters: Waiters,
    /// For what takes much memory, or much of the log, to answer.
    pub heavy: Shares,
    /// For what happens from now on.
    pub tail: Tail,
}

/// A row that was read together with its projection's position.
pub trait Placed {
    /// How far the projection was in the snapshot that the row is of.
    fn at(&self) -> i64;

    /// The version of the thing that the row is of, where it has one: its `ETag` names it, for `If-Match`.
    fn version(&self) -> Option<i32> {
        None
    }
}

/// How many heavy queries are answered at a time: never all of them one caller's.
const HEAVY: Limits = Limits { places: 8, each: 4, queue: 1_024, queue_each: 128 };
/// How long such a query waits for its turn.
const PATIENCE: Duration = Duration::from_secs(3);
/// When to come again then.
const LATER: Duration = Duration::from_secs(2);

/// The places for heavy queries.
pub fn heavy() -> Shares {
    Shares::new(HEAVY)
}

impl Reading {
    /// The turn of `caller` for a heavy query, taken until it is dropped: 429 or 503 where too many wait.
    pub async fn turn(&self, caller: &Caller) -> Result<Share, Problem> {
        let turn = timeout(PATIENCE, self.heavy.take(caller.id)).await.unwrap_or(Err(Full::All));
        turn.map_err(|full| full.problem("queries of this kind", LATER))
    }

    /// Waits for `?min_position=`, if it is given. Returns the position below which nothing is to be answered from.
    pub async fn reach(&self, caller: &Caller, projection: &str, min_position: Option<i64>) -> Result<i64, Problem> {
        let Some(position) = http::min_position(min_position)? else { return Ok(0) };
        self.waiters.reached(caller.id, projection, position).await?;
        Ok(position)
    }

    /// A page out of what `fetch` reads, one row more than `limit`, which `place` finds again.
    ///
    /// Rows bring the position of their snapshot. Where there are none, it is read first and then they are once more: so
    /// it is never ahead of what is answered.
    pub async fn page<T, C, F>(
        &self,
        projection: &str,
        floor: i64,
        limit: usize,
        place: impl Fn(&T) -> C,
        if_none_match: Option<&str>,
        fetch: impl Fn() -> F,
    ) -> Result<Read<Page<T>>, Problem>
    where
        T: Placed + Type + ParseFromJSON + ToJSON + Serialize,
        C: Serialize,
        F: Future<Output = Result<Vec<T>, sqlx::Error>> + Send,
    {
        let mut rows = fetch().await?;
        let mut position = 0;
        if rows.is_empty() {
            position = self.position(projection).await?;
            rows = fetch().await?;
        }
        let position = rows.first().map_or(position, Placed::at);
        above(floor, position)?;
        Ok(Read::new(&Page::of(rows, limit, place)?, position, if_none_match))
    }

    /// How far `projection` is; 0 before it has begun.
    async fn position(&self, projection: &str) -> Result<i64, Problem> {
        Ok(self.stands(projection).await?.unwrap_or(0))
    }

    /// The same; none for what has not begun, or is no projection.
    pub async fn stands(&self, projection: &str) -> Result<Option<i64>, Problem> {
        let position = sqlx::query_scalar!("select position from checkpoint where name = $1", projection);
        Ok(position.fetch_optional(&self.pool).await?)
    }
}

/// The answer with one thing, or 404.
pub fn one<T: Placed + ToJSON + Serialize>(
    row: Option<T>,
    floor: i64,
    if_none_match: Option<&str>,
) -> Result<Read<T>, Problem> {
    let row = row.ok_or_else(Problem::not_found)?;
    above(floor, row.at())?;
    Ok(Read::of_version(&row, row.version(), row.at(), if_none_match))
}

/// 503 where the rows are of an earlier position than the one that was waited for: of another replica, or of a read model
/// that has begun anew.
fn above(floor: i64, position: i64) -> Result<(), Problem> {
    if position < floor { Err(late(floor)) } else { Ok(()) }
}

/// One row more than a page has, which tells whether the list goes on.
pub fn more_than(limit: usize) -> i64 {
    i64::try_from(limit).map_or(i64::MAX, |limit| limit + 1)
}
