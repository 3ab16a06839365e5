//! One who listens: history out of the table, then what the tail has, without a seam, because both are known by position.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::{
    clock,
    store::{Scanned, StoreError},
};
use futures_util::{Stream, stream};
use service::shares::Share;
use tokio::time::{Instant, sleep_until};

use super::{
    event::Told,
    room::{Cell, Look},
    tail::Tail,
};
use crate::sse::{self, HEARTBEAT};

/// The most events that are read from the table at a time, and about the most bytes that they take there.
const ARMFUL: usize = 64;
const ARMFUL_BYTES: usize = 256 << 10;

/// One who listens. It holds few events: one that is slow falls behind the tail, and reads the table.
pub struct Subscriber {
    tail: Tail,
    cell: Arc<Cell>,
    /// Everything up to here was sent, waits in `queue` or `found`, or is not wanted.
    cursor: i64,
    queue: VecDeque<Arc<Told>>,
    /// What is to be read from the table next: position and weight.
    found: VecDeque<(i64, usize)>,
    /// The last id that the client has.
    sent: i64,
    /// After an event of these kinds, and those that came with it, the stream ends.
    last: &'static [&'static str],
    over: bool,
    expires_at: DateTime<Utc>,
    place: Share,
}

impl Subscriber {
    pub(super) fn new(tail: Tail, cell: Arc<Cell>, place: Share, after: i64, expires_at: DateTime<Utc>) -> Self {
        Self {
            tail,
            cell,
            cursor: after,
            queue: VecDeque::new(),
            found: VecDeque::new(),
            sent: after,
            last: &[],
            over: false,
            expires_at,
            place,
        }
    }

    /// The same, ending with an event of one of these kinds.
    #[must_use]
    pub fn until(mut self, kinds: &'static [&'static str]) -> Self {
        self.last = kinds;
        self
    }

    /// Takes what was found after its position, or from an earlier one on.
    pub fn take(&mut self, scanned: Scanned) {
        for heading in scanned.headings {
            if self.cell.filter.wants(&heading) {
                self.over |= self.last.contains(&heading.kind.as_str());
                if heading.position > self.cursor {
                    self.found.push_back((heading.position, heading.bytes));
                }
            }
        }
        self.cursor = self.cursor.max(scanned.reached);
    }

    /// Whether it has ended, and nothing is left to send.
    pub fn is_over(&self) -> bool {
        self.over && self.found.is_empty() && self.queue.is_empty()
    }

    /// What goes out to the client, at the client's speed.
    pub fn messages(self) -> impl Stream<Item = Bytes> + Send + 'static {
        stream::unfold(Some(self), |subscriber| async move {
            let mut subscriber = subscriber?;
            match subscriber.next().await {
                Next::Message(bytes) => Some((bytes, Some(subscriber))),
                Next::Last(bytes) => Some((bytes, None)),
                Next::End => None,
            }
        })
    }

    async fn next(&mut self) -> Next {
        let heartbeat = Instant::now() + HEARTBEAT;
        loop {
            if self.tail.soft().is_cancelled() {
                return Next::Last(sse::retry());
            }
            let now = clock::now();
            if now >= self.expires_at {
                return Next::Last(sse::comment("the token has expired"));
            }
            if let Some(event) = self.queue.pop_front() {
                self.sent = event.recorded.position;
                return event.message().map_or(Next::Last(sse::retry()), Next::Message);
            }
            if self.is_over() {
                return Next::End;
            }
            if !self.found.is_empty() {
                if self.fetch().await.is_err() {
                    return Next::Last(sse::retry());
                }
                continue;
            }
            match self.look() {
                Look::Events(events) => self.queue = events.into(),
                Look::Elsewhere => {
                    let Ok(scanned) = self.tail.scan(self.place.caller(), &self.cell.filter, self.cursor).await else {
                        return Next::Last(sse::retry());
                    };
                    if scanned.reached == self.cursor && scanned.headings.is_empty() {
                        // What the tail has read is not there any more.
                        return Next::Last(sse::retry());
                    }
                    self.take(scanned);
                    if self.found.is_empty() {
                        return self.moved();
                    }
                }
                Look::Over => return Next::Last(sse::retry()),
                Look::Nothing => {
                    let left = (self.expires_at - now).to_std().unwrap_or_default();
                    let expiry = Instant::now() + left.min(HEARTBEAT);
                    tokio::select! {
                        () = self.cell.woken.notified() => {}
                        () = self.tail.soft().cancelled() => {}
                        () = sleep_until(heartbeat.min(expiry)) => if Instant::now() >= heartbeat {
                            return self.beat();
                        }
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Look {
        let (cursor, look) = self.tail.room().look(&self.cell, self.cursor);
        self.cursor = cursor;
        if let Look::Events(events) = &look {
            self.over |= events.iter().any(|event| self.last.contains(&event.recorded.kind.as_str()));
        }
        look
    }

    /// Nothing has come for a while that is wanted; other events may have.
    fn beat(&mut self) -> Next {
        match self.look() {
            Look::Nothing if self.cursor == self.sent => Next::Message(sse::comment("")),
            Look::Nothing => self.moved(),
            Look::Events(events) => {
                self.queue = events.into();
                Next::Message(sse::comment(""))
            }
            Look::Elsewhere | Look::Over => Next::Message(sse::comment("")),
        }
    }

    /// All up to the cursor was sent or is not wanted: a client that comes back need not begin before.
    fn moved(&mut self) -> Next {
        self.sent = self.cursor;
        Next::Message(sse::moved(self.cursor))
    }

    /// Reads a few of the events that were found.
    async fn fetch(&mut self) -> Result<(), StoreError> {
        let mut bytes = 0;
        let few = self.found.iter().take(ARMFUL).take_while(|(_, weight)| {
            bytes += weight;
            bytes <= ARMFUL_BYTES || bytes == *weight
        });
        let positions: Vec<_> = few.map(|(position, _)| *position).collect();
        let events = self.tail.at(self.place.caller(), &positions).await?;
        if events.is_empty() {
            return Err(StoreError::Unavailable(None));
        }
        self.found.drain(..events.len());
        self.queue = events.into_iter().map(|event| Arc::new(Told::new(event))).collect();
        Ok(())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.tail.room().leave(&self.cell);
    }
}

enum Next {
    Message(Bytes),
    Last(Bytes),
    End,
}
