//! A projection's rows made anew while the old ones serve: built beside them, compared with them, and exchanged for them.
//!
//! A generation has a schema of its own. The bulk of the log is folded in memory and loaded into tables without indexes
//! (`load`); what remains is applied by the projection's usual way, and so is what the live projection does meanwhile
//! (`follow`). Then both stand at one position in one snapshot, and are compared (`compare`). The tables change places in
//! one transaction with the checkpoint (`switch`): it moves nowhere, so no query ever sees an earlier position.
//!
//! Whoever is killed at any instant leaves the live rows alone, and the generation as far as it was committed: the next one
//! goes on from there, or drops it.

pub(crate) mod compare;
mod error;
pub(crate) mod explain;
mod follow;
mod generation;
mod live;
pub(crate) mod load;
pub(crate) mod progress;
mod report;
mod say;
mod space;
mod standing;
mod switch;
pub(crate) mod throttle;
mod work;

use events::{Store, clock};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use error::Error;
pub use generation::{Generation, schema};
pub use live::{Basis, Live};
pub use progress::{Glance, Phase, Progress};
pub use report::{Counts, Decision, Differences, Explanation, Report, Sample, Table, Values};
pub use say::say;
pub use standing::{Standing, standings};

use crate::projection::Projection;
use follow::Followed;
use switch::{Exchanged, Wanted};
use work::Work;

/// What a rebuild works with.
#[derive(Clone)]
pub struct Workshop {
    /// The log; read through `pool`.
    pub store: Store,
    /// Connections of its own: [`service::db::Kind::Rebuild`].
    pub pool: PgPool,
}

impl Workshop {
    /// On a log, and a pool of that kind.
    pub fn new(store: &Store, pool: PgPool) -> Self {
        Self { store: store.through(pool.clone()), pool }
    }
}

/// How a rebuild is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stops at this position, without comparing or switching: the generation waits there as a candidate.
    pub until: Option<i64>,
    /// How many parts of the log are read beside each other.
    pub jobs: usize,
    /// How many cores it may keep busy.
    pub share: f64,
    /// How many rows may differ [default: none, or any number for a new version].
    pub max_changed: Option<i64>,
    /// Switches nothing.
    pub dry_run: bool,
    /// Takes over whatever differs; and the candidate, where one waits.
    pub approve: bool,
    /// Who asked for it, where it was a user.
    pub actor: Option<Uuid>,
    /// The event that asks for it, where one does: what was decided after it has answered it.
    pub asked: Option<i64>,
    /// How much is taken at a time.
    pub sizes: Sizes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            until: None,
            jobs: 2,
            share: 0.5,
            max_changed: None,
            dry_run: false,
            approve: false,
            actor: None,
            asked: None,
            sizes: Sizes::default(),
        }
    }
}

/// How much a job takes at a time while it loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// How many positions one statement reads.
    pub page: i64,
    /// About how many bytes of rows it gathers before it writes them.
    pub gathered: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { page: 10_000, gathered: 32 << 20 }
    }
}

/// What became of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A decision, and why.
    Decided(Box<Report>),
    /// A candidate waits at this position.
    Waits {
        /// Its number.
        generation: i32,
        /// Where it stands.
        position: i64,
    },
}

