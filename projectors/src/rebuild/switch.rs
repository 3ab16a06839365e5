//! The exchange of two generations, in one transaction with the checkpoint.

use std::time::Duration;

use events::clock;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::{
    Basis, Error, Live, compare,
    follow::{self, Followed},
    generation,
    report::{Decision, Differences, Report},
    throttle::Throttle,
    work::Work,
};
use crate::{parking::Care, projection::Projection};

/// How many events may be left to apply while the live projection waits.
const REST: i64 = 500;
/// How long queries may have to wait behind the exchange that waits for others, before it makes way and tries again.
const QUEUE: &str = "50ms";
/// The most samples of what was applied since the comparison.
const SAMPLES: usize = 5;
/// How long it is tried, and between two tries.
const PATIENCE: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_millis(40);
/// How long live rows that are behind may stand still.
const STANDSTILL: Duration = Duration::from_secs(30);

/// What an exchange is to come to.
pub(super) struct Wanted<'a> {
    /// What the full comparison found, if there was anything to compare with.
    pub(super) found: Option<&'a Differences>,
    /// How many rows may differ.
    pub(super) allowed: i64,
    /// The report, which is kept in the transaction.
    pub(super) report: Report,
}

/// What became of it.
pub(super) enum Exchanged {
    /// It is done.
    Done(Report),
    /// What was compared last has made more rows differ than may.
    Stopped(Report),
    /// There was nothing to compare with, and now there is: a projector has begun.
    Begun,
}

/// Waits until the live rows are at most [`REST`] events ahead and not behind, with the generation following.
async fn close(projection: &'static Projection, work: &Work, at: &mut Followed, basis: Basis) -> Result<(), Error> {
    let mut seen = (i64::MIN, Instant::now());
    loop {
        work.check()?;
        if basis != Basis::Rows {
            return Ok(());
        }
        follow::up_to_live(projection, work, at).await?;
        let live = Live::read(projection, work).await?;
        if live.position >= at.position {
            return Ok(());
        }
        if live.position != seen.0 {
            seen = (live.position, Instant::now());
        } else if seen.1.elapsed() > STANDSTILL {
            let name = work.generation.projection.clone();
            return Err(Error::LiveBehind { name, live: live.position, candidate: at.position });
        }
        sleep(PAUSE).await;
    }
}

/// Begins a transaction in `other` whose snapshot shows both generations at the same position; returns that.
///
/// The live projection waits while this is so, by the lock on its checkpoint, for the few events that are left.
pub(super) async fn snapshot<'a>(
    projection: &'static Projection,
    work: &Work,
    other: &'a mut PgConnection,
    at: &mut Followed,
) -> Result<(sqlx::Transaction<'a, sqlx::Postgres>, i64), Error> {
    loop {
        close(projection, work, at, Basis::Rows).await?;
        let mut holding = work.pool.acquire().await?;
        let mut hold = holding.begin().await?;
        let live = Live::lock(projection, &mut hold).await?;
        if live.position < at.position || live.position - at.position > REST {
            hold.rollback().await?;
            continue;
        }
        follow::up_to(projection, work, at, live.position, &mut Throttle::single(f64::MAX)).await?;
        let mut tx = other.begin_with("begin isolation level repeatable read read only").await?;
        // The first statement takes the snapshot.
        let stands: Option<i64> = sqlx::query_scalar("select position from read.checkpoint where name = $1")
            .bind(projection.name)
            .fetch_optional(&mut *tx)
            .await?;
        hold.rollback().await?;
        debug_assert_eq!(stands, Some(at.position));
        return Ok((tx, at.position));
    }
}

