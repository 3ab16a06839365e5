//! The end of the log, followed by one task for all who listen; and nobody reads anything while nobody does.
//!
//! This process's writer, the NOTIFY of other processes' or a quarter of a second makes it read what is new, once. What it
//! reads, and not what woke it, is handed on: this process may read a replica that is behind, on which nobody can listen.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use events::{
    Recorded, Store,
    store::{Identity, READ_BYTES, Scanned, StoreError, Wake},
};
use service::{
    http::{Caller, Problem},
    shares::{Limits, Share, Shares},
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{event::Told, filter::Filter, room::Room, subscriber::Subscriber};

/// How often the log is read when nothing wakes the tail.
const POLL: Duration = Duration::from_millis(250);
/// How many events are read at a time.
const PAGE: usize = 512;
/// What the last events that are kept for all may weigh, in bytes.
const WEIGHT: usize = 8 << 20;
/// With so many before its end it begins: who comes back to a process that was started anew finds there what it missed.
const BEFORE: i64 = 256;
/// How far this process's database may be behind the one that gave a client its position.
const LAG: Duration = Duration::from_secs(1);
/// The most streams in one process.
const MOST: usize = 10_000;
/// The most of one caller.
const EACH: usize = 1000;
/// When it makes sense for a caller with too many to come again.
const LATER: Duration = Duration::from_secs(5);
/// The most who read the table at a time for themselves, of all who are behind: in turn, and never all of them one caller's.
/// Who has a place for a stream may wait; so may some that read pages.
const TURNS: Limits = Limits { places: 4, each: 2, queue: 2 * MOST, queue_each: 2 * EACH };
/// The most headings of one look into the table.
const HEADINGS: usize = 4096;

/// The tail of the log; clones are the same.
#[derive(Clone)]
pub struct Tail(Arc<Shared>);

struct Shared {
    store: Store,
    soft: CancellationToken,
    room: Mutex<Room>,
    /// How far it has come.
    told: watch::Sender<i64>,
    arrived: Notify,
    places: Shares,
    turns: Shares,
}

/// Where the tail is.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: i64,
    /// What is there, if anything is.
    identity: Option<Identity>,
    /// The ledger's epoch when the tail began.
    epoch: i32,
}

/// Why it cannot go on.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A database was put in the place of another: nobody can go on from a position in it.
    #[error("the log has other events than were read from it before position {0}")]
    Changed(i64),
}

