//! The feed: every event once, in order, without a gap, to all who ask in this process.
//!
//! It comes out of JetStream while the next message is exactly the next position, and out of the log's table otherwise: far
//! behind, expired, a hole, a reconnect, a wiped server, no server at all. It is never filtered at the server: who does not
//! want an event passes it over, and moves on all the same.

mod course;
mod shelf;
mod tail;
mod window;

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicU64, Ordering},
};

use event_store::{Recorded, Store, store::Identity};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use shelf::{Asked, Shelf};
use tail::Tail;
use window::Window;

use crate::{
    Bus, Error,
    pages::{self, Pages},
};

/// What the window may weigh, in bytes.
const WINDOW: usize = 16 << 20;

/// The feed of a process; clones are the same.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
    tail: watch::Receiver<i64>,
}

struct Shared {
    store: Store,
    window: RwLock<Window>,
    shelf: Shelf,
    readers: AtomicU64,
}

impl Feed {
    /// A feed, and the task that works it, which ends when `soft` is cancelled, or with an error when the log has a
    /// hole or has lost its end.
    pub fn start(
        store: Store,
        bus: Bus,
        soft: CancellationToken,
    ) -> (Self, impl Future<Output = Result<(), Error>> + Send + use<>) {
        let shared = Arc::new(Shared {
            store,
            window: RwLock::new(Window::new(WINDOW)),
            shelf: Shelf::new(),
            readers: AtomicU64::new(0),
        });
        let (sender, receiver) = watch::channel(0);
        let tail = Tail {
            shared: shared.clone(),
            bus,
            told: sender,
            position: -1,
            last: None,
            pages: Pages::new(),
            failing: None,
        };
        let work = async move {
            tokio::select! {
                () = soft.cancelled() => Ok(()),
                ended = tail.run() => ended,
            }
        };
        (Self { shared, tail: receiver }, work)
    }

    /// A reader of all events after the position `after`.
    pub fn reader(&self, after: i64) -> Reader {
        Reader {
            number: self.shared.readers.fetch_add(1, Ordering::Relaxed),
            shared: self.shared.clone(),
            tail: self.tail.clone(),
            position: after,
            last: None,
            pages: Pages::new(),
        }
    }

    /// The position of the last event that the feed has handed on, to be watched.
    pub fn tail(&self) -> watch::Receiver<i64> {
        self.tail.clone()
    }
}

/// One who reads the feed, at a speed of its own.
pub struct Reader {
    number: u64,
    shared: Arc<Shared>,
    tail: watch::Receiver<i64>,
    position: i64,
    /// The event there, if it was read here.
    last: Option<Identity>,
    pages: Pages,
}

impl Reader {
    /// Waits until at least one event is there and returns what waits, at most `max` (one at least), in order and without a
    /// gap. Nothing is lost when the call is cancelled.
    ///
    /// Errors: the log cannot be read ([`Error::Store`], worth another try), has a hole ([`Error::Gap`]), has lost events that
    /// were read from it ([`Error::Changed`]), or ends before where this reader begins ([`Error::Ahead`]); the feed's task has
    /// ended ([`Error::Ended`]).
    pub async fn next(&mut self, max: usize) -> Result<Vec<Arc<Recorded>>, Error> {
        let max = max.max(1);
        loop {
            let tail = *self.tail.borrow_and_update();
            if tail > self.position {
                let events = self.ready(max).await?;
                if let Some(last) = events.last() {
                    (self.position, self.last) = (last.position, Some(pages::identity(last)));
                    return Ok(events);
                }
                return Err(Error::Gap { expected: self.position + 1, found: 0 });
            }
            if tail < self.position {
                // The feed may be a little behind the reader's own past, the log may not.
                let head = self.shared.store.head().await?;
                if head < self.position {
                    return Err(Error::Ahead { position: self.position, head });
                }
            }
            self.shared.shelf.leave(self.number);
            self.tail.changed().await.map_err(|_| Error::Ended)?;
        }
    }

    /// The position of the last event that it returned, or where it began.
    pub fn position(&self) -> i64 {
        self.position
    }

    async fn ready(&mut self, max: usize) -> Result<Vec<Arc<Recorded>>, Error> {
        let in_window = {
            let window = self.shared.window.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            window.after(self.position, max)
        };
        if let Some(events) = in_window {
            self.shared.shelf.leave(self.number);
            return Ok(events);
        }
        let asked = Asked { reader: self.number, position: self.position, last: self.last };
        if let Some(events) = self.shared.shelf.next(&self.shared.store, asked, max).await? {
            return Ok(events);
        }
        let (events, _) = self.pages.next(&self.shared.store, self.position, self.last, max).await?;
        Ok(events.into_iter().map(Arc::new).collect())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.shelf.leave(self.number);
    }
}
