//! What events are, without what they say: for readers who want few of many, and read on from any position.

use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{Store, StoreError};

/// Which events to look through; each by an index of its own, so that what is left out costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among<'a> {
    /// All of the log.
    All,
    /// Those of one tenant.
    Tenant(Uuid),
    /// Those of no tenant.
    Shared,
    /// Both of these.
    TenantAndShared(Uuid),
    /// Those of one thing.
    Thing {
        /// Its stream.
        stream: &'a str,
        /// The thing.
        id: Uuid,
    },
}

/// What an event is, without what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// Its place in the log.
    pub position: i64,
    /// The stream, as `execution`.
    pub stream: String,
    /// The thing it happened to.
    pub id: Uuid,
    /// What happened.
    pub kind: String,
    /// The tenant that owns the thing.
    pub scope: Option<Uuid>,
    /// What its data takes in the table, in bytes: compressed, if it is large.
    pub bytes: usize,
}

/// What was found after a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// In order, without a gap among those that were looked through.
    pub headings: Vec<Heading>,
    /// How far that goes: nothing is missing up to here. Never less than the position that was asked for.
    pub reached: i64,
    /// The position of the last event of the log, in the same snapshot.
    pub head: i64,
}

/// The rows of one index. `order by scope` changes nothing among equal ones, and lets the index be read in its own order.
const ALL: &str = "where position > $1 order by position limit $2";
const TENANT: &str = "where scope = $3 and position > $1 order by position limit $2";
const SHARED: &str = "where scope is null and position > $1 order by scope, position limit $2";
const THING: &str = "where stream = $3 and id = $4 and position > $1 order by version limit $2";

impl Store {
    /// The first `limit` events after `after` among those (of a tenant's and of no tenant's so many each), as headings.
    pub async fn scan(&self, among: Among<'_>, after: i64, limit: usize) -> Result<Scanned, StoreError> {
        let parts: &[&str] = match among {
            Among::All => &[ALL],
            Among::Tenant(_) => &[TENANT],
            Among::Shared => &[SHARED],
            Among::TenantAndShared(_) => &[TENANT, SHARED],
            Among::Thing { .. } => &[THING],
        };
        let mut sql = String::new();
        for part in parts {
            sql += "(select position, stream, id, kind, scope, pg_column_size(data) from event ";
            sql += part;
            sql += ") union all ";
        }
        // One snapshot: where it ends is known for sure, whatever is appended meanwhile.
        sql += "(select position, null, null, null, null, null from event order by position desc limit 1)";
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let query = match among {
            Among::All | Among::Shared => query,
            Among::Tenant(scope) | Among::TenantAndShared(scope) => query.bind(scope),
            Among::Thing { stream, id } => query.bind(stream).bind(id),
        };
        let mut connection = self.pages.lend().await?;
        let rows = query.fetch_all(&mut *connection).await?;
        connection.give_back();
        scanned(&rows, parts.len(), after, limit)
    }
}

fn scanned(rows: &[PgRow], parts: usize, after: i64, limit: usize) -> Result<Scanned, StoreError> {
    let (mut headings, mut head) = (Vec::new(), 0);
    for row in rows {
        match row.try_get(1)? {
            Some(stream) => headings.push(heading(row, stream)?),
            None => head = row.try_get(0)?,
        }
    }
    Ok(merged(headings, parts, head, after, limit))
}

fn heading(row: &PgRow, stream: String) -> Result<Heading, StoreError> {
    Ok(Heading {
        position: row.try_get(0)?,
        stream,
        id: row.try_get(2)?,
        kind: row.try_get(3)?,
        scope: row.try_get(4)?,
        bytes: row.try_get::<i32, _>(5)?.try_into().unwrap_or(0),
    })
}

/// All parts in one order. One that has as many as the limit may go on after its last; the others are of no use past that.
fn merged(mut headings: Vec<Heading>, parts: usize, head: i64, after: i64, limit: usize) -> Scanned {
    // Of two parts, one is of a tenant and the other of none.
    let end = |shared: bool| {
        let part = headings.iter().filter(|heading| parts == 1 || heading.scope.is_none() == shared);
        let (count, last) = part.fold((0, after), |(count, last), heading| (count + 1, last.max(heading.position)));
        (count >= limit).then_some(last)
    };
    let cut = [end(true), end(false)].into_iter().flatten().min();
    let reached = cut.unwrap_or(head).max(after);
    headings.retain(|heading| heading.position <= reached);
    headings.sort_by_key(|heading| heading.position);
    Scanned { headings, reached, head }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heading(position: i64, shared: bool) -> Heading {
        let scope = (!shared).then(|| Uuid::from_u128(7));
        Heading { position, stream: "s".to_owned(), id: Uuid::nil(), kind: "k".to_owned(), scope, bytes: 1 }
    }

    #[test]
    fn what_was_cut_at_the_limit_cuts_the_rest() {
        // Rows (position, of no tenant) of so many parts, the limit, and what is left of them, and how far that goes.
        type Case<'a> = (&'a [(i64, bool)], usize, usize, &'a [i64], i64);
        let cases: [Case<'_>; 6] = [
            (&[], 1, 3, &[], 90),
            (&[(11, false), (40, true)], 1, 3, &[11, 40], 90),
            (&[(11, false), (40, true), (41, false)], 1, 3, &[11, 40, 41], 41),
            (&[(11, false), (40, false), (20, true)], 2, 3, &[11, 20, 40], 90),
            (&[(11, false), (40, false), (50, false), (20, true), (60, true)], 2, 3, &[11, 20, 40, 50], 50),
            (&[(11, false), (40, false), (20, true), (30, true)], 2, 2, &[11, 20, 30], 30),
        ];
        for (rows, parts, limit, left, reached) in cases {
            let rows: Vec<_> = rows.iter().map(|(position, shared)| heading(*position, *shared)).collect();
            let scanned = merged(rows.clone(), parts, 90, 10, limit);
            let found: Vec<_> = scanned.headings.iter().map(|heading| heading.position).collect();
            assert_eq!((&found[..], scanned.reached), (left, reached), "{rows:?}");
        }
        assert_eq!(merged(Vec::new(), 1, 4, 10, 3).reached, 10, "a log that ends before goes nowhere");
    }
}
