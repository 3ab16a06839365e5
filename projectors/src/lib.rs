//! What is now, derived from what happened: one projection for each context, from the feed of events into read tables.
//!
//! A projection is a pure fold ([`fold`]) with set-based SQL around it; [`Runner`] brings it events in order and moves its
//! checkpoint in the transaction of the rows. To add one: a module with a [`Projection`], and a line in [`ALL`].
//! A projection can neither send nor append; what was decided about its rows ([`mod@rebuild`]) is said in the log by those who
//! decided it.

pub mod board;
pub mod bulk;
pub mod checkpoint;
pub mod child;
pub mod columns;
pub mod contexts;
pub mod execution;
pub mod fold;
pub mod identity;
pub mod kept;
pub mod memory;
pub mod parking;
mod probe;
mod process;
pub mod projection;
pub mod prompt;
pub mod rebuild;
mod requests;
pub mod row;
mod runner;
pub mod summed;
pub mod usage;
pub mod verify;

use events::Store;
use nats::{Bus, feed::Feed};
use service::{
    db::{self, Kind},
    http::Probe,
    lifecycle::Lifecycle,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use process::{Args, run};
pub use projection::{Error, Projection, Table};
pub use runner::Runner;

use board::Board;
use rebuild::{Progress, Workshop};

/// All projections.
pub static ALL: &[&Projection] = &[
    &identity::IDENTITY,
    &contexts::catalog::CATALOG,
    &contexts::company::COMPANY,
    &contexts::item::ITEM,
    &contexts::session::SESSION,
    &prompt::PROMPTS,
    &execution::EXECUTIONS,
    &usage::USAGE,
];

/// The projection of this name.
pub fn known(name: &str) -> Result<&'static Projection, rebuild::Error> {
    let known = ALL.iter().copied().find(|known| known.name == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|known| known.name).collect();
        rebuild::Error::Unknown { name: name.to_owned(), known: names.join(", ") }
    })
}

/// [`verify::verify`], and [`verify::repair`] of what was found, if that is wanted.
pub async fn verify(
    projection: &'static Projection,
    workshop: &Workshop,
    options: verify::Options,
    repair: bool,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<verify::Verified, rebuild::Error> {
    let verified = verify::verify(projection, workshop, options, progress, stop).await?;
    if repair {
        for finding in &verified.findings {
            verify::repair(projection, workshop, finding).await?;
        }
    }
    Ok(verified)
}

/// What the projectors work with.
#[derive(Clone)]
pub struct Parts {
    /// The log, to read.
    pub store: Store,
    /// The bus, to read and to tell how far the projections are.
    pub bus: Bus,
    /// Connections for the rows: [`service::db::Kind::Projectors`].
    pub pool: PgPool,
    /// How much rows are compared with the log in the background.
    pub scrub: verify::Scrub,
}

/// Starts all projections on the lifecycle. The probe tells whether all of them work;
/// without NATS they do, out of the log's table.
pub fn start(parts: &Parts, lifecycle: &Lifecycle) -> Probe {
    let (feed, feeding) = Feed::start(parts.store.clone(), parts.bus.clone(), lifecycle.soft());
    lifecycle.spawn("feed", feeding);
    let board = Board::default();
    let Parts { store, bus, pool, .. } = parts.clone();
    let runner = Runner::new(ALL, feed.clone(), pool, store, bus, board.clone(), lifecycle.soft());
    lifecycle.spawn("projections", runner.run());
    let Parts { store, pool, .. } = parts.clone();
    lifecycle.spawn("parked things", parking::run(ALL, pool, store, lifecycle.soft()));
    lifecycle.spawn("lag of projections", board.clone().run(parts.store.clone(), lifecycle.soft()));
    let workshop = Workshop::new(&parts.store, db::beside(&parts.pool, Kind::Rebuild));
    lifecycle.spawn("scrubber", verify::scrub(ALL, workshop.clone(), parts.scrub.scrub, lifecycle.soft()));
    lifecycle.spawn("requests to rebuild", requests::run(workshop.clone(), feed, lifecycle.soft()));
    lifecycle.spawn("progress of rebuilds", requests::tell(workshop, parts.bus.clone(), lifecycle.soft()));
    probe::of(board, parts)
}
