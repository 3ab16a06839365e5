//! What is now, derived from what happened: one projection for each context, from the feed of events into read tables.
//!
//! A projection is a pure fold ([`fold`]) with set-based SQL around it; [`Runner`] brings it events in order and moves its
//! checkpoint in the transaction of the rows. To add one: a module with a [`Projection`], and a line in the list below.
//! Nothing here can append to the log, and a projection itself cannot even send.

pub mod board;
pub mod catalog;
pub mod checkpoint;
pub mod execution;
pub mod fold;
pub mod identity;
mod probe;
mod process;
pub mod projection;
pub mod prompt;
mod runner;

use events::Store;
use nats::{Bus, feed::Feed};
use service::{http::Probe, lifecycle::Lifecycle};
use sqlx::PgPool;

pub use process::{Args, run};
pub use projection::{Error, Projection};
pub use runner::{Runner, Turn};

use board::Board;

/// Names the projections once: their names for others, and their start.
macro_rules! projections {
    ($($projection:ty),+ $(,)?) => {
        /// The names of all projections.
        pub const NAMES: &[&str] = &[$(<$projection as Projection>::NAME),+];

        fn spawn(parts: &Parts, feed: &Feed, board: &Board, lifecycle: &Lifecycle) {
            $(
                let Parts { store, bus, pool } = parts.clone();
                let runner = Runner::<$projection>::new(feed.clone(), pool, store, bus, board.clone());
                lifecycle.spawn(<$projection as Projection>::NAME, runner.run(lifecycle.soft()));
            )+
        }
    };
}

projections! {
    identity::Identity,
    catalog::Catalog,
    prompt::Prompts,
    execution::Executions,
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
}

/// Starts all projections on the lifecycle. The probe tells whether all of them work;
/// without NATS they do, out of the log's table.
pub fn start(parts: &Parts, lifecycle: &Lifecycle) -> Probe {
    let (feed, feeding) = Feed::start(parts.store.clone(), parts.bus.clone(), lifecycle.soft());
    lifecycle.spawn("feed", feeding);
    let board = Board::default();
    spawn(parts, &feed, &board, lifecycle);
    lifecycle.spawn("lag of projections", board.clone().run(parts.store.clone(), lifecycle.soft()));
    probe::of(board, parts)
}