impl Tail {
    /// The tail of the log that is read through `store`. It moves while [`Self::run`] runs.
    pub fn new(store: Store, soft: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            store,
            soft,
            room: Mutex::new(Room::new(WEIGHT)),
            told: watch::Sender::new(0),
            arrived: Notify::new(),
            places: Shares::of(MOST, EACH),
            turns: Shares::new(TURNS),
        }))
    }

    /// The events that `filter` wants, after the position `after`, for `caller` as long as its token is good.
    ///
    /// Whatever is asked of the log for it ([`Self::knows`], [`Self::scan`]) is asked after this: when the log turns out to be
    /// another one in between, the subscriber ends. Asked before, it would wait in the new log for a position of the old.
    pub fn subscribe(&self, filter: Filter, after: i64, caller: &Caller) -> Result<Subscriber, Problem> {
        let place = self.0.places.try_take(caller.id).map_err(|full| full.problem("event streams", LATER))?;
        let cell = self.room().join(filter);
        self.0.arrived.notify_one();
        Ok(Subscriber::new(self.clone(), cell, place, after, caller.expires_at))
    }

    /// Whether the log that is read here has come as far as `position`, now or within `patience`.
    pub async fn reached(&self, position: i64, patience: Duration) -> bool {
        let mut told = self.0.told.subscribe();
        self.0.arrived.notify_one();
        tokio::select! {
            reached = timeout(patience, told.wait_for(|told| *told >= position)) => matches!(reached, Ok(Ok(_))),
            () = self.0.soft.cancelled() => false,
        }
    }

    /// 422 that names `parameter` unless `position` is one that the log has, or 0.
    pub async fn knows(&self, parameter: &str, position: i64) -> Result<(), Problem> {
        if position < 0 {
            return Err(Problem::invalid_parameter(parameter, "must be the position of an event, or 0"));
        }
        if position <= *self.0.told.borrow() {
            return Ok(());
        }
        let head = self.0.store.head().await?;
        if position <= head || self.reached(position, LAG).await {
            return Ok(());
        }
        Err(Problem::invalid_parameter(parameter, format!("is past the end of the log, {head}")))
    }

    /// The next of the events that `filter` may want, as headings.
    pub async fn scan(&self, caller: Uuid, filter: &Filter, after: i64) -> Result<Scanned, StoreError> {
        let _turn = self.turn_of(caller).await?;
        self.0.store.scan(filter.among(), after, HEADINGS).await
    }

    /// The first of the events at these positions: at least one, unless the database that is read has gone back.
    pub async fn at(&self, caller: Uuid, positions: &[i64]) -> Result<Vec<Recorded>, StoreError> {
        let _turn = self.turn_of(caller).await?;
        let mut events = self.0.store.at(positions).await?;
        let whole = events.iter().zip(positions).take_while(|(event, position)| event.position == **position).count();
        events.truncate(whole);
        Ok(events)
    }

    async fn turn_of(&self, caller: Uuid) -> Result<Share, StoreError> {
        self.0.turns.take(caller).await.map_err(|_| StoreError::Unavailable(None))
    }

    /// What ends when the process begins to stop.
    pub fn soft(&self) -> &CancellationToken {
        &self.0.soft
    }

    /// What is shared with the subscribers.
    pub fn room(&self) -> MutexGuard<'_, Room> {
        self.0.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the log, whenever somebody listens, until the process stops.
    pub async fn run(self) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                biased;
                () = self.0.soft.cancelled() => return Ok(()),
                () = self.0.arrived.notified() => {}
            }
            tokio::select! {
                biased;
                () = self.0.soft.cancelled() => return Ok(()),
                () = self.follow() => {}
            }
        }
    }

    /// Follows the log while anybody listens.
    async fn follow(&self) {
        let mut wake = Wake::new(&self.0.store, POLL);
        let (mut place, mut failing) = (None, false);
        while !self.parked() {
            match self.step(&mut place).await {
                Ok(more) => {
                    failing = false;
                    if !more {
                        wake.wait(place.map_or(0, |place| place.position)).await;
                    }
                }
                Err(why) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error = &why as &dyn std::error::Error, "the log cannot be followed");
                    }
                    if matches!(why, Broken::Changed(_)) {
                        place = None;
                        self.turn();
                    }
                    sleep(POLL).await;
                }
            }
        }
    }

    /// The log is another one: nobody goes on from where it was. How far the tail had come is forgotten first: who finds the
    /// room as it is after that asks the log itself.
    fn turn(&self) {
        self.0.told.send_replace(0);
        self.room().turn();
    }

    /// Stops if nobody listens.
    fn parked(&self) -> bool {
        let mut room = self.room();
        let parked = room.is_empty() && self.0.told.receiver_count() == 0;
        if parked {
            room.stop();
            self.0.told.send_replace(0);
        }
        parked
    }

    /// Hands on what is new in the log, a page at most; whether there may be more.
    async fn step(&self, place: &mut Option<Place>) -> Result<bool, Broken> {
        let at = match place {
            Some(place) => place,
            none => none.insert(self.begin().await?),
        };
        let (after, before) = at.identity.map_or((at.position, 0), |_| (at.position - 1, 1));
        let mut events = self.0.store.after(after, PAGE + before).await?;
        let more = events.len() == PAGE + before || events.iter().map(Recorded::weight).sum::<usize>() > READ_BYTES / 2;
        if let Some(identity) = at.identity {
            let Some(same) = events.first() else {
                // A replica that is behind, or a log that was restored to an earlier point.
                let epoch = self.0.store.epoch().await?;
                return if epoch == at.epoch { Ok(false) } else { Err(Broken::Changed(at.position)) };
            };
            if same.position != at.position || identity_of(same) != identity {
                return Err(Broken::Changed(at.position));
            }
            events.remove(0);
        }
        let Some(last) = events.last() else { return Ok(false) };
        if (at.position + 1..).zip(&events).any(|(expected, event)| event.position != expected) {
            return Err(Broken::Changed(last.position));
        }
        (at.position, at.identity) = (last.position, Some(identity_of(last)));
        let mut room = self.room();
        for event in events {
            room.push(Arc::new(Told::new(event)));
        }
        drop(room);
        self.0.told.send_replace(at.position);
        Ok(more)
    }

    async fn begin(&self) -> Result<Place, StoreError> {
        let (epoch, head) = (self.0.store.epoch().await?, self.0.store.head().await?);
        let position = (head - BEFORE).max(0);
        let identity = self.0.store.identity(position).await?;
        self.room().start(position);
        Ok(Place { position, identity, epoch })
    }
}

fn identity_of(event: &Recorded) -> Identity {
    Identity { epoch: event.epoch, event_id: event.event_id }
}
