//! Whether rows are what the log says: things folded again from their events, and compared with the live rows.
//!
//! The log is walked through in stretches. The things that begin in one are folded in memory up to the position where the live
//! rows stand, put into temporary tables, and compared in the same snapshot. What differs is a [`Finding`], with the first
//! event after which row and fold differ. Nothing is changed, unless [`repair`] is told to.

mod finding;
mod refold;
mod repair;
mod scrub;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use finding::{Finding, say};
use refold::Refold;
pub use repair::repair;
pub use scrub::{Scrub, run as scrub};

use crate::{
    bulk::Taken,
    projection::Projection,
    rebuild::{Error, Progress, Sample, Workshop, compare, explain, load, progress::Phase, throttle::Throttle},
};

/// How many positions are walked through at a time.
pub const STRETCH: i64 = 10_000;
/// The most findings of one stretch and table.
const MOST: usize = 100;

/// How a projection is verified.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The share of all things that are looked at, by chance; 1 for all.
    pub sample: f64,
    /// How many cores it may keep busy.
    pub share: f64,
    /// How many stretches of the log are worked at beside each other.
    pub jobs: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { sample: 1.0, share: 0.5, jobs: 2 }
    }
}

/// What verifying has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Where the live rows stood at last.
    pub position: i64,
    /// How many things were compared.
    pub things: usize,
    /// What differs.
    pub findings: Vec<Finding>,
}

