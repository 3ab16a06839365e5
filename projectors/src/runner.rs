//! Brings one projection up to date and keeps it so.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use events::{Recorded, Store, clock, store::Connections};
use nats::{
    Bus,
    feed::{Feed, Reader},
};
use service::{
    db::{self, Kind},
    telemetry,
};
use sqlx::PgPool;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::{
    board::{Board, State},
    checkpoint::{self, Checkpoint, Outcome},
    memory::Memory,
    projection::{Error, Projection},
    rebuild::{self, Generation, Progress, Workshop},
};

/// The most events in one transaction.
const BATCH: usize = 4000;
/// About the most bytes of events in one transaction, so that large answers do not pile up in memory as statements.
const BATCH_BYTES: usize = 16 << 20;
/// How long a projection gathers events that do not concern it.
const LULL: Duration = Duration::from_millis(50);
/// How old an event may be to be traced.
const NEW: TimeDelta = TimeDelta::minutes(1);
/// How long a second projector waits before it looks whether the first still works.
const SECOND: Duration = Duration::from_secs(1);
/// How often one that has stopped looks whether it can go on.
const LOOK: Duration = Duration::from_secs(2);
/// How long after a version that would park too much was made it is made again.
const AGAIN: Duration = Duration::from_mins(1);
/// The shortest and the longest pause after an error.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Runs a projection.
pub struct Runner {
    projection: &'static Projection,
    feed: Feed,
    pool: PgPool,
    connections: Connections,
    store: Store,
    bus: Bus,
    board: Board,
    memory: Memory,
    place: Option<Place>,
}

/// Where a runner is, and where its events come from.
struct Place {
    at: Checkpoint,
    reader: Reader,
}

/// What one turn did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It applied events up to this position.
    Applied(i64),
    /// Another projector of this name is at work.
    Second,
}

impl Runner {
    /// A runner that has not begun. `pool` is for the rows, `bus` to tell how far they are, `board` to tell how it does.
    pub fn new(
        projection: &'static Projection,
        feed: Feed,
        pool: PgPool,
        store: Store,
        bus: Bus,
        board: Board,
    ) -> Self {
        board.set(projection.name, State::Starting);
        let connections = Connections::like(pool.clone());
        Self { projection, feed, pool, connections, store, bus, board, memory: Memory::new(projection), place: None }
    }

    /// Runs until `soft`, whatever happens. What may pass is tried again; before what cannot pass it stops, visibly, and
    /// other projections go on.
    pub async fn run(mut self, soft: CancellationToken) -> Result<(), std::convert::Infallible> {
        let projection = self.projection;
        let mut pause = PAUSES.0;
        loop {
            let wait = match self.turn(&soft).await {
                Ok(None) => return Ok(()),
                Ok(Some(Turn::Applied(_))) => {
                    pause = PAUSES.0;
                    continue;
                }
                Ok(Some(Turn::Second)) => SECOND,
                Err(Error::OtherVersion { found, .. }) if found < projection.version => {
                    self.place = None;
                    self.renew(found, &soft).await
                }
                Err(error) => {
                    self.place = None;
                    if !error.passes() {
                        let state = match error {
                            Error::OtherVersion { .. } => State::Outdated,
                            _ => State::Stopped,
                        };
                        if self.board.set(projection.name, state) {
                            tracing::error!(projection = projection.name, %error, "the projection has stopped");
                        }
                        // Somebody may make its rows anew.
                        if tokio::time::timeout(LOOK, soft.cancelled()).await.is_ok() {
                            return Ok(());
                        }
                        continue;
                    }
                    tracing::warn!(projection = projection.name, %error, "the projection tries again");
                    self.board.set(projection.name, State::Retrying);
                    let now = pause;
                    pause = (pause * 2).min(PAUSES.1);
                    now
                }
            };
            if tokio::time::timeout(wait, soft.cancelled()).await.is_ok() {
                return Ok(());
            }
        }
    }

    /// Makes the rows anew that an older version has left, which serve meanwhile. Returns how long to wait then.
    async fn renew(&self, found: i32, soft: &CancellationToken) -> Duration {
        let projection = self.projection;
        match Generation::previous(&self.pool, projection.name).await {
            Ok(Some(kept)) if kept.version == projection.version => {
                if self.board.set(projection.name, State::Stopped) {
                    let (name, version) = (projection.name, projection.version);
                    tracing::error!(name, version, found, "this version was rolled back: rebuild it to try it again");
                }
                return LOOK;
            }
            _ => {}
        }
        let workshop = Workshop::new(&self.store, db::beside(&self.pool, Kind::Rebuild));
        self.board.set(projection.name, State::Renewing);
        tracing::info!(
            projection = projection.name,
            from = found,
            to = projection.version,
            "the projection is made anew"
        );
        match rebuild::run(projection, &workshop, &rebuild::Options::default(), &Progress::default(), soft).await {
            Ok(rebuild::Outcome::Decided(report)) => {
                tracing::info!(
                    projection = projection.name,
                    generation = report.generation,
                    reason = report.reason,
                    "decided"
                );
                Duration::ZERO
            }
            Ok(rebuild::Outcome::Waits { .. })
            | Err(rebuild::Error::Running { .. } | rebuild::Error::Interrupted { .. }) => SECOND,
            Err(error) if error.is_mass_of_parked() => {
                if self.board.set(projection.name, State::Stopped) {
                    tracing::error!(projection = projection.name, %error, "the new version is not taken; the old rows serve, and stand");
                }
                AGAIN
            }
            Err(error) => {
                tracing::warn!(projection = projection.name, %error, "the projection could not be made anew");
                PAUSES.1
            }
        }
    }

