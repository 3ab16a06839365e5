//! A generation that is not live: its schema, its row in `ops.generation`, and who may work at it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::Recorded;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use uuid::Uuid;

use super::{Error, Live};
use crate::{
    parking::{self, Care},
    projection::Projection,
};

/// How long who works at a generation is believed to live without a sign, in seconds.
pub(super) const HELD: f64 = 10.0;

/// A generation beside the live rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The projection.
    pub projection: String,
    /// Its number among the projection's.
    pub number: i32,
    /// The projection's `VERSION` in the code that makes its rows.
    pub version: i32,
    /// `building`, `candidate` or `previous`.
    pub state: String,
    /// How far a building one has come: `load`, `index`, `late`, `follow` or `compare`.
    pub phase: String,
    /// The position up to which rows are loaded.
    pub target: i64,
    /// How far that has come.
    pub done: i64,
    /// Where its rows stand; 0 before they are complete.
    pub position: i64,
    /// The event there.
    pub event_id: Option<Uuid>,
    /// Whether somebody works at it.
    pub is_held: bool,
    /// When it was begun.
    pub started_at: DateTime<Utc>,
    /// The last sign of whoever works at it.
    pub updated_at: DateTime<Utc>,
    /// How many things are parked.
    pub parked: i32,
}

impl Generation {
    /// All of them, by projection and number.
    pub async fn all(pool: &PgPool) -> Result<Vec<Self>, sqlx::Error> {
        let generations = sqlx::query_as!(
            Self,
            r#"select projection, number, version, state, phase, target, done, position, event_id,
                      coalesce(held_until > now(), false) as "is_held!", started_at, updated_at, parked
               from ops.generation order by projection, number"#
        );
        generations.fetch_all(pool).await
    }

    /// The one that is to become live, building or complete.
    pub async fn next(pool: &PgPool, projection: &str) -> Result<Option<Self>, sqlx::Error> {
        let all = Self::all(pool).await?;
        Ok(all.into_iter().find(|one| one.projection == projection && one.state != "previous"))
    }

    /// The one that was live before.
    pub async fn previous(pool: &PgPool, projection: &str) -> Result<Option<Self>, sqlx::Error> {
        let all = Self::all(pool).await?;
        Ok(all.into_iter().find(|one| one.projection == projection && one.state == "previous"))
    }

    /// The schema that its tables are in.
    pub fn schema(&self) -> String {
        schema(&self.projection, self.number)
    }

    /// Makes a new one, empty, whose rows are to be loaded up to `target` in so many parts. Fails where there is one already.
    pub(super) async fn begin(
        projection: &'static Projection,
        pool: &PgPool,
        live: &Live,
        target: i64,
        parts: i32,
        holder: Uuid,
    ) -> Result<Self, Error> {
        let mut tx = pool.begin().await?;
        let begun = sqlx::query_scalar!(
            r#"insert into ops.generation (projection, number, version, state, phase, target, holder, held_until)
               select $1, 1 + greatest($2, coalesce((select max(g.number) from ops.generation g where g.projection = $1), 0),
                                       coalesce((select max(r.generation) from ops.report r where r.projection = $1), 0)),
                      $3, 'building', 'load', $4, $5, now() + make_interval(secs => $6)
               returning number"#,
            projection.name,
            live.generation,
            projection.version,
            target,
            holder,
            HELD
        );
        let number = begun.fetch_one(&mut *tx).await.map_err(|error| taken(projection.name, error))?;
        let schema = schema(projection.name, number);
        let mut sql = vec![format!("create schema {schema}")];
        // Indexes come later, with those of the live table as they are then.
        sql.extend(projection.tables.iter().map(|table| {
            // Sums are added to by key from the first on.
            let indexes = if table.is_summed() { "" } else { "excluding indexes" };
            let table = table.name();
            format!("create table {schema}.{table} (like read.{table} including all {indexes} excluding statistics)")
        }));
        sql.push(format!(
            "create table {schema}.fence (holder uuid not null);
             create table {schema}.load_part (part integer primary key, parts integer not null, position bigint not null);
             create table {schema}.load_late (position bigint primary key)"
        ));
        tx.execute(sqlx::raw_sql(AssertSqlSafe(sql.join(";")))).await?;
        let sql = format!("insert into {schema}.fence values ($1)");
        sqlx::query(AssertSqlSafe(sql)).bind(holder).execute(&mut *tx).await?;
        let sql = format!("insert into {schema}.load_part select part, $1, 0 from generate_series(0, $1 - 1) part");
        sqlx::query(AssertSqlSafe(sql)).bind(parts).execute(&mut *tx).await?;
        tx.commit().await?;
        Self::one(pool, projection.name, number).await
    }

