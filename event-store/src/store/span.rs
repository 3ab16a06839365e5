//! Reading much of the log at once, by streams and parts: what making a read model anew needs.

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use uuid::Uuid;

use super::{
    Recorded, Store, StoreError,
    read::{COLUMNS, READ_BYTES, recorded},
};

/// Some events of a stretch of the log.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    /// Events after this position,
    pub after: i64,
    /// up to this one,
    pub until: i64,
    /// of these streams,
    pub streams: &'a [&'static str],
    /// of the things that fall to this part, from 0,
    pub part: i32,
    /// of so many. All of one thing's events are in one part.
    pub parts: i32,
}

/// The last byte of a thing's id is chance in a `UUIDv7`, and so shares things out evenly.
const OF_PART: &str = "get_byte(uuid_send(id), 15) % $5 = $4";

impl Store {
    /// The events of `span`, in order, as they come.
    pub fn span<'a>(&'a self, span: &Span<'a>) -> impl Stream<Item = Result<Recorded, StoreError>> + Send + 'a {
        let Span { after, until, streams, part, parts } = *span;
        let sql = format!(
            "select {COLUMNS} from event where position > $1 and position <= $2 and stream = any($3)
             and ($5 = 1 or {OF_PART}) order by position"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after).bind(until).bind(streams).bind(part).bind(parts);
        rows.fetch(&self.reads).map(|row| recorded(&row?))
    }

    /// A share (0 to 1, by chance) of the things of these streams that begin after one position and up to another.
    pub async fn begun(&self, after: i64, until: i64, streams: &[&str], share: f64) -> Result<Vec<Uuid>, StoreError> {
        let rows = sqlx::query_scalar(
            "select id from event
             where position > $1 and position <= $2 and stream = any($3) and version = 1 and ($4 >= 1 or random() < $4)",
        );
        Ok(rows.bind(after).bind(until).bind(streams).bind(share).fetch_all(&self.reads).await?)
    }

    /// All events of these things up to a position, in order, as they come.
    pub fn of<'a>(
        &'a self,
        streams: &'a [&'static str],
        things: &'a [Uuid],
        until: i64,
    ) -> impl Stream<Item = Result<Recorded, StoreError>> + Send + 'a {
        let sql = format!(
            "select {COLUMNS} from event where stream = any($1) and id = any($2) and position <= $3 order by position"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(streams).bind(things).bind(until);
        rows.fetch(&self.reads).map(|row| recorded(&row?))
    }

    /// The events at these positions, in order; fewer once they weigh [`READ_BYTES`] together.
    pub async fn at(&self, positions: &[i64]) -> Result<Vec<Recorded>, StoreError> {
        let sql = format!("select {COLUMNS} from event where position = any($1) order by position");
        let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(positions).fetch(&self.reads);
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < READ_BYTES
            && let Some(row) = rows.try_next().await?
        {
            let event = recorded(&row)?;
            bytes += event.weight();
            events.push(event);
        }
        Ok(events)
    }

    /// The position of the last event that was recorded at `time` or before; 0 if none was. Times go up along the log, as
    /// far as the clocks of its writers agree.
    pub async fn position_at(&self, time: chrono::DateTime<chrono::Utc>) -> Result<i64, StoreError> {
        use sqlx::Row as _;

        // By halves, over the primary key: there is no index by time.
        let (mut low, mut high) = (0, self.head().await?);
        while low < high {
            let middle = low + (high - low + 1) / 2;
            let row = sqlx::query("select recorded_at <= $2 from event where position = $1")
                .bind(middle)
                .bind(time)
                .fetch_optional(&self.reads)
                .await?;
            let before = match row {
                Some(row) => row.try_get(0)?,
                None => false,
            };
            if before { low = middle } else { high = middle - 1 }
        }
        Ok(low)
    }
}