    /// One turn: waits for events and applies what there is.
    pub async fn step(&mut self) -> Result<Turn, Error> {
        let batch = self.read().await?;
        self.apply(&batch).await
    }

    /// One turn, unless `soft` comes while it waits for events; what has begun to be applied is finished.
    async fn turn(&mut self, soft: &CancellationToken) -> Result<Option<Turn>, Error> {
        let batch = tokio::select! {
            biased;
            () = soft.cancelled() => return Ok(None),
            batch = self.read() => batch?,
        };
        self.apply(&batch).await.map(Some)
    }

    async fn read(&mut self) -> Result<Vec<Arc<Recorded>>, Error> {
        let projection = self.projection;
        let place = match &mut self.place {
            Some(place) => place,
            none => {
                self.memory.forget();
                let at = checkpoint::open(projection, &self.pool, &self.store).await?;
                self.board.reached(projection.name, at.position);
                none.insert(Place { at, reader: self.feed.reader(at.position) })
            }
        };
        let mut batch = place.reader.next(BATCH).await?;
        // What concerns other projections alone moves nothing but the checkpoint, which can wait for more of it.
        let until = Instant::now() + LULL;
        while batch.len() < BATCH
            && portion(&batch) == batch.len()
            && !batch.iter().any(|event| projection.streams.contains(&event.stream.as_str()))
        {
            match timeout_at(until, place.reader.next(BATCH - batch.len())).await {
                Ok(more) => batch.extend(more?),
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    async fn apply(&mut self, mut batch: &[Arc<Recorded>]) -> Result<Turn, Error> {
        let projection = self.projection;
        let Some(place) = &mut self.place else { return Ok(Turn::Second) };
        while !batch.is_empty() {
            let (now, later) = batch.split_at(portion(batch));
            let spans = spans(projection, now);
            match self.memory.apply(&self.connections, place.at, now).await? {
                Outcome::Applied(at) => place.at = at,
                Outcome::Superseded => {
                    tracing::debug!(projection = projection.name, "another projector of this name is at work");
                    self.place = None;
                    return Ok(Turn::Second);
                }
            }
            drop(spans);
            self.board.reached(projection.name, place.at.position);
            self.bus.publish_progress(projection.name, place.at.position).await;
            trace(projection, now);
            batch = later;
        }
        Ok(Turn::Applied(place.at.position))
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

/// So many events of one commit are logged each; of more, only how many they are.
const TOLD: usize = 8;

/// One span for each event that is new, in the trace of the request that it came from. None for what is read again long
/// after, as when a read model is built anew: that would drown what happens now.
fn spans(projection: &'static Projection, batch: &[Arc<Recorded>]) -> Vec<Span> {
    if !telemetry::exports() {
        return Vec::new();
    }
    let since = clock::now() - NEW;
    let new =
        batch.iter().filter(|event| projection.streams.contains(&event.stream.as_str()) && event.recorded_at > since);
    let spans = new.filter_map(|event| {
        let parent = event.meta.traceparent.as_deref()?;
        let (projection, position, kind) = (projection.name, event.position, event.kind.as_str());
        let span = tracing::info_span!("projection", projection, position, kind);
        telemetry::continue_trace(&span, Some(parent));
        Some(span)
    });
    spans.collect()
}

/// Leads from the trace of a request to the projection.
fn trace(projection: &'static Projection, batch: &[Arc<Recorded>]) {
    let own = || batch.iter().filter(|event| projection.streams.contains(&event.stream.as_str()));
    let events = own().count();
    if events > TOLD {
        tracing::info!(projection = projection.name, events, "projected");
    }
    for event in own() {
        // W3C Trace Context: version, trace id, parent id, flags.
        let trace_id = event.meta.traceparent.as_deref().and_then(|parent| parent.split('-').nth(1));
        let (projection, position, kind) = (projection.name, event.position, event.kind.as_str());
        if events > TOLD {
            tracing::debug!(projection, position, kind, trace_id, "projected");
        } else {
            tracing::info!(projection, position, kind, trace_id, "projected");
        }
    }
}