/// Builds `P` anew, or goes on with what was begun, and exchanges it for the live rows if it may.
pub async fn run(
    projection: &'static Projection,
    workshop: &Workshop,
    options: &Options,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Outcome, Error> {
    let live = Live::find(projection, &workshop.pool, &workshop.store).await?;
    if live.version > projection.version {
        return Err(Error::Newer { name: projection.name.to_owned(), live: live.version, own: projection.version });
    }
    let head = workshop.store.head().await?;
    if let Some(position) = options.until
        && position > head
    {
        return Err(Error::PastHead { position, head });
    }
    // Not further than the live rows, which it is to be compared with.
    let target = options.until.unwrap_or(if live.basis == Basis::Rows { live.position } else { head });
    let holder = clock::id();
    let generation = begin(projection, workshop, options, &live, target, holder).await?;
    progress.aim(generation.target);
    let (mut work, _signs) =
        Work::begin(workshop, generation, holder, options.share, progress.clone(), stop.child_token());
    let done = match options.asked {
        // Another process may have made its exchange since the request was read: nobody does from here on.
        Some(asked) if is_answered(projection, &work.pool, asked).await? => {
            Err(Error::Answered { name: projection.name.to_owned() })
        }
        _ => build_and_decide(projection, &mut work, options).await,
    };
    match done {
        // To go on with it would come to the same again.
        Err(error) if error.is_disk_full() || error.is_mass_of_parked() || matches!(error, Error::Answered { .. }) => {
            work.leave(false).await?;
            let generation = Generation::next(&work.pool, projection.name).await?;
            if let Some(generation) = generation.filter(|one| one.number == work.generation.number) {
                generation.discard(&work.pool).await?;
            }
            Err(if error.is_disk_full() { Error::DiskFull { name: projection.name.to_owned() } } else { error })
        }
        Err(error) => {
            // Not for long where the database is away; it counts as left after a while anyway.
            if !matches!(error, Error::Lost { .. } | Error::Database(_)) {
                work.leave(false).await?;
            }
            Err(error)
        }
        Ok(outcome) => Ok(outcome),
    }
}

/// Makes the generation that was live before live again, once it has caught up.
pub async fn rollback(
    projection: &'static Projection,
    workshop: &Workshop,
    options: &Options,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Outcome, Error> {
    let name = || projection.name.to_owned();
    let previous = Generation::previous(&workshop.pool, projection.name).await?;
    let previous = previous.ok_or_else(|| Error::Nothing { name: name(), what: "generation that was live before" })?;
    if previous.version != projection.version {
        return Err(Error::OtherVersion { name: name(), kept: previous.version, own: projection.version });
    }
    let holder = clock::id();
    let generation = previous.take(&workshop.pool, holder).await?;
    progress.aim(generation.position);
    let (mut work, _signs) =
        Work::begin(workshop, generation, holder, options.share, progress.clone(), stop.child_token());
    let options = Options { approve: true, dry_run: false, until: None, ..options.clone() };
    let done = decide(projection, &mut work, &options, Decision::RolledBack).await;
    if done.is_err() {
        work.leave(false).await?;
    }
    done
}

/// Drops the generation that waits or was left behind; with `previous`, the one that was live before.
pub async fn discard(
    projection: &'static Projection,
    workshop: &Workshop,
    previous: bool,
) -> Result<Generation, Error> {
    let pool = &workshop.pool;
    let (found, what) = if previous {
        (Generation::previous(pool, projection.name).await?, "generation that was live before")
    } else {
        (Generation::next(pool, projection.name).await?, "candidate")
    };
    let generation = found.ok_or_else(|| Error::Nothing { name: projection.name.to_owned(), what })?;
    generation.clone().discard(pool).await?;
    Ok(generation)
}

/// The generation to work at: the candidate that is approved, one that was left behind, or a new one.
async fn begin(
    projection: &'static Projection,
    workshop: &Workshop,
    options: &Options,
    live: &Live,
    target: i64,
    holder: Uuid,
) -> Result<Generation, Error> {
    let pool = &workshop.pool;
    if let Some(there) = Generation::next(pool, projection.name).await? {
        if there.is_held {
            return Err(Error::Running { name: projection.name.to_owned() });
        }
        let is_ours = there.version == projection.version && is_of_this_log(workshop, &there).await?;
        let goes_on = match there.state.as_str() {
            "candidate" => options.approve,
            // Its target may be older: what has come since is followed.
            _ => options.until.is_none_or(|until| until == there.target),
        };
        if is_ours && goes_on {
            return there.take(pool, holder).await;
        }
        there.discard(pool).await?;
    }
    space::check(projection, pool).await?;
    let parts = i32::try_from(options.jobs.clamp(1, 8)).unwrap_or(1);
    Generation::begin(projection, pool, live, target, parts, holder).await
}

/// Whether something was decided about `P` that the log was told of after the position `asked`, or is to be told of.
async fn is_answered(projection: &'static Projection, pool: &PgPool, asked: i64) -> Result<bool, Error> {
    let answered = sqlx::query_scalar!(
        r#"select exists (select from ops.report where projection = $1 and decision <> 'dry_run'
                          and (said_at is null or said_at > $2)) as "answered!""#,
        projection.name,
        asked
    );
    Ok(answered.fetch_one(pool).await?)
}

/// Whether what it has is of the log as it is.
async fn is_of_this_log(workshop: &Workshop, generation: &Generation) -> Result<bool, Error> {
    if generation.position == 0 {
        return Ok(generation.target <= workshop.store.head().await?);
    }
    let there = workshop.store.identity(generation.position).await?;
    Ok(there.map(|identity| identity.event_id) == generation.event_id)
}

async fn build_and_decide(
    projection: &'static Projection,
    work: &mut Work,
    options: &Options,
) -> Result<Outcome, Error> {
    if work.generation.phase == "load" {
        work.enter(Phase::Load).await?;
        load::parts(projection, work, options).await?;
        work.enter(Phase::Index).await?;
    }
    if work.generation.phase == "index" {
        work.progress.enter(Phase::Index);
        load::indexes(projection, work).await?;
        work.enter(Phase::Late).await?;
    }
    if work.generation.phase == "late" {
        work.progress.enter(Phase::Late);
        load::late(projection, work).await?;
        follow::begin(work).await?;
        work.enter(Phase::Follow).await?;
    }
    if options.until.is_some() {
        work.leave(true).await?;
        let Generation { number, position, .. } = work.generation;
        return Ok(Outcome::Waits { generation: number, position });
    }
    decide(projection, work, options, Decision::Switched).await
}

/// Compares, and exchanges or leaves a candidate.
async fn decide(
    projection: &'static Projection,
    work: &mut Work,
    options: &Options,
    wish: Decision,
) -> Result<Outcome, Error> {
    let mut at = Followed { position: work.generation.position, ..Followed::default() };
    loop {
        let live = Live::read(projection, work).await?;
        work.progress.enter(Phase::Follow);
        if live.basis == Basis::Rows {
            follow::up_to_live(projection, work, &mut at).await?;
        }
        work.enter(Phase::Compare).await?;
        let found = match live.basis {
            Basis::Rows => Some(compared(projection, work, &mut at).await?),
            Basis::Nothing | Basis::OtherLog => None,
        };
        let declared = live.version != work.generation.version;
        let allowed = match options.max_changed {
            _ if options.approve => i64::MAX,
            Some(most) => most,
            None if declared => i64::MAX,
            None => 0,
        };
        let counts = found.as_ref().map(Differences::counts).unwrap_or_default();
        let is_allowed = counts.all() <= allowed && (live.basis != Basis::OtherLog || options.approve);
        let mut report = Report {
            id: clock::id(),
            projection: projection.name.to_owned(),
            generation: work.generation.number,
            version: work.generation.version,
            live_generation: live.generation,
            live_version: live.version,
            position: at.position,
            compared: found.is_some(),
            counts,
            tables: found.as_ref().map(|found| found.tables.clone()).unwrap_or_default(),
            samples: found.as_ref().map(|found| found.samples.clone()).unwrap_or_default(),
            decision: wish,
            allowed: is_allowed,
            reason: reason(&live, counts, allowed, options.approve, declared),
            actor: options.actor,
        };
        if options.dry_run || !is_allowed {
            let decision = if options.dry_run { Decision::DryRun } else { Decision::Stopped };
            switch::keep(work, &mut report, decision).await?;
            work.leave(true).await?;
            return Ok(Outcome::Decided(Box::new(report)));
        }
        work.enter(Phase::Switch).await?;
        let wanted = Wanted { found: found.as_ref(), allowed, report };
        match switch::exchange(projection, work, &live, &mut at, wanted).await? {
            Exchanged::Done(report) => return Ok(Outcome::Decided(Box::new(report))),
            Exchanged::Stopped(mut report) => {
                report.allowed = false;
                report.reason = reason(&live, report.counts, allowed, options.approve, declared);
                switch::keep(work, &mut report, Decision::Stopped).await?;
                work.leave(true).await?;
                return Ok(Outcome::Decided(Box::new(report)));
            }
            Exchanged::Begun => at.things.clear(),
        }
    }
}

/// All rows of both, in one snapshot, with what explains the differences. What is followed after that is noted in `at`.
async fn compared(projection: &'static Projection, work: &Work, at: &mut Followed) -> Result<Differences, Error> {
    let mut connection = work.pool.acquire().await?;
    let (mut tx, position) = switch::snapshot(projection, work, &mut connection, at).await?;
    at.things.clear();
    let mut found = compare::all(projection, work, &mut tx).await?;
    tx.rollback().await?;
    explain::all(projection, &work.store, &mut found.samples, position).await?;
    Ok(found)
}

fn reason(live: &Live, counts: Counts, allowed: i64, approved: bool, declared: bool) -> String {
    let own = |text: &str| text.to_owned();
    match live.basis {
        Basis::Nothing => own("there was nothing live to compare with"),
        Basis::OtherLog if approved => own("approved; the live rows are of another log"),
        Basis::OtherLog => {
            own("the live rows are of another log, so there is nothing to compare with: it needs approval")
        }
        Basis::Rows if counts.all() == 0 => own("no row differs"),
        Basis::Rows if approved => format!("approved, with {} rows that differ", counts.all()),
        Basis::Rows if counts.all() > allowed => format!("{} rows differ, and {allowed} may", counts.all()),
        Basis::Rows if declared => format!("a new version; {} rows differ", counts.all()),
        Basis::Rows => format!("{} rows differ, and {allowed} may", counts.all()),
    }
}
