//! All who wait for a read model, served by one task.
//!
//! A message from a projector on the bus, or a quarter of a second, makes that task read the checkpoints once, and, if the
//! executions have moved, all executions that somebody waits for in one query. What it reads, and not what the message
//! says, wakes the waiters: this process may read a replica that is behind.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use events::store::{Connections, Lent};
use futures_util::{FutureExt, Stream, StreamExt, future};
use nats::Bus;
use service::http::Problem;
use sqlx::PgPool;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{catalog, execution, identity, log, prompt};

/// How often the checkpoints are read while somebody waits and no message comes.
const EVERY: Duration = Duration::from_millis(250);
/// How long a request waits for a position.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The most who wait at a time in one process.
const MOST: usize = 10_000;

/// The waiting room; clones are the same.
#[derive(Clone)]
pub struct Waiters(Arc<Room>);

struct Room {
    connections: Connections,
    soft: CancellationToken,
    positions: BTreeMap<&'static str, watch::Sender<i64>>,
    executions: Mutex<Watched>,
    places: Arc<Semaphore>,
    arrived: Notify,
}

/// The executions that somebody waits for.
#[derive(Default)]
struct Watched {
    seen: HashMap<Uuid, watch::Sender<Seen>>,
    /// How many have come to wait so far.
    came: u64,
}

/// What the read model was last seen to say of an execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    owner: Uuid,
    ended: bool,
}

/// A place in the waiting room, for one execution. To be taken before the execution is read: then no change is missed.
pub struct Watch {
    seen: watch::Receiver<Seen>,
    soft: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// Waits until the execution has ended, or `time` is over, or the process stops. One that is not for `owner` (none: for
    /// anybody) is waited for like one that there is not.
    pub async fn ended(&mut self, owner: Option<Uuid>, time: Duration) {
        let ended = self.seen.wait_for(|seen| seen.ended && owner.is_none_or(|owner| owner == seen.owner));
        tokio::select! {
            _ = timeout(time, ended) => {}
            () = self.soft.cancelled() => {}
        }
    }

    /// Waits until the execution has ended; false if the process stops before.
    pub async fn over(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.soft.cancelled() => false,
            ended = self.seen.wait_for(|seen| seen.ended) => ended.is_ok(),
        }
    }
}