/// Verifies `P`.
pub async fn verify(
    projection: &'static Projection,
    workshop: &Workshop,
    options: Options,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Verified, Error> {
    let head = workshop.store.head().await?;
    progress.aim(head);
    progress.enter(Phase::Load);
    progress.begin_load(0, 1);
    if projection.has_sums() {
        return refolded(projection, workshop, options, head, progress, stop).await;
    }
    let walk = Walk { workshop: workshop.clone(), options, head, next: Arc::default(), progress: progress.clone() };
    let mut jobs = JoinSet::new();
    let halt = stop.child_token();
    for _ in 0..options.jobs.clamp(1, 8) {
        let (walk, halt) = (walk.clone(), halt.clone());
        jobs.spawn(async move { walk.run(projection, &halt).await });
    }
    let mut verified = Verified { position: 0, things: 0, findings: Vec::new() };
    let mut failed = None;
    while let Some(job) = jobs.join_next().await {
        match job.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())) {
            Ok(job) => {
                verified.position = verified.position.max(job.position);
                verified.things += job.things;
                verified.findings.extend(job.findings);
            }
            Err(error) => {
                // The others finish the stretch that they are at.
                halt.cancel();
                failed.get_or_insert(error);
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if options.sample >= 1.0 {
        let mut scratch = Scratch::open(&[projection], workshop).await?;
        verified.findings.extend(scratch.foreign(projection, workshop).await?);
        scratch.connection.close().await?;
    }
    let place = |one: &Finding| (one.event_position, one.thing, one.relation.clone(), one.row_version);
    verified.findings.sort_by_key(place);
    Ok(verified)
}

/// Verifies a projection with sums, all of it.
async fn refolded(
    projection: &'static Projection,
    workshop: &Workshop,
    options: Options,
    head: i64,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Verified, Error> {
    let mut scratch = Scratch::open(&[projection], workshop).await?;
    let mut throttle = Throttle::new(options.share, 1);
    let mut refold = Refold::default();
    let mut until = 0;
    while until < head {
        if stop.is_cancelled() {
            return Err(Error::Interrupted { name: projection.name.to_owned() });
        }
        throttle.begin();
        let stretch = STRETCH.min(head - until);
        until += stretch;
        refold.up_to(projection, workshop, &mut scratch, until).await?;
        progress.loaded(stretch);
        throttle.rest().await;
    }
    let Stretch { position, things, findings } = refold.compare(projection, workshop, &mut scratch).await?;
    scratch.connection.close().await?;
    Ok(Verified { position, things, findings })
}

/// A way through the log, whose stretches several jobs take in turns.
#[derive(Clone)]
struct Walk {
    workshop: Workshop,
    options: Options,
    head: i64,
    /// Where the next stretch begins.
    next: Arc<AtomicI64>,
    progress: Progress,
}

impl Walk {
    /// What the stretches come to that this job has taken.
    async fn run(&self, projection: &'static Projection, stop: &CancellationToken) -> Result<Stretch, Error> {
        let Self { workshop, options, head, next, progress } = self;
        let mut scratch = Scratch::open(&[projection], workshop).await?;
        let mut sum = Stretch { position: 0, things: 0, findings: Vec::new() };
        let mut throttle = Throttle::new(options.share, options.jobs);
        loop {
            let after = next.fetch_add(STRETCH, Ordering::Relaxed);
            if after >= *head {
                scratch.connection.close().await?;
                return Ok(sum);
            }
            if stop.is_cancelled() {
                return Err(Error::Interrupted { name: projection.name.to_owned() });
            }
            throttle.begin();
            let until = (*head).min(after + STRETCH);
            let stretch = scratch.stretch(projection, workshop, after, until, options.sample).await?;
            sum.position = sum.position.max(stretch.position);
            sum.things += stretch.things;
            sum.findings.extend(stretch.findings);
            progress.loaded(until - after);
            throttle.rest().await;
        }
    }
}

/// What a stretch has shown.
struct Stretch {
    position: i64,
    things: usize,
    findings: Vec<Finding>,
}

/// A connection with temporary tables, which hide the live ones from whoever names no schema.
struct Scratch {
    connection: PgConnection,
}

impl Scratch {
    async fn open(projections: &[&'static Projection], workshop: &Workshop) -> Result<Self, Error> {
        let options = (*workshop.pool.connect_options()).clone();
        let mut connection = PgConnection::connect_with(&options).await?;
        for projection in projections {
            // A few thousand rows are joined by hash, and gone again: indexes would cost more than they bring. Where all is
            // applied again in the usual way it goes by keys.
            let indexes = if projection.has_sums() { "" } else { "excluding indexes" };
            for table in projection.table_names() {
                let options = format!("including all {indexes} excluding statistics");
                let sql = format!("create temporary table {table} (like read.{table} {options})");
                connection.execute(AssertSqlSafe(sql)).await?;
            }
        }
        Ok(Self { connection })
    }

    /// Compares the things, or a share of them, that begin in a stretch of the log.
    async fn stretch(
        &mut self,
        projection: &'static Projection,
        workshop: &Workshop,
        after: i64,
        until: i64,
        sample: f64,
    ) -> Result<Stretch, Error> {
        let things = workshop.store.begun(after, until, projection.streams, sample).await?;
        self.things(projection, workshop, &things).await
    }

    /// Compares these things.
    async fn things(
        &mut self,
        projection: &'static Projection,
        workshop: &Workshop,
        things: &[Uuid],
    ) -> Result<Stretch, Error> {
        let mut tx = self.connection.begin_with("begin isolation level repeatable read").await?;
        // The first statement takes the snapshot.
        let live = sqlx::query!("select position, generation from read.checkpoint where name = $1", projection.name)
            .fetch_optional(&mut *tx)
            .await?;
        let nothing = |position| Stretch { position, things: 0, findings: Vec::new() };
        let Some(live) = live else { return Ok(nothing(0)) };
        if things.is_empty() {
            return Ok(nothing(live.position));
        }
        let parked = sqlx::query_scalar!(
            "select id from ops.parked where projection = $1 and generation = $2 and id = any ($3)",
            projection.name,
            live.generation,
            things
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut things: Vec<Uuid> = things.iter().copied().filter(|thing| !parked.contains(thing)).collect();
        let mut gathered = projection.gather();
        let mut unfolded = Vec::new();
        {
            let mut events = pin!(workshop.store.of(projection.streams, &things, live.position));
            while let Some(event) = events.try_next().await? {
                match projection.concerns(&event).and_then(|_| gathered.take(&event)) {
                    Ok(Taken::Gathered | Taken::Foreign | Taken::Late) => {}
                    // What cannot be folded is parked by the projector, and seen there.
                    Err(error) if error.is_of_an_event() => {
                        gathered.drop_thing(event.id);
                        unfolded.push(event.id);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        things.retain(|thing| !unfolded.contains(thing));
        tx.execute(AssertSqlSafe(format!("truncate pg_temp.{}", projection.table_names().join(", pg_temp.")))).await?;
        for rows in gathered.hand_out().iter().filter(|rows| !rows.rows.is_empty()) {
            load::copy(&mut tx, rows).await?;
        }
        let found = compare::things(projection, "pg_temp", &mut tx, &things, MOST).await?;
        tx.commit().await?;
        let findings = told(projection, workshop, found.samples, live.position).await?;
        finding::close_others(projection, workshop, &things, &findings).await?;
        Ok(Stretch { position: live.position, things: things.len(), findings })
    }

    /// Rows of things that the log does not know.
    async fn foreign(&mut self, projection: &'static Projection, workshop: &Workshop) -> Result<Vec<Finding>, Error> {
        let mut things = Vec::new();
        for table in projection.table_names() {
            let sql = format!(
                "select distinct t.id from read.{table} t
                 where not exists (select from event e where e.stream = any ($1) and e.id = t.id) limit $2"
            );
            let streams: Vec<&str> = projection.streams.to_vec();
            let query =
                sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(sql)).bind(streams).bind(i64::try_from(MOST).unwrap_or(1));
            things.extend(query.fetch_all(&workshop.pool).await?);
        }
        things.sort_unstable();
        things.dedup();
        Ok(self.things(projection, workshop, &things).await?.findings)
    }
}

/// The samples as findings that are kept, each with its event.
async fn told(
    projection: &'static Projection,
    workshop: &Workshop,
    mut samples: Vec<Sample>,
    position: i64,
) -> Result<Vec<Finding>, Error> {
    explain::all(projection, &workshop.store, &mut samples, position).await?;
    let mut findings = Vec::with_capacity(samples.len());
    for sample in samples {
        findings.push(Finding::keep(projection, workshop, sample, position).await?);
    }
    Ok(findings)
}
