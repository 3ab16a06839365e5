//! The bulk of a generation: the log is read in parts beside each other, folded in memory, and written by `COPY` into tables
//! without indexes; the indexes come afterwards, and then what came too late for memory.

use std::{collections::HashSet, pin::pin, sync::Arc};

use events::{Recorded, store::Span};
use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};
use tokio::task::JoinSet;

use super::{Error, Options, Sizes, generation, throttle::Throttle, work::Work};
use crate::{
    bulk::{self, Gathered, Load, Taken},
    parking::Care,
    projection::Projection,
};

/// The most late events of one transaction.
const LATE: i64 = 2000;

/// One part of the log, as far as it is loaded.
#[derive(Debug, Clone, Copy)]
struct Part {
    number: i32,
    parts: i32,
    position: i64,
}

/// Loads all parts that are not complete, some at a time.
pub(super) async fn parts(projection: &'static Projection, work: &Work, options: &Options) -> Result<(), Error> {
    let schema = work.generation.schema();
    let sql = format!("select part, parts, position from {schema}.load_part order by part");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&work.pool).await?;
    let parts = rows.iter().map(|row| {
        Ok::<_, sqlx::Error>(Part { number: row.try_get(0)?, parts: row.try_get(1)?, position: row.try_get(2)? })
    });
    let parts: Vec<Part> = parts.collect::<Result<_, _>>()?;
    let target = work.generation.target;
    work.progress.begin_load(parts.iter().map(|part| part.position).sum(), parts.len());
    let (jobs, sizes) = (options.jobs.clamp(1, 8), options.sizes);
    let mut left = parts.into_iter().filter(|part| part.position < target).collect::<Vec<_>>().into_iter();
    let mut running = JoinSet::new();
    let mut done = Ok(());
    loop {
        while running.len() < jobs
            && done.is_ok()
            && let Some(part) = left.next()
        {
            let (work, throttle) = (work.clone(), Throttle::new(work.share, jobs));
            running.spawn(async move { load(projection, &work, part, sizes, throttle).await });
        }
        match running.join_next().await {
            None => return done,
            // The others come to their next page, and so to the end of what they ask: what is broken off in the middle of an
            // answer leaves the rest of it to whoever has the connection next.
            Some(Ok(Err(error))) if done.is_ok() => {
                work.halt();
                done = Err(error);
            }
            Some(Ok(_)) => {}
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

async fn load(
    projection: &'static Projection,
    work: &Work,
    mut part: Part,
    sizes: Sizes,
    mut throttle: Throttle,
) -> Result<(), Error> {
    let target = work.generation.target;
    let mut gathered = projection.gather();
    let mut late = Vec::new();
    let mut at = part.position;
    while at < target {
        work.check()?;
        throttle.begin();
        let until = target.min(at + sizes.page);
        let span = Span { after: at, until, streams: projection.streams, part: part.number, parts: part.parts };
        let mut events = pin!(work.store.span(&span));
        while let Some(event) = events.try_next().await? {
            match projection.concerns(&event).and_then(|_| gathered.take(&event)) {
                Ok(Taken::Late) => late.push(event.position),
                Ok(Taken::Gathered | Taken::Foreign) => {}
                Err(error) if error.is_of_an_event() => {
                    // By the usual way it will be parked: with all its events, those here and those before this page.
                    gathered.drop_thing(event.id);
                    let history = work.store.stream(&event.stream, event.id).await?;
                    let so_far = history.iter().map(|past| past.position);
                    let written = late.iter().copied().collect::<HashSet<_>>();
                    let unwritten = so_far.filter(|past| *past <= event.position && !written.contains(past));
                    let unwritten: Vec<i64> = unwritten.collect();
                    late.extend(unwritten);
                }
                Err(error) => return Err(error.into()),
            }
        }
        work.progress.loaded(until - at);
        at = until;
        if at == target || gathered.weight() > sizes.gathered {
            write(projection, work, &mut gathered, &late, &mut part, at).await?;
            late.clear();
        }
        throttle.rest().await;
    }
    Ok(())
}

/// Writes what was gathered up to `at`, with how far the part has come.
async fn write(
    projection: &'static Projection,
    work: &Work,
    gathered: &mut Gathered,
    late: &[i64],
    part: &mut Part,
    at: i64,
) -> Result<(), Error> {
    let mut connection = work.pool.acquire().await?;
    let written = write_on(projection, &mut connection, work, gathered, late, part, at).await;
    if written.is_err() {
        // What a copy that broke off has left unread would be taken for the answer to whatever is asked next.
        connection.close_on_drop();
    }
    written
}

async fn write_on(
    projection: &'static Projection,
    connection: &mut PgConnection,
    work: &Work,
    gathered: &mut Gathered,
    late: &[i64],
    part: &mut Part,
    at: i64,
) -> Result<(), Error> {
    let schema = work.generation.schema();
    let mut tx = generation::transaction(connection, &work.generation, work.holder).await?;
    for load in gathered.hand_out().iter().filter(|load| !load.rows.is_empty()) {
        copy(&mut tx, load).await?;
    }
    if projection.has_sums() {
        // Parts of the log add to the same rows, one after the other.
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))").bind(&schema).execute(&mut *tx).await?;
        gathered.merge(&mut tx).await?;
    }
    let sql = format!("insert into {schema}.load_late select unnest($1::bigint[]) on conflict do nothing");
    sqlx::query(AssertSqlSafe(sql)).bind(late).execute(&mut *tx).await?;
    let sql = format!("update {schema}.load_part set position = $2 where part = $1");
    sqlx::query(AssertSqlSafe(sql)).bind(part.number).bind(at).execute(&mut *tx).await?;
    events::failpoint::reach("rebuild.load");
    tx.commit().await?;
    part.position = at;
    Ok(())
}

