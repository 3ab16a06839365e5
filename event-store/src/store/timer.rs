//! Timers: which things are to be looked at, when, by the database's clock. They are set and stopped with the events that say
//! so (see [`crate::Timer`]); here they are read, and put off by who holds them.

use sqlx::Row as _;
use uuid::Uuid;

use crate::clock;

use super::{Meta, Store, StoreError};

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The stream, as `execution`.
    pub stream: String,
    /// The aggregate.
    pub id: Uuid,
    /// The timer's name.
    pub name: String,
    /// The aggregate's version when it was set.
    pub version: i32,
    /// Who held it.
    pub holder: Option<Uuid>,
    /// What the thing knows it by.
    pub mark: u32,
    /// The thing's deadline is past.
    pub deadline: bool,
    /// For what follows: in the course of the thing's first event, caused by the one that set the timer.
    pub meta: Meta,
}

impl Store {
    /// Up to `limit` timers that are due, those first that have been due longest; `lenient`: not those that somebody holds,
    /// unless their deadline is past.
    pub async fn due(&self, limit: i64, lenient: bool) -> Result<Vec<Due>, StoreError> {
        let mut connection = self.pages.lend().await?;
        let rows = sqlx::query(
            "select stream, id, version, holder, mark, is_past, first_meta::text, cause, name from timer_due_named($1, $2)",
        )
        .bind(limit)
        .bind(lenient)
        .fetch_all(&mut *connection)
        .await?;
        connection.give_back();
        rows.iter()
            .map(|row| {
                let mark: i32 = row.try_get(4)?;
                let first: Option<&str> = row.try_get(6)?;
                let first = first.and_then(|meta| serde_json::from_str::<Meta>(meta).ok());
                let (correlation_id, traceparent) =
                    first.map_or_else(|| (clock::id(), None), |meta| (meta.correlation_id, meta.traceparent));
                let causation_id = row.try_get(7)?;
                Ok(Due {
                    stream: row.try_get(0)?,
                    id: row.try_get(1)?,
                    name: row.try_get(8)?,
                    version: row.try_get(2)?,
                    holder: row.try_get(3)?,
                    mark: u32::try_from(mark).unwrap_or_default(),
                    deadline: row.try_get(5)?,
                    meta: Meta { actor: None, correlation_id, causation_id, traceparent },
                })
            })
            .collect()
    }

    /// Puts the timers of these things off by `milliseconds` from now, as far as each is still held by the holder beside it.
    /// Returns whose are: the others have lost theirs.
    pub async fn renew(&self, ids: &[Uuid], holders: &[Uuid], milliseconds: i64) -> Result<Vec<Uuid>, StoreError> {
        let rows = sqlx::query("select id from timer_renew($1, $2, $3)")
            .bind(ids)
            .bind(holders)
            .bind(milliseconds)
            .fetch_all(&self.reads)
            .await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Lets go of all that these hold, so that nobody has to wait for it to run out.
    pub async fn let_go(&self, ids: &[Uuid], holders: &[Uuid]) -> Result<(), StoreError> {
        self.renew(ids, holders, 0).await.map(drop)
    }

    /// Puts a timer off that nothing could be done about, unless it has been set anew since.
    pub async fn put_off(&self, due: &Due, seconds: f64) -> Result<(), StoreError> {
        sqlx::query(
            "update timer set due_at = clock_timestamp() + make_interval(secs => $3) where stream = $4 and id = $1 and name = $5 and version = $2",
        )
        .bind(due.id)
        .bind(due.version)
        .bind(seconds)
        .bind(&due.stream)
        .bind(&due.name)
        .execute(&self.reads)
        .await?;
        Ok(())
    }
}
