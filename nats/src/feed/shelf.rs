//! What was read of the table lately, for other readers on the same way: projections that catch up side by side read the log
//! once, and the slow one finds read ahead what it needs next.
//!
//! One reads at a time, for all who are within reach. Nobody waits long for another: who is so far behind that there is no
//! room to read on is left behind after [`PATIENCE`], and then reads for itself.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use event_store::{Recorded, Store, store::Identity};
use tokio::{sync::Notify, time::timeout_at};

use crate::{
    Error,
    pages::{self, Pages},
};

/// What the shelf may weigh before the next page is put on it, in bytes.
const LIMIT: usize = 8 << 20;
/// How long the others wait for the slowest.
const PATIENCE: Duration = Duration::from_secs(1);
/// For how long events are as good as read now: a log that was restored meanwhile may have others there.
const FRESH: Duration = Duration::from_secs(3);

/// The shelf of a feed.
#[derive(Debug)]
pub(super) struct Shelf {
    row: Mutex<Row>,
    /// Held by the one who reads.
    reading: tokio::sync::Mutex<Pages>,
    /// Somebody has taken events, or has gone.
    moved: Notify,
}

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The reader.
    pub(super) reader: u64,
    /// The position of the last event that it has.
    pub(super) position: i64,
    /// That event, if it was read by this reader.
    pub(super) last: Option<Identity>,
}

/// What the shelf has for a reader.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// What follows on what it has.
    Events(Vec<Arc<Recorded>>),
    /// All that is here it has; the next page is to be read.
    End,
    /// It is not on the way of the others.
    Elsewhere,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self { row: Mutex::default(), reading: tokio::sync::Mutex::new(Pages::new()), moved: Notify::new() }
    }

    /// At most `max` of the events after those that the reader has, from the shelf or, for all, from the table; empty if the
    /// table has none. None for a reader who must read for itself.
    pub(super) async fn next(
        &self,
        store: &Store,
        asked: Asked,
        max: usize,
    ) -> Result<Option<Vec<Arc<Recorded>>>, Error> {
        loop {
            match self.row().take(asked, max) {
                Found::Events(events) => {
                    self.moved.notify_waiters();
                    return Ok(Some(events));
                }
                Found::Elsewhere => {
                    self.moved.notify_waiters();
                    return Ok(None);
                }
                Found::End => {}
            }
            let mut pages = self.reading.lock().await;
            // Another may have read on while this one waited for its turn.
            if self.row().end != asked.position {
                continue;
            }
            self.make_room().await;
            let (events, _) = pages.next(store, asked.position, asked.last, max).await?;
            if events.is_empty() {
                return Ok(Some(Vec::new()));
            }
            self.row().put(asked.position, events);
        }
    }

    /// Forgets a reader who does not come back, or not soon; with the last of them goes all that is here.
    pub(super) fn leave(&self, reader: u64) {
        let mut row = self.row();
        if row.readers.remove(&reader).is_some() {
            if row.readers.is_empty() {
                *row = Row::default();
            }
            self.moved.notify_waiters();
        }
    }

    /// Returns when there is room for another page.
    async fn make_room(&self) {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // From here on nobody's move is missed.
            moved.as_mut().enable();
            if self.row().clear_up(LIMIT) {
                return;
            }
            if timeout_at(until, moved).await.is_err() {
                return self.row().leave_behind(LIMIT);
            }
        }
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events of consecutive positions, and who has taken which of them.
#[derive(Debug, Default)]
struct Row {
    events: VecDeque<Arc<Recorded>>,
    weight: usize,
    /// The position of the last event here, or of the one before the first that will be.
    end: i64,
    /// The event before the first, where it is known.
    before: Option<Identity>,
    /// Up to which position each has taken.
    readers: HashMap<u64, i64>,
    /// When the oldest here was read, or a later one.
    read: Option<Instant>,
}

impl Row {
    fn take(&mut self, asked: Asked, max: usize) -> Found {
        let Asked { reader, position, last } = asked;
        let alone = self.readers.keys().all(|other| *other == reader);
        let reachable = self.first() <= position + 1 && position <= self.end;
        if self.is_stale() || (alone && !reachable) {
            *self = Self { end: position, before: last, ..Self::default() };
        } else if !reachable || !self.has(position, last) {
            self.readers.remove(&reader);
            return Found::Elsewhere;
        }
        let skip = usize::try_from(position + 1 - self.first()).unwrap_or(0);
        let events: Vec<_> = self.events.iter().skip(skip).take(max).cloned().collect();
        self.readers.insert(reader, events.last().map_or(position, |last| last.position));
        if events.is_empty() { Found::End } else { Found::Events(events) }
    }

    /// Puts a page at the end, if it still belongs there.
    fn put(&mut self, after: i64, events: Vec<Recorded>) {
        if self.end != after {
            return;
        }
        self.read = Some(Instant::now());
        for event in events {
            self.weight += event.weight();
            self.end = event.position;
            self.events.push_back(Arc::new(event));
        }
    }

