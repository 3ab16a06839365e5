//! One runner brings all projections of a process up to date and keeps them so.
//!
//! It reads the feed once for all that stand at about the same position (`group`). A batch is handed to those that it
//! concerns, each of which applies it in a transaction of its own with its own checkpoint; the checkpoints of all others are
//! moved in one statement, once in a while. A projection that cannot keep up, that waits for another process, that has stopped
//! or is made anew leaves the group and goes on by itself (`alone`), with a reader of its own, until it stands where the
//! group does: it holds nobody up.

mod alone;
mod group;
mod member;
mod trace;

use std::{convert::Infallible, sync::Arc};

use events::{Recorded, Store, store::Connections};
use nats::{Bus, feed::Feed};
use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    board::{Board, State},
    projection::Projection,
};
use alone::Alone;
use group::Group;
use member::Member;

/// The most events in one transaction; and how far apart two projections may stand that share a reader.
const BATCH: usize = 4000;
/// About the most bytes of events in one transaction, so that large answers do not pile up in memory as statements.
const BATCH_BYTES: usize = 16 << 20;
/// How many batches are applied beside each other, each on a connection.
const CONNECTIONS: usize = 4;

/// Runs projections.
pub struct Runner {
    projections: Vec<&'static Projection>,
    shared: Shared,
    joining: mpsc::UnboundedReceiver<Member>,
}

/// What all projections of a process share. Clones are the same.
#[derive(Clone)]
struct Shared {
    feed: Feed,
    pool: PgPool,
    connections: Connections,
    /// One for each connection.
    permits: Arc<Semaphore>,
    store: Store,
    bus: Bus,
    board: Board,
    /// Where the group stands; nowhere while it has no members.
    group: watch::Sender<Option<i64>>,
    /// To the group.
    joins: mpsc::UnboundedSender<Member>,
    tasks: TaskTracker,
    soft: CancellationToken,
}

impl Runner {
    /// A runner that has not begun, and ends with `soft`. `pool` is for the rows, `bus` to tell how far they are, `board` to
    /// tell how they do.
    pub fn new(
        projections: &[&'static Projection],
        feed: Feed,
        pool: PgPool,
        store: Store,
        bus: Bus,
        board: Board,
        soft: CancellationToken,
    ) -> Self {
        for projection in projections {
            board.set(projection.name, State::Starting);
        }
        let (joins, joining) = mpsc::unbounded_channel();
        let shared = Shared {
            feed,
            connections: Connections::like(pool.clone()),
            pool,
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            store,
            bus,
            board,
            group: watch::Sender::new(None),
            joins,
            tasks: TaskTracker::new(),
            soft,
        };
        Self { projections: projections.to_vec(), shared, joining }
    }

    /// Runs until the end of the process, whatever happens. What may pass is tried again; before what cannot pass a
    /// projection stops, visibly, and the others go on.
    pub async fn run(self) -> Result<(), Infallible> {
        let Self { projections, shared, joining } = self;
        for projection in projections {
            shared.tasks.spawn(Alone::new(Member::new(projection), shared.clone()).run(None));
        }
        Group::new(shared.clone(), joining).run().await;
        shared.tasks.close();
        shared.tasks.wait().await;
        Ok(())
    }
}

/// How many events of `batch` go into one transaction: at least one, and then as many as are not too heavy together.
fn portion(batch: &[Arc<Recorded>]) -> usize {
    let mut bytes = 0;
    let fitting = batch.iter().take_while(|event| {
        bytes += event.weight();
        bytes <= BATCH_BYTES
    });
    fitting.count().max(1)
}
