//! Projections with sums, folded again: a row has events of many things, so all of them are applied once more, in order, by the
//! projection's usual way, to temporary tables, and both are compared when they stand where the live rows do.

use std::{pin::pin, sync::Arc};

use events::{Recorded, store::Span};
use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::{MOST, Scratch, Stretch, finding, told};
use crate::{
    projection::Projection,
    rebuild::{Error, Workshop, compare},
};

/// How many positions are applied in one transaction.
const BATCH: i64 = 2000;

/// How far the temporary tables have come.
#[derive(Debug, Default)]
pub(super) struct Refold {
    at: i64,
    lacks: Lacks,
}

/// What the live rows are, and which events they lack.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Lacks {
    generation: i32,
    /// Parked things, each from this version on.
    parked: Vec<(String, Uuid, i32)>,
}

impl Refold {
    /// Goes on up to `until`, or to where the live rows stand.
    pub(super) async fn up_to(
        &mut self,
        projection: &'static Projection,
        workshop: &Workshop,
        scratch: &mut Scratch,
        until: i64,
    ) -> Result<(), Error> {
        let (live, lacks) = lacks(projection, &mut scratch.connection).await?;
        if self.at == 0 || self.lacks != lacks || live < self.at {
            let tables = projection.table_names().join(", pg_temp.");
            scratch.connection.execute(AssertSqlSafe(format!("truncate pg_temp.{tables}"))).await?;
            *self = Self { at: 0, lacks };
        }
        let until = until.min(live);
        while self.at < until {
            let to = until.min(self.at + BATCH);
            let mut tx = scratch.connection.begin().await?;
            self.apply(projection, workshop, &mut tx, to).await?;
            tx.commit().await?;
            self.at = to;
        }
        Ok(())
    }

    async fn apply(
        &self,
        projection: &'static Projection,
        workshop: &Workshop,
        tx: &mut PgConnection,
        to: i64,
    ) -> Result<(), Error> {
        let span = Span { after: self.at, until: to, streams: projection.streams, part: 0, parts: 1 };
        let mut own: Vec<Arc<Recorded>> = Vec::new();
        {
            let mut events = pin!(workshop.store.span(&span));
            while let Some(event) = events.try_next().await? {
                let is_parked = self.lacks.parked.iter().any(|(stream, id, version)| {
                    *stream == event.stream && *id == event.id && event.version >= *version
                });
                if !is_parked {
                    own.push(Arc::new(event));
                }
            }
        }
        projection.apply(tx, &own).await?;
        Ok(())
    }

    /// Compares all rows in a snapshot, up to whose position the rest is applied, and begins again. Nothing is found, and
    /// nothing compared, if the live rows are others by now, or lack other events.
    pub(super) async fn compare(
        &mut self,
        projection: &'static Projection,
        workshop: &Workshop,
        scratch: &mut Scratch,
    ) -> Result<Stretch, Error> {
        let mut tx = scratch.connection.begin_with("begin isolation level repeatable read").await?;
        // The first statement takes the snapshot.
        let (live, lacks) = lacks(projection, &mut tx).await?;
        let refold = std::mem::take(self);
        if lacks != refold.lacks || live < refold.at || live == 0 {
            return Ok(Stretch { position: live, things: 0, findings: Vec::new() });
        }
        refold.apply(projection, workshop, &mut tx, live).await?;
        let found = compare::whole(projection, "pg_temp", &mut tx, MOST).await?;
        let mut rows = 0;
        for table in projection.table_names() {
            let sql = format!("select count(*) from pg_temp.{table}");
            rows += sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(&mut *tx).await?;
        }
        tx.commit().await?;
        let findings = told(projection, workshop, found.samples, live).await?;
        finding::close_all_others(projection, workshop, &findings).await?;
        Ok(Stretch { position: live, things: usize::try_from(rows).unwrap_or(0), findings })
    }

    /// How far it has come.
    pub(super) fn at(&self) -> i64 {
        self.at
    }
}

/// Where the live rows stand, and what they lack.
async fn lacks(projection: &'static Projection, connection: &mut PgConnection) -> Result<(i64, Lacks), Error> {
    let live = sqlx::query!("select position, generation from read.checkpoint where name = $1", projection.name);
    let Some(live) = live.fetch_optional(&mut *connection).await? else { return Ok((0, Lacks::default())) };
    let parked = sqlx::query!(
        "select stream, id, version from ops.parked where projection = $1 and generation = $2 order by stream, id",
        projection.name,
        live.generation
    );
    let parked = parked.fetch_all(connection).await?.into_iter().map(|row| (row.stream, row.id, row.version));
    Ok((live.position, Lacks { generation: live.generation, parked: parked.collect() }))
}

/// Makes one row right: all is folded again up to where the live rows stand, which wait for the last of it, and the row is put in
/// the place of the one that is there.
pub(super) async fn repair(
    projection: &'static Projection,
    workshop: &Workshop,
    table: &str,
    row: Uuid,
) -> Result<(), Error> {
    let mut scratch = Scratch::open(&[projection], workshop).await?;
    let mut refold = Refold::default();
    refold.up_to(projection, workshop, &mut scratch, i64::MAX).await?;
    let mut tx = scratch.connection.begin().await?;
    sqlx::query!("select position from read.checkpoint where name = $1 for update", projection.name)
        .fetch_one(&mut *tx)
        .await?;
    let (live, lacks) = lacks(projection, &mut tx).await?;
    if lacks != refold.lacks || live < refold.at {
        return Err(Error::Lost { name: projection.name.to_owned() });
    }
    refold.apply(projection, workshop, &mut tx, live).await?;
    let sql = format!("delete from read.{table} where id = $1");
    sqlx::query(AssertSqlSafe(sql)).bind(row).execute(&mut *tx).await?;
    let sql = format!("insert into read.{table} select * from pg_temp.{table} where id = $1");
    sqlx::query(AssertSqlSafe(sql)).bind(row).execute(&mut *tx).await?;
    sqlx::query!("update read.checkpoint set revision = revision + 1 where name = $1", projection.name)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "update ops.finding set closed_at = now(), is_repaired = true
         where projection = $1 and relation = $2 and thing = $3 and closed_at is null",
        projection.name,
        table,
        row
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    scratch.connection.close().await?;
    Ok(())
}
