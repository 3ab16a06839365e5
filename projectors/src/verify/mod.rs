//! Whether rows are what the log says: things folded again from their events, and compared with the live rows.
//!
//! The log is walked through in stretches. The things that begin in one are folded in memory up to the position where the live
//! rows stand, put into temporary tables, and compared in the same snapshot. What differs is a [`Finding`], with the first
//! event after which row and fold differ. Nothing is changed, unless [`repair`] is told to.

mod finding;
mod repair;
mod scrub;

use std::pin::pin;

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use finding::{Finding, say};
pub use repair::repair;
pub use scrub::{Scrub, run as scrub};

use crate::{
    bulk::{Bulk, Taken},
    projection::{Projection, concerns},
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
pub async fn verify<P: Projection>(
    workshop: &Workshop,
    options: Options,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Verified, Error> {
    let mut scratch = Scratch::open::<P>(workshop).await?;
    let mut verified = Verified { position: 0, things: 0, findings: Vec::new() };
    let mut throttle = Throttle::new(options.share, 1);
    let head = workshop.store.head().await?;
    progress.aim(head);
    progress.enter(Phase::Load);
    progress.begin_load(0, 1);
    let mut after = 0;
    while after < head {
        if stop.is_cancelled() {
            return Err(Error::Interrupted { name: P::NAME.to_owned() });
        }
        throttle.begin();
        let until = head.min(after + STRETCH);
        let stretch = scratch.stretch::<P>(workshop, after, until, options.sample).await?;
        verified.position = stretch.position;
        verified.things += stretch.things;
        verified.findings.extend(stretch.findings);
        progress.loaded(until - after);
        after = until;
        throttle.rest().await;
    }
    if options.sample >= 1.0 {
        verified.findings.extend(scratch.foreign::<P>(workshop).await?);
    }
    scratch.connection.close().await?;
    Ok(verified)
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
    async fn open<P: Projection>(workshop: &Workshop) -> Result<Self, Error> {
        let options = (*workshop.pool.connect_options()).clone();
        let mut connection = PgConnection::connect_with(&options).await?;
        for table in P::TABLES {
            let sql = format!("create temporary table {table} (like read.{table} including all excluding statistics)");
            connection.execute(AssertSqlSafe(sql)).await?;
        }
        Ok(Self { connection })
    }

    /// Compares the things, or a share of them, that begin in a stretch of the log.
    async fn stretch<P: Projection>(
        &mut self,
        workshop: &Workshop,
        after: i64,
        until: i64,
        sample: f64,
    ) -> Result<Stretch, Error> {
        let things = workshop.store.begun(after, until, P::STREAMS, sample).await?;
        self.things::<P>(workshop, &things).await
    }

    /// Compares these things.
    async fn things<P: Projection>(&mut self, workshop: &Workshop, things: &[Uuid]) -> Result<Stretch, Error> {
        let mut tx = self.connection.begin_with("begin isolation level repeatable read").await?;
        // The first statement takes the snapshot.
        let live = sqlx::query!("select position, generation from read.checkpoint where name = $1", P::NAME)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(live) = live else { return Ok(Stretch { position: 0, things: 0, findings: Vec::new() }) };
        let parked = sqlx::query_scalar!(
            "select id from ops.parked where projection = $1 and generation = $2 and id = any ($3)",
            P::NAME,
            live.generation,
            things
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut things: Vec<Uuid> = things.iter().copied().filter(|thing| !parked.contains(thing)).collect();
        let mut gathered = P::Bulk::default();
        let mut unfolded = Vec::new();
        {
            let mut events = pin!(workshop.store.of(P::STREAMS, &things, live.position));
            while let Some(event) = events.try_next().await? {
                match concerns::<P>(&event).and_then(|_| gathered.take(&event)) {
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
        tx.execute(AssertSqlSafe(format!("truncate pg_temp.{}", P::TABLES.join(", pg_temp.")))).await?;
        for rows in gathered.hand_out().iter().filter(|rows| !rows.rows.is_empty()) {
            load::copy(&mut tx, rows).await?;
        }
        let found = compare::things::<P>("pg_temp", &mut tx, &things, MOST).await?;
        tx.commit().await?;
        let findings = told::<P>(workshop, found.samples, live.position).await?;
        finding::close_others::<P>(workshop, &things, &findings).await?;
        Ok(Stretch { position: live.position, things: things.len(), findings })
    }

    /// Rows of things that the log does not know.
    async fn foreign<P: Projection>(&mut self, workshop: &Workshop) -> Result<Vec<Finding>, Error> {
        let mut things = Vec::new();
        for table in P::TABLES {
            let sql = format!(
                "select distinct t.id from read.{table} t
                 where not exists (select from event e where e.stream = any ($1) and e.id = t.id) limit $2"
            );
            let streams: Vec<&str> = P::STREAMS.to_vec();
            let query =
                sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(sql)).bind(streams).bind(i64::try_from(MOST).unwrap_or(1));
            things.extend(query.fetch_all(&workshop.pool).await?);
        }
        things.sort_unstable();
        things.dedup();
        Ok(self.things::<P>(workshop, &things).await?.findings)
    }
}

/// The samples as findings that are kept, each with its event.
async fn told<P: Projection>(
    workshop: &Workshop,
    mut samples: Vec<Sample>,
    position: i64,
) -> Result<Vec<Finding>, Error> {
    explain::all::<P>(&workshop.store, &mut samples, position).await?;
    let mut findings = Vec::with_capacity(samples.len());
    for sample in samples {
        findings.push(Finding::keep::<P>(workshop, sample, position).await?);
    }
    Ok(findings)
}