impl Waiters {
    /// An empty room. Nobody is woken before [`Self::run`] runs.
    pub fn new(pool: PgPool, soft: CancellationToken) -> Self {
        let names = [identity::PROJECTION, catalog::PROJECTION, prompt::PROJECTION, execution::PROJECTION, log::SEAL];
        Self(Arc::new(Room {
            connections: Connections::like(pool),
            soft,
            positions: names.into_iter().map(|name| (name, watch::Sender::new(0))).collect(),
            executions: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST)),
            arrived: Notify::new(),
        }))
    }

    /// Waits until `projection`, or the seal of the log, has reached `position`: 503 if that takes too long.
    pub async fn reached(&self, projection: &str, position: i64) -> Result<(), Problem> {
        let late = || if projection == log::SEAL { log::late(position) } else { late(position) };
        let mut told = self.0.positions.get(projection).map(watch::Sender::subscribe).ok_or_else(late)?;
        if *told.borrow() >= position {
            return Ok(());
        }
        let _place = self.place()?;
        self.0.arrived.notify_one();
        let reached = async { told.wait_for(|told| *told >= position).await.is_ok() };
        tokio::select! {
            reached = timeout(PATIENCE, reached) => if reached == Ok(true) { Ok(()) } else { Err(late()) },
            () = self.0.soft.cancelled() => Err(late()),
        }
    }

    /// A place to wait for the execution `id`.
    pub fn watch(&self, id: Uuid) -> Result<Watch, Problem> {
        let place = self.place()?;
        let seen = {
            let mut watched = self.executions();
            watched.came += 1;
            watched.seen.entry(id).or_default().subscribe()
        };
        self.0.arrived.notify_one();
        Ok(Watch { seen, soft: self.0.soft.clone(), _place: place })
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.0.places).try_acquire_owned();
        place.map_err(|_| Problem::down("too many are waiting, try again"))
    }

    /// Serves the room until the process stops.
    pub async fn run(self, bus: Bus) -> Result<(), Infallible> {
        let mut progress = match bus.progress().await {
            Ok(progress) => Some(progress),
            Err(error) => {
                tracing::warn!(%error, "progress is not heard: who waits is woken by the clock alone");
                None
            }
        };
        let mut checked = 0;
        let mut connection: Option<Lent> = None;
        loop {
            let waiting = self.anybody();
            if !waiting && let Some(connection) = connection.take() {
                connection.give_back();
            }
            tokio::select! {
                biased;
                () = self.0.soft.cancelled() => return Ok(()),
                told = next(&mut progress) => if !self.matters(&told, &mut progress) { continue },
                () = self.0.arrived.notified() => {}
                () = sleep(EVERY), if waiting => {}
            }
            if self.anybody()
                && let Err(error) = self.step(&mut connection, &mut checked).await
            {
                // Who waits meets the same error when the wait is over.
                tracing::warn!(%error, "the checkpoints could not be read");
                connection = None;
                sleep(EVERY).await;
            }
        }
    }

    /// One look at the checkpoints, and at the executions that are waited for if they have moved past `checked`.
    ///
    /// The connection is kept while anybody waits: all of them would else wait for one as well, behind every other query.
    async fn step(&self, connection: &mut Option<Lent>, checked: &mut i64) -> Result<(), sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            none => none.insert(self.0.connections.lend().await?),
        };
        if let Some(seal) = self.0.positions.get(log::SEAL).filter(|seal| seal.receiver_count() > 0) {
            let size = sqlx::query_scalar!("select size from seal_head order by size desc limit 1");
            let size = size.fetch_optional(&mut **connection).await?.unwrap_or(0);
            seal.send_if_modified(|told| std::mem::replace(told, size) != size);
        }
        let (ids, came) = {
            let watched = self.executions();
            (watched.seen.keys().copied().collect::<Vec<_>>(), watched.came)
        };
        // One round trip, one snapshot: the checkpoints, and the executions if theirs has moved.
        let rows = sqlx::query!(
            r#"select name as "name?", position as "position?", null::uuid as id, null::uuid as owner,
                      null::boolean as ended
               from checkpoint
               union all
               select null, null, id, user_id, finished_at is not null
               from execution
               where id = any($1) and exists (select from checkpoint where name = $2 and position <> $3)"#,
            &ids,
            execution::PROJECTION,
            *checked
        )
        .fetch_all(&mut **connection)
        .await?;
        let waiting = self.executions();
        for row in rows {
            if let (Some(name), Some(position)) = (row.name, row.position) {
                // Who came meanwhile may have looked before this, and is not among those who were looked for.
                if name == execution::PROJECTION && waiting.came == came {
                    *checked = position;
                }
                if let Some(told) = self.0.positions.get(name.as_str()) {
                    told.send_if_modified(|told| std::mem::replace(told, position) != position);
                }
            }
            if let (Some(id), Some(owner), Some(ended)) = (row.id, row.owner, row.ended)
                && let Some(seen) = waiting.seen.get(&id)
            {
                let now = Seen { owner, ended };
                seen.send_if_modified(|seen| std::mem::replace(seen, now) != now);
            }
        }
        Ok(())
    }

    /// Whether anybody waits; those who have gone are forgotten.
    fn anybody(&self) -> bool {
        let mut executions = self.executions();
        executions.seen.retain(|_, seen| seen.receiver_count() > 0);
        !executions.seen.is_empty() || self.0.positions.values().any(|position| position.receiver_count() > 0)
    }

    /// Whether somebody waits for the projection that moved, or for one of those whose messages have come meanwhile.
    fn matters(&self, told: &str, progress: &mut Option<impl Stream<Item = (String, i64)> + Unpin>) -> bool {
        let waits = |name: &str| {
            (name == execution::PROJECTION && !self.executions().seen.is_empty())
                || self.0.positions.get(name).is_some_and(|position| position.receiver_count() > 0)
        };
        let mut matters = waits(told);
        while let Some(Some(Some((name, _)))) = progress.as_mut().map(|progress| progress.next().now_or_never()) {
            matters |= waits(&name);
        }
        matters
    }

    fn executions(&self) -> MutexGuard<'_, Watched> {
        self.0.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to who has waited for `position` in vain.
pub fn late(position: i64) -> Problem {
    Problem::down(format!("the read model has not reached position {position} yet"))
}

/// The name of the next projection that tells its progress; for ever nothing when the subscription has ended.
async fn next(progress: &mut Option<impl Stream<Item = (String, i64)> + Unpin>) -> String {
    if let Some(told) = progress
        && let Some((name, _)) = told.next().await
    {
        return name;
    }
    *progress = None;
    future::pending().await
}