    /// Drops what all have taken, as far as room is needed; whether there is enough now.
    fn clear_up(&mut self, limit: usize) -> bool {
        let slowest = self.readers.values().copied().min().unwrap_or(i64::MAX);
        while self.weight >= limit
            && let Some(oldest) = self.events.pop_front_if(|oldest| oldest.position <= slowest)
        {
            self.weight -= oldest.weight();
            self.before = Some(pages::identity(&oldest));
        }
        self.weight < limit
    }

    /// Makes room without the slowest.
    fn leave_behind(&mut self, limit: usize) {
        while !self.clear_up(limit)
            && let Some(slowest) = self.readers.values().copied().min()
        {
            self.readers.retain(|_, taken| *taken > slowest);
        }
    }

    /// Whether the event at `position`, which is here or just before, is `last`, as far as the reader knows it.
    fn has(&self, position: i64, last: Option<Identity>) -> bool {
        let index = usize::try_from(position - self.first());
        let here = index.map_or(self.before, |index| self.events.get(index).map(|event| pages::identity(event)));
        last.is_none() || last == here
    }

    /// The position of the first event that is here, or will be.
    fn first(&self) -> i64 {
        self.events.front().map_or(self.end + 1, |first| first.position)
    }

    fn is_stale(&self) -> bool {
        self.read.is_some_and(|at| at.elapsed() > FRESH)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::sample;

    fn event(position: i64, weight: usize) -> Recorded {
        Recorded { data: "x".repeat(weight), ..sample::event(position) }
    }

    fn identity(position: i64) -> Option<Identity> {
        (position > 0).then(|| Identity { epoch: 1, event_id: event(position, 0).event_id })
    }

    proptest! {
        /// Readers that begin anywhere, take, read on and go, in any order: each gets exactly what follows, and no more is
        /// kept than there is room for.
        #[test]
        fn each_gets_what_follows_whoever_read_it(
            begin in vec(0..6_i64, 1..5), steps in vec((0..5_usize, 1..9_usize, 0..12_u8), 1..200),
        ) {
            let mut row = Row::default();
            let mut at: Vec<(i64, Option<Identity>)> = begin.iter().map(|position| (*position, None)).collect();
            for (who, max, what) in steps {
                let who = who % at.len();
                let (position, last) = at[who];
                let reader = u64::try_from(who).unwrap();
                match row.take(Asked { reader, position, last }, max) {
                    Found::Events(events) => {
                        prop_assert!(!events.is_empty() && events.len() <= max);
                        for (expected, event) in (position + 1..).zip(&events) {
                            prop_assert_eq!(event.position, expected);
                        }
                        let end = events.last().unwrap().position;
                        at[who] = (end, identity(end));
                    }
                    Found::End => {
                        if !row.clear_up(12_000) {
                            row.leave_behind(12_000);
                        }
                        prop_assert!(row.weight < 12_000);
                        let page = (position + 1..=position + 8).map(|position| event(position, 88));
                        row.put(position, page.collect());
                    }
                    Found::Elsewhere => {
                        prop_assert!(!row.readers.contains_key(&reader));
                        // It reads for itself.
                        at[who] = (position + 3, identity(position + 3));
                    }
                }
                prop_assert_eq!(row.weight, row.events.iter().map(|event| event.weight()).sum::<usize>());
                if what == 0 {
                    row.readers.remove(&reader);
                }
            }
        }
    }

    #[test]
    fn who_has_another_event_there_reads_for_itself() {
        let mut row = Row::default();
        let asked = |reader, position, last| Asked { reader, position, last };
        assert_eq!(row.take(asked(1, 0, None), 9), Found::End);
        row.put(0, vec![event(1, 9), event(2, 9)]);
        assert!(matches!(row.take(asked(1, 0, None), 9), Found::Events(events) if events.len() == 2));
        assert!(matches!(row.take(asked(2, 1, identity(1)), 9), Found::Events(events) if events.len() == 1));
        assert_eq!(row.take(asked(3, 1, identity(7)), 9), Found::Elsewhere);
    }

    #[test]
    fn what_was_read_a_while_ago_is_read_again() {
        let mut row = Row::default();
        let asked = |reader| Asked { reader, position: 0, last: None };
        assert_eq!(row.take(asked(1), 9), Found::End);
        row.put(0, vec![event(1, 9)]);
        assert!(matches!(row.take(asked(2), 9), Found::Events(_)));
        row.read = Instant::now().checked_sub(FRESH * 2);
        assert_eq!(row.take(asked(3), 9), Found::End);
    }

    #[tokio::test]
    async fn with_the_last_reader_goes_what_it_kept() {
        let shelf = Shelf::new();
        let asked = |reader, position| Asked { reader, position, last: None };
        assert_eq!(shelf.row().take(asked(1, 0), 9), Found::End);
        shelf.row().put(0, vec![event(1, 9)]);
        assert!(matches!(shelf.row().take(asked(2, 0), 9), Found::Events(_)));
        shelf.leave(1);
        assert_eq!(shelf.row().events.len(), 1);
        shelf.leave(2);
        assert_eq!(shelf.row().events.len(), 0);
    }
}