/// Writes rows of a table that the connection finds by its name.
pub(crate) async fn copy(tx: &mut PgConnection, load: &Load) -> Result<(), sqlx::Error> {
    /// How much of the rows one message carries.
    const MESSAGE: usize = 64 << 10;
    let columns = load.columns.join(", ");
    let mut copy = tx.copy_in_raw(&format!("copy {} ({columns}) from stdin (format binary)", load.table)).await?;
    copy.send(bulk::HEAD).await?;
    for piece in load.rows.chunks(MESSAGE) {
        copy.send(piece).await?;
    }
    copy.send(bulk::TAIL).await?;
    copy.finish().await?;
    Ok(())
}

/// Gives the tables the indexes and keys that the live ones have, under the same names; those that are there already stay.
pub(super) async fn indexes(projection: &'static Projection, work: &Work) -> Result<(), Error> {
    let schema = work.generation.schema();
    let mut throttle = Throttle::single(work.share);
    for table in projection.table_names() {
        let wanted = sqlx::query(
            "select c.relname, pg_get_indexdef(i.indexrelid, 0, true), k.conname, pg_get_constraintdef(k.oid)
             from pg_index i join pg_class c on c.oid = i.indexrelid
             left join pg_constraint k on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
             where i.indrelid = ('read.' || $1)::regclass and to_regclass($2 || '.' || quote_ident(c.relname)) is null
             order by i.indisprimary desc, c.relname",
        )
        .bind(table)
        .bind(&schema)
        .fetch_all(&work.pool)
        .await?;
        for index in wanted {
            work.check()?;
            throttle.begin();
            let (name, constraint): (Option<String>, Option<String>) = (index.try_get(2)?, index.try_get(3)?);
            // The definition names the table alone, as the live one is found without its schema.
            let sql = match name.zip(constraint) {
                Some((name, constraint)) => format!("alter table {table} add constraint {name} {constraint}"),
                None => index.try_get(1)?,
            };
            let mut connection = work.pool.acquire().await?;
            let mut tx = generation::transaction(&mut connection, &work.generation, work.holder).await?;
            // One core, and no more.
            let settings = "set local max_parallel_maintenance_workers = 0; set local maintenance_work_mem = '128MB'";
            tx.execute(sqlx::raw_sql(settings)).await?;
            tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
            tx.commit().await?;
            throttle.rest().await;
        }
        // Without statistics the first queries after the switch would be planned blindly.
        throttle.begin();
        work.pool.execute(sqlx::raw_sql(AssertSqlSafe(format!("analyze {schema}.{table}")))).await?;
        throttle.rest().await;
    }
    Ok(())
}

/// Applies the events of things whose rows were written already, in order, as a projector does.
pub(super) async fn late(projection: &'static Projection, work: &Work) -> Result<(), Error> {
    let schema = work.generation.schema();
    let mut throttle = Throttle::new(work.share, 1);
    let mut care = Care::Swift;
    loop {
        work.check()?;
        throttle.begin();
        let sql = format!("select position from {schema}.load_late order by position limit $1");
        let positions: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(sql)).bind(LATE).fetch_all(&work.pool).await?;
        if positions.is_empty() {
            return Ok(());
        }
        let events: Vec<Arc<Recorded>> = work.store.at(&positions).await?.into_iter().map(Arc::new).collect();
        let last = events.last().map_or(0, |last| last.position);
        let mut connection = work.pool.acquire().await?;
        let mut tx = generation::transaction(&mut connection, &work.generation, work.holder).await?;
        match generation::apply(projection, &mut tx, &work.generation, &events, care).await {
            Err(error) if error.is_of_an_event() && care == Care::Swift => {
                tx.rollback().await?;
                care = Care::Careful;
                continue;
            }
            applied => applied?,
        }
        care = Care::Swift;
        let sql = format!("delete from {schema}.load_late where position <= $1");
        sqlx::query(AssertSqlSafe(sql)).bind(last).execute(&mut *tx).await?;
        events::failpoint::reach("rebuild.late");
        tx.commit().await?;
        throttle.rest().await;
    }
}