/// Exchanges the generation with the live rows, as soon as nothing is in the way.
pub(super) async fn exchange(
    projection: &'static Projection,
    work: &Work,
    live: &Live,
    at: &mut Followed,
    wanted: Wanted<'_>,
) -> Result<Exchanged, Error> {
    let until = Instant::now() + PATIENCE;
    let mut report = wanted.report;
    loop {
        close(projection, work, at, live.basis).await?;
        // What is rolled back has not followed.
        let mut tried = at.clone();
        match attempt(projection, work, live, &mut tried, wanted.found, wanted.allowed, &mut report).await {
            Ok(Attempt::Done) => return Ok(Exchanged::Done(report)),
            Ok(Attempt::Stopped) => return Ok(Exchanged::Stopped(report)),
            Ok(Attempt::Begun) => return Ok(Exchanged::Begun),
            Ok(Attempt::Again) => {}
            Err(error) if is_locked(&error) => {
                if Instant::now() > until {
                    return Err(Error::Locked { name: work.generation.projection.clone() });
                }
                sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

enum Attempt {
    Done,
    Stopped,
    Again,
    Begun,
}

async fn attempt(
    projection: &'static Projection,
    work: &Work,
    expected: &Live,
    at: &mut Followed,
    found: Option<&Differences>,
    allowed: i64,
    report: &mut Report,
) -> Result<Attempt, Error> {
    let mut connection = work.pool.acquire().await?;
    let mut tx = connection.begin().await?;
    let live_tables: Vec<String> = projection.table_names().iter().map(|table| format!("read.{table}")).collect();
    let live_tables = live_tables.join(", ");
    // Stops none of those who read or write rows, and makes an autovacuum give way.
    let sql = format!("lock table {live_tables} in share update exclusive mode");
    tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
    let live = Live::lock(projection, &mut tx).await?;
    if (live.generation, live.version) != (expected.generation, expected.version) {
        return Err(Error::Lost { name: projection.name.to_owned() });
    }
    if expected.basis == Basis::Rows {
        if live.position < at.position || live.position - at.position > REST {
            return Ok(Attempt::Again);
        }
        while at.position < live.position {
            match follow::step(projection, work, &mut tx, at, live.position, Care::Swift).await {
                // Parked with care, while nobody waits.
                Err(Error::Projection(error)) if error.is_of_an_event() => return Ok(Attempt::Again),
                applied => applied?,
            }
        }
    } else if live.position > 0 && expected.basis == Basis::Nothing {
        return Ok(Attempt::Begun);
    }
    generation::enter(&mut tx, &work.generation, work.holder).await?;
    tx.execute("set local search_path = read, public").await?;
    compare::shapes(projection, &work.generation.schema(), &mut tx).await?;
    report.position = at.position;
    if let Some(found) = found {
        // What both have applied since the full comparison.
        let things: Vec<_> = at.things.iter().copied().collect();
        let schema = work.generation.schema();
        let mut since = compare::things(projection, &schema, &mut tx, &things, SAMPLES).await?;
        if projection.has_sums() && !things.is_empty() {
            // Their rows are not told by the things whose events were applied; they are few.
            since = compare::whole(projection, &schema, &mut tx, SAMPLES).await?.without(found);
        }
        if since.counts().all() > 0 && found.counts().all() + since.counts().all() > allowed {
            let mut all = found.clone();
            all.add(since);
            (report.counts, report.tables, report.samples) = (all.counts(), all.tables, all.samples);
            return Ok(Attempt::Stopped);
        }
    }
    exchange_tables(projection, work, &mut tx, &live, &live_tables).await?;
    report.id = clock::id();
    report.keep(&mut tx).await?;
    events::failpoint::reach("rebuild.switch");
    tx.commit().await?;
    events::failpoint::reach("rebuild.switched");
    Ok(Attempt::Done)
}

async fn exchange_tables(
    projection: &'static Projection,
    work: &Work,
    tx: &mut PgConnection,
    live: &Live,
    live_tables: &str,
) -> Result<(), Error> {
    let (new, old) = (work.generation.schema(), generation::schema(projection.name, live.generation));
    // Of those that were live, one is kept.
    let former = sqlx::query_scalar!(
        "delete from ops.generation where projection = $1 and state = 'previous' and number <> $2 returning number",
        projection.name,
        work.generation.number
    );
    let former = former.fetch_optional(&mut *tx).await?;
    if let Some(former) = former {
        sqlx::query!("delete from ops.parked where projection = $1 and generation = $2", projection.name, former)
            .execute(&mut *tx)
            .await?;
    }
    let mut sql =
        vec![format!("set local lock_timeout = '{QUEUE}'; lock table {live_tables} in access exclusive mode")];
    sql.extend(former.map(|former| format!("drop schema {} cascade", generation::schema(projection.name, former))));
    // Nobody holds it yet.
    sql.push(format!(
        "create schema {old}; create table {old}.fence (holder uuid not null);
         insert into {old}.fence values (gen_random_uuid())"
    ));
    sql.extend(
        projection.table_names().iter().map(|table| {
            format!("alter table read.{table} set schema {old}; select ops.take_place('{new}', '{table}')")
        }),
    );
    sql.push(format!("drop schema {new} cascade"));
    tx.execute(sqlx::raw_sql(AssertSqlSafe(sql.join(";")))).await?;
    let new = sqlx::query!(
        "delete from ops.generation where projection = $1 and number = $2
         returning number, version, position, epoch, event_id, parked",
        projection.name,
        work.generation.number
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into ops.generation
             (projection, number, version, state, phase, target, done, position, epoch, event_id, parked)
         select name, generation, version, 'previous', 'follow', position, position, position, epoch, event_id, parked
         from checkpoint where name = $1",
        projection.name
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update checkpoint set generation = $2, version = $3, position = $4, epoch = $5, event_id = $6, parked = $7,
                updated_at = now()
         where name = $1",
        projection.name,
        new.number,
        new.version,
        new.position,
        new.epoch,
        new.event_id,
        new.parked
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Whether somebody else held what was to be locked.
fn is_locked(error: &Error) -> bool {
    let (Error::Database(sqlx::Error::Database(database))
    | Error::Projection(crate::Error::Database(sqlx::Error::Database(database)))) = error
    else {
        return false;
    };
    // Lock not available; deadlock.
    matches!(database.code().as_deref(), Some("55P03" | "40P01"))
}

/// What is compared and told of a decision that exchanges nothing.
pub(super) async fn keep(work: &Work, report: &mut Report, decision: Decision) -> Result<(), Error> {
    report.id = clock::id();
    report.decision = decision;
    let mut connection = work.pool.acquire().await?;
    report.keep(&mut connection).await?;
    Ok(())
}
