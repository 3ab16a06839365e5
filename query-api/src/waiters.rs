//! All who wait for a read model, served by one task.
//!
//! A message from a projector on the bus, or a quarter of a second, makes that task read the checkpoints, if anybody waits for
//! one, and all executions that somebody waits for in one query. What it reads, and not what the message says, wakes the
//! waiters: this process may read a replica that is behind.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use events::{
    CONTEXTS,
    store::{Connections, Lent},
};
use futures_util::{FutureExt, Stream, StreamExt, future};
use nats::Bus;
use service::{
    http::Problem,
    shares::{Share, Shares},
};
use sqlx::PgPool;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    deadline,
    execution::{self, Awaited, End},
    log,
};

/// How often the read models are looked at while somebody waits and no message comes.
const EVERY: Duration = Duration::from_millis(250);
/// How long a request waits for a position.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The most who wait at a time in one process.
const MOST: usize = 10_000;
/// The most requests of one caller that wait.
const EACH: usize = 1_000;
/// When to come again where too many wait.
const LATER: Duration = Duration::from_secs(1);

/// The waiting room; clones are the same.
#[derive(Clone)]
pub struct Waiters(Arc<Room>);

struct Room {
    connections: Connections,
    soft: CancellationToken,
    positions: BTreeMap<&'static str, watch::Sender<i64>>,
    executions: Awaited,
    places: Shares,
    /// Somebody waits who has not looked.
    asked: Notify,
    /// Somebody waits who has looked, or will: there is nothing to be done but to be there.
    arrived: Notify,
}

/// A place in the waiting room, for one execution. To be taken before the execution is read: then no change is missed.
pub struct Watch {
    end: watch::Receiver<End>,
    soft: CancellationToken,
    _place: Share,
}

impl Watch {
    /// Waits until the execution has ended, and brings it; nothing when `time` is over before, or the process stops. One that
    /// is not for `owner` (none: for anybody) is waited for like one that there is not.
    pub async fn ended(&mut self, owner: Option<Uuid>, time: Duration) -> End {
        let theirs = |end: &End| end.as_ref().is_some_and(|end| owner.is_none_or(|owner| owner == end.owner()));
        tokio::select! {
            ended = timeout(time, self.end.wait_for(theirs)) => ended.ok()?.ok()?.clone(),
            () = self.soft.cancelled() => None,
        }
    }

    /// Waits until the execution has ended, and brings it; nothing if the process stops before.
    pub async fn over(&mut self) -> End {
        tokio::select! {
            biased;
            () = self.soft.cancelled() => None,
            ended = self.end.wait_for(Option::is_some) => ended.ok()?.clone(),
        }
    }
}

impl Waiters {
    /// An empty room. Nobody is woken before [`Self::run`] runs.
    pub fn new(pool: PgPool, soft: CancellationToken) -> Self {
        let names = CONTEXTS.projections().chain([log::SEAL]);
        Self(Arc::new(Room {
            connections: Connections::like(pool),
            soft,
            positions: names.map(|name| (name, watch::Sender::new(0))).collect(),
            executions: Awaited::default(),
            places: Shares::of(MOST, EACH),
            asked: Notify::new(),
            arrived: Notify::new(),
        }))
    }

    /// Waits until `projection`, or the seal of the log, has reached `position`, for `caller`: 503 if that takes too long.
    pub async fn reached(&self, caller: Uuid, projection: &str, position: i64) -> Result<(), Problem> {
        let late = || if projection == log::SEAL { log::late(position) } else { late(position) };
        let mut told = self.0.positions.get(projection).map(watch::Sender::subscribe).ok_or_else(late)?;
        if *told.borrow() >= position {
            return Ok(());
        }
        let _place = self.place(caller)?;
        self.0.asked.notify_one();
        deadline::allow(PATIENCE);
        let reached = async { told.wait_for(|told| *told >= position).await.is_ok() };
        tokio::select! {
            reached = timeout(PATIENCE, reached) => if reached == Ok(true) { Ok(()) } else { Err(late()) },
            () = self.0.soft.cancelled() => Err(late()),
        }
    }

    /// A place for `caller` to wait for the execution `id`.
    pub fn watch(&self, id: Uuid, caller: Uuid) -> Result<Watch, Problem> {
        let place = self.place(caller)?;
        let end = self.0.executions.watch(id);
        self.0.arrived.notify_one();
        Ok(Watch { end, soft: self.0.soft.clone(), _place: place })
    }

    /// A place for `caller` to wait: 429 where too many of its requests do, 503 where too many do altogether.
    pub fn place(&self, caller: Uuid) -> Result<Share, Problem> {
        self.0.places.try_take(caller).map_err(|full| full.problem("requests waiting", LATER))
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
        let mut connection: Option<Lent> = None;
        // When to look if no message comes: by the last look, or the first who came, and not by who comes meanwhile.
        let mut clock = None;
        loop {
            if self.anybody() {
                clock.get_or_insert_with(|| Instant::now() + EVERY);
            } else {
                clock = None;
                if let Some(connection) = connection.take() {
                    connection.give_back();
                }
            }
            tokio::select! {
                biased;
                () = self.0.soft.cancelled() => return Ok(()),
                told = next(&mut progress) => if !self.matters(&told, &mut progress) { continue },
                () = self.0.asked.notified() => {}
                () = self.0.arrived.notified() => continue,
                () = sleep_until(clock.unwrap_or_else(Instant::now)), if clock.is_some() => {}
            }
            clock = None;
            if self.anybody()
                && let Err(error) = self.step(&mut connection).await
            {
                // Who waits meets the same error when the wait is over.
                tracing::warn!(%error, "the read models could not be looked at");
                connection = None;
                sleep(EVERY).await;
            }
        }
    }

    /// One look at what is waited for.
    ///
    /// The connection is kept while anybody waits: all of them would else wait for one as well, behind every other query.
    async fn step(&self, connection: &mut Option<Lent>) -> Result<(), sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            none => none.insert(self.0.connections.lend().await?),
        };
        if self.is_awaited(log::SEAL) {
            let size = sqlx::query_scalar!("select size from seal_head order by size desc limit 1");
            let size = size.fetch_optional(&mut **connection).await?.unwrap_or(0);
            self.reaches(log::SEAL, size);
        }
        if self.0.positions.keys().any(|name| *name != log::SEAL && self.is_awaited(name)) {
            for row in sqlx::query!("select name, position from checkpoint").fetch_all(&mut **connection).await? {
                self.reaches(&row.name, row.position);
            }
        }
        self.0.executions.look(connection).await
    }

    fn reaches(&self, name: &str, position: i64) {
        if let Some(told) = self.0.positions.get(name) {
            told.send_if_modified(|told| std::mem::replace(told, position) != position);
        }
    }

    fn is_awaited(&self, name: &str) -> bool {
        self.0.positions.get(name).is_some_and(|position| position.receiver_count() > 0)
    }

    /// Whether anybody waits.
    fn anybody(&self) -> bool {
        self.0.executions.anybody() || self.0.positions.keys().any(|name| self.is_awaited(name))
    }

    /// Whether somebody waits for the projection that moved, or for one of those whose messages have come meanwhile.
    fn matters(&self, told: &str, progress: &mut Option<impl Stream<Item = (String, i64)> + Unpin>) -> bool {
        let waits =
            |name: &str| (name == execution::PROJECTION && !self.0.executions.is_empty()) || self.is_awaited(name);
        let mut matters = waits(told);
        while let Some(Some(Some((name, _)))) = progress.as_mut().map(|progress| progress.next().now_or_never()) {
            matters |= waits(&name);
        }
        matters
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
