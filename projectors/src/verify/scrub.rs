//! Verifying, always on: a little at a time, within a budget, round and round.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use clap::Args;
use events::clock;
use service::telemetry::name;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Finding, Scratch, finding, refold::Refold};
use crate::{
    projection::Projection,
    rebuild::{Error, Workshop, throttle::Throttle},
};

/// How many positions are walked through at a time: a fraction of a second of work.
const STRETCH: i64 = 500;
/// The pause where there is nothing to do, and after an error.
const PAUSE: Duration = Duration::from_secs(30);
/// For how long who scrubs is believed to be at it, in seconds: longer than any rest.
const LEASE: f64 = 120.0;
/// The days for which coverage is counted.
const DAYS: f64 = 30.0;

/// How much of the machine verifying may take in the background.
#[derive(Args, Clone, Copy, Debug)]
pub struct Scrub {
    /// Cores that comparing rows with the log in the background may keep busy, all projections together; 0 for none.
    #[arg(long, env = "DAYBOOK_SCRUB", default_value_t = 0.01, value_name = "CORES")]
    pub scrub: f64,
}

impl Default for Scrub {
    fn default() -> Self {
        Self { scrub: 0.01 }
    }
}

/// Scrubs all these projections, in turns, within so many cores together until `soft`, if no other process does.
pub async fn run(
    projections: &'static [&'static Projection],
    workshop: Workshop,
    cores: f64,
    soft: CancellationToken,
) -> Result<(), Infallible> {
    let scrubbing = async {
        let holder = clock::id();
        loop {
            if let Err(error) = turns(projections, &workshop, cores, holder).await {
                tracing::warn!(%error, "scrubbing begins again later");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    if cores <= 0.0 {
        soft.cancelled().await;
        return Ok(());
    }
    tokio::select! {
        () = soft.cancelled() => Ok(()),
        never = scrubbing => never,
    }
}

/// A stretch of each projection after the other, round and round, until an error, or until there is nothing to be done.
async fn turns(
    projections: &'static [&'static Projection],
    workshop: &Workshop,
    cores: f64,
    holder: Uuid,
) -> Result<(), Error> {
    let mut scratch = Scratch::open(projections, workshop).await?;
    let mut throttle = Throttle::new(cores, 1);
    let mut refolds: HashMap<&str, Refold> = HashMap::new();
    loop {
        let mut is_idle = true;
        for projection in projections {
            if !workshop.store.lease("scrub", holder, LEASE).await? {
                return Ok(());
            }
            throttle.begin();
            let refold = refolds.entry(projection.name).or_default();
            match step(projection, workshop, &mut scratch, refold).await {
                Ok(done) => is_idle &= !done,
                // The others are looked at nevertheless; the connection is left in the middle of something.
                Err(error) => {
                    tracing::warn!(projection = projection.name, %error, "it is scrubbed later");
                    scratch = Scratch::open(projections, workshop).await?;
                    refolds.clear();
                }
            }
            throttle.rest().await;
        }
        if is_idle {
            return Ok(());
        }
    }
}

/// The next stretch; false where the log is empty.
async fn step(
    projection: &'static Projection,
    workshop: &Workshop,
    scratch: &mut Scratch,
    refold: &mut Refold,
) -> Result<bool, Error> {
    let live = sqlx::query_scalar!("select position from checkpoint where name = $1", projection.name);
    let live = live.fetch_optional(&workshop.pool).await?.unwrap_or(0);
    if live == 0 {
        return Ok(false);
    }
    if projection.has_sums() {
        return sums(projection, workshop, scratch, refold, live).await;
    }
    let last = sqlx::query_scalar!(
        "select until from ops.scrubbed where projection = $1 order by at desc, until desc limit 1",
        projection.name
    );
    let last = last.fetch_optional(&workshop.pool).await?.unwrap_or(0);
    let after = if last < live { last } else { 0 };
    let until = live.min(after + STRETCH);
    let stretch = scratch.stretch(projection, workshop, after, until, 1.0).await?;
    warn(projection, &stretch.findings);
    if after == 0 {
        scratch.foreign(projection, workshop).await?;
    }
    finding::say(workshop).await?;
    note(projection, workshop, after, until).await?;
    measure(projection, workshop, live).await?;
    Ok(true)
}

/// The next stretch of a projection whose rows are sums: they are compared when the whole log is folded again.
async fn sums(
    projection: &'static Projection,
    workshop: &Workshop,
    scratch: &mut Scratch,
    refold: &mut Refold,
    live: i64,
) -> Result<bool, Error> {
    refold.up_to(projection, workshop, scratch, refold.at() + STRETCH).await?;
    if refold.at() >= live {
        let stretch = refold.compare(projection, workshop, scratch).await?;
        warn(projection, &stretch.findings);
        finding::say(workshop).await?;
        if stretch.things > 0 {
            note(projection, workshop, 0, stretch.position).await?;
        }
        measure(projection, workshop, live).await?;
    }
    Ok(true)
}

fn warn(projection: &'static Projection, findings: &[Finding]) {
    for found in findings {
        let (projection, relation, thing, why) = (projection.name, &found.relation, found.thing, &found.why);
        tracing::error!(projection, relation, %thing, event = found.event_position, why, "a row is not what the log says");
    }
}

/// Keeps that a stretch of the log was compared, and forgets what was long ago.
async fn note(projection: &'static Projection, workshop: &Workshop, after: i64, until: i64) -> Result<(), Error> {
    sqlx::query!(
        "with old as (delete from ops.scrubbed where projection = $1 and at < now() - make_interval(secs => $4))
         insert into ops.scrubbed (projection, after, until) values ($1, $2, $3)",
        projection.name,
        after,
        until,
        DAYS * 86_400.0
    )
    .execute(&workshop.pool)
    .await?;
    Ok(())
}

/// Tells how much of the log was compared lately, and how many findings are open.
async fn measure(projection: &'static Projection, workshop: &Workshop, live: i64) -> Result<(), Error> {
    let row = sqlx::query!(
        r#"select (select count(distinct g) from ops.scrubbed s, generate_series(s.after / $2, (s.until - 1) / $2) g
                   where s.projection = $1) as "stretches!",
                  (select count(*) from ops.finding f where f.projection = $1 and f.closed_at is null) as "open!""#,
        projection.name,
        STRETCH
    )
    .fetch_one(&workshop.pool)
    .await?;
    let all = (live - 1) / STRETCH + 1;
    #[expect(clippy::cast_precision_loss, reason = "a share, and a gauge is a float")]
    let (covered, open) = ((row.stretches as f64 / all as f64).min(1.0), row.open as f64);
    metrics::gauge!(name::SCRUB_COVERAGE, "projection" => projection.name).set(covered);
    metrics::gauge!(name::PROJECTION_FINDINGS, "projection" => projection.name).set(open);
    Ok(())
}