    async fn one(pool: &PgPool, projection: &str, number: i32) -> Result<Self, Error> {
        let all = Self::all(pool).await?;
        let one = all.into_iter().find(|one| one.projection == projection && one.number == number);
        one.ok_or_else(|| Error::Lost { name: projection.to_owned() })
    }

    /// Begins to work at it as `holder`; refused while somebody else does.
    pub(super) async fn take(self, pool: &PgPool, holder: Uuid) -> Result<Self, Error> {
        let mut tx = pool.begin().await?;
        let taken = sqlx::query!(
            "update ops.generation
             set state = case state when 'previous' then state else 'building' end, holder = $3,
                 held_until = now() + make_interval(secs => $4), updated_at = now()
             where projection = $1 and number = $2 and coalesce(held_until < now(), true)",
            self.projection,
            self.number,
            holder,
            HELD
        )
        .execute(&mut *tx)
        .await?;
        if taken.rows_affected() == 0 {
            return Err(Error::Running { name: self.projection });
        }
        // Waits for what the one before has under way: from here on that one commits nothing more.
        let sql = format!("update {}.fence set holder = $1", self.schema());
        sqlx::query(AssertSqlSafe(sql)).bind(holder).execute(&mut *tx).await?;
        tx.commit().await?;
        Self::one(pool, &self.projection, self.number).await
    }

    /// Drops it with all its rows; refused while somebody works at it.
    pub async fn discard(self, pool: &PgPool) -> Result<(), Error> {
        let mut tx = pool.begin().await?;
        let gone = sqlx::query!(
            "delete from ops.generation
             where projection = $1 and number = $2 and coalesce(held_until < now(), true)",
            self.projection,
            self.number
        )
        .execute(&mut *tx)
        .await?;
        if gone.rows_affected() == 0 {
            return Err(Error::Running { name: self.projection });
        }
        sqlx::query!("delete from ops.parked where projection = $1 and generation = $2", self.projection, self.number)
            .execute(&mut *tx)
            .await?;
        tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("drop schema {} cascade", self.schema())))).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// The name of a generation's schema.
pub fn schema(projection: &str, number: i32) -> String {
    format!("gen_{projection}_{number}")
}

/// A transaction on the generation's tables, which alone are found by their names, as its holder. Fails where it was taken
/// over, and keeps it from being so until the end of the transaction.
pub(super) async fn transaction<'a>(
    connection: &'a mut PgConnection,
    generation: &Generation,
    holder: Uuid,
) -> Result<sqlx::Transaction<'a, sqlx::Postgres>, Error> {
    let mut tx = connection.begin().await?;
    enter(&mut tx, generation, holder).await?;
    // What a crash loses of this is done again: the progress is in the same transactions.
    tx.execute("set local synchronous_commit = off").await?;
    Ok(tx)
}

/// The same in a transaction that is there already.
pub(super) async fn enter(tx: &mut PgConnection, generation: &Generation, holder: Uuid) -> Result<(), Error> {
    let schema = generation.schema();
    tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("set local search_path = {schema}, public")))).await?;
    let sql = format!("select true from {schema}.fence where holder = $1 for share");
    let held = sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql)).bind(holder).fetch_optional(tx).await;
    match held {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Error::Lost { name: generation.projection.clone() }),
        // Discarded, with its schema.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
            Err(Error::Lost { name: generation.projection.clone() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Applies events in a transaction that was entered; what cannot be applied is parked, if that is done with care.
pub(super) async fn apply(
    projection: &'static Projection,
    tx: &mut PgConnection,
    generation: &Generation,
    events: &[Arc<Recorded>],
    care: Care,
) -> Result<(), crate::Error> {
    let (name, number) = (projection.name, generation.number);
    let parked =
        sqlx::query_scalar!("select parked from ops.generation where projection = $1 and number = $2", name, number)
            .fetch_one(&mut *tx)
            .await?;
    let more = parking::apply(projection, tx, number, parked, events, care).await?;
    if more > 0 {
        sqlx::query!(
            "update ops.generation set parked = parked + $3 where projection = $1 and number = $2",
            name,
            number,
            more
        )
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// A second one beside the one that is building is refused by a unique index.
fn taken(name: &str, error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => Error::Running { name: name.to_owned() },
        _ => error.into(),
    }
}
