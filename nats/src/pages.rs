//! Reading the log's table from a position on, as much at a time as is good for memory.

use event_store::{
    Recorded, Store,
    store::{Identity, READ_BYTES},
};

use crate::Error;

/// What a page should weigh at most, in bytes, if its events are like those before them.
const BYTES: usize = 4 << 20;
const FIRST: usize = 128;
const LEAST: usize = 16;
const MOST: usize = 4096;

/// How many events the next page has.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    limit: usize,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Self { limit: FIRST }
    }

    /// The events after `after`, in order and without a gap, at most `max`; and whether there may be more. The log's having a
    /// hole is an error, and so is its having another event at `after` than `last`, which was read there before.
    pub(crate) async fn next(
        &mut self,
        store: &Store,
        after: i64,
        last: Option<Identity>,
        max: usize,
    ) -> Result<(Vec<Recorded>, bool), Error> {
        let asked = self.limit.min(max.max(1));
        let events = match last {
            Some(last) => {
                let mut events = store.after(after - 1, asked + 1).await?.into_iter();
                if events.next().is_none_or(|event| event.position != after || identity(&event) != last) {
                    return Err(Error::Changed { position: after });
                }
                events.collect()
            }
            None => store.after(after, asked).await?,
        };
        for (expected, event) in (after + 1..).zip(&events) {
            if event.position != expected {
                return Err(Error::Gap { expected, found: event.position });
            }
        }
        let weight: usize = events.iter().map(Recorded::weight).sum();
        // A read ends early when it has become too heavy.
        let more = events.len() == asked || weight >= READ_BYTES / 2;
        if more {
            self.limit = (BYTES * events.len() / weight.max(1)).clamp(LEAST, (self.limit * 2).clamp(LEAST, MOST));
        }
        Ok((events, more))
    }
}

/// By what an event is known again.
pub(crate) fn identity(event: &Recorded) -> Identity {
    Identity { epoch: event.epoch, event_id: event.event_id }
}
