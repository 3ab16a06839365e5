//! Whatever has happened to the log and to the stream: what is decided, done again and again, brings the stream to be the log,
//! and never publishes on a stream that is not a part of it. The log and the server are models here.

use std::collections::BTreeMap;

use event_store::store::Identity;
use proptest::{collection::vec, option, prelude::*};
use uuid::Uuid;

use super::decide::{Action, Log, decide};
use crate::stream::{Held, Stored, Tail};

/// A stream as the server has it. A message that is no event has no identity.
#[derive(Debug, Clone, Default)]
struct Stream {
    epoch: i32,
    begins: i64,
    keep: Option<i64>,
    last: i64,
    messages: BTreeMap<i64, Option<Identity>>,
}

impl Stream {
    fn push(&mut self, message: Option<Identity>) {
        self.last += 1;
        self.messages.insert(self.last, message);
        while self.keep.is_some_and(|keep| i64::try_from(self.messages.len()).unwrap() > keep) {
            self.messages.pop_first();
        }
    }

    fn stored(&self) -> Stored {
        let first = self.messages.first_key_value().map_or(self.last + 1, |(first, _)| *first);
        let last = self.messages.last_key_value();
        let tail = match last {
            // A message that was deleted cannot be read.
            None => Tail::None,
            Some((at, _)) if *at != self.last => Tail::Foreign,
            Some((_, message)) => message.map_or(Tail::Foreign, Tail::Event),
        };
        let messages = i64::try_from(self.messages.len()).unwrap();
        let deleted = if messages == 0 { 0 } else { self.last - first + 1 - messages };
        Stored { begins: self.begins, limited: self.keep.is_some(), first, last: self.last, messages, deleted, tail }
    }
}

#[derive(Debug, Default)]
struct World {
    log: Vec<Identity>,
    epoch: i32,
    stream: Option<Stream>,
    keep: Option<i64>,
    made: u128,
}

/// What befalls it.
#[derive(Debug, Clone)]
enum Event {
    /// Events are appended; some of them are relayed.
    Append(usize),
    Relay(usize),
    /// The log is restored to what it was: it has lost its end, and perhaps its epoch with it.
    Restore {
        lost: usize,
        epochs: i32,
    },
    /// Somebody else publishes, be it an event of ours: at another sequence than its position it cannot be read as one.
    Foreign,
    Wipe,
    Damage(prop::sample::Index),
    Purge,
    /// The stream is of another epoch.
    Epoch(i32),
    Settle,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..6usize).prop_map(Event::Append),
        3 => (1..6usize).prop_map(Event::Relay),
        1 => (0..8usize, 0..3i32).prop_map(|(lost, epochs)| Event::Restore { lost, epochs }),
        2 => Just(Event::Foreign),
        1 => Just(Event::Wipe),
        1 => any::<prop::sample::Index>().prop_map(Event::Damage),
        1 => Just(Event::Purge),
        1 => (1..9i32).prop_map(Event::Epoch),
        3 => Just(Event::Settle),
    ]
}

impl World {
    fn head(&self) -> i64 {
        i64::try_from(self.log.len()).unwrap()
    }

    fn at(&self, position: i64) -> Option<Identity> {
        let index = usize::try_from(position).ok()?.checked_sub(1)?;
        self.log.get(index).copied()
    }

    /// As the relay looks at the two.
    fn look(&self) -> (Log, Held) {
        let held = match &self.stream {
            None => Held::Nothing,
            Some(stream) if stream.epoch != self.epoch => Held::Other(stream.epoch),
            Some(stream) => Held::Ours(stream.stored()),
        };
        let at_tail = match held {
            Held::Ours(stored) => self.at(stored.last),
            _ => None,
        };
        (Log { epoch: self.epoch, head: self.head(), at_tail }, held)
    }

    /// Nothing of another log is in the stream, and nothing is missing.
    fn is_part(&self) -> bool {
        let stream = self.stream.as_ref().unwrap();
        let first = stream.stored().first;
        stream.epoch == self.epoch
            && (first..=stream.last).all(|at| self.at(at).is_some() && stream.messages.get(&at) == Some(&self.at(at)))
    }

    /// One turn of the relay, which publishes at most `count`. Whether there is nothing left to do.
    fn turn(&mut self, count: usize) -> Result<bool, TestCaseError> {
        let (log, held) = self.look();
        match decide(&log, &held) {
            Action::Create => {
                let begins = self.keep.map_or(1, |keep| (log.head - keep + 1).max(1));
                let (epoch, keep) = (log.epoch, self.keep);
                self.stream = Some(Stream { epoch, begins, keep, last: begins - 1, messages: BTreeMap::new() });
            }
            Action::Raise(_) => self.epoch += 1,
            Action::Publish { after } => {
                prop_assert!(self.is_part(), "goes on from {} of {:?}", after, self);
                let next: Vec<Identity> = (after + 1..=log.head).filter_map(|at| self.at(at)).take(count).collect();
                let stream = self.stream.as_mut().unwrap();
                prop_assert_eq!(stream.last, after);
                for event in next {
                    stream.push(Some(event));
                }
                return Ok(stream.last == log.head);
            }
        }
        Ok(false)
    }

    fn settle(&mut self) -> Result<(), TestCaseError> {
        // As often as epochs lie between the two, and then: look at what is there, raise, make, publish.
        let turns = self.stream.as_ref().map_or(0, |stream| (stream.epoch - self.epoch).max(0)) + 4;
        for _ in 0..turns {
            if self.turn(usize::MAX)? {
                prop_assert!(self.is_part());
                return Ok(());
            }
        }
        Err(TestCaseError::fail(format!("it does not come to an end: {self:?}")))
    }

    fn befalls(&mut self, event: Event) -> Result<(), TestCaseError> {
        match (event, &mut self.stream) {
            (Event::Append(count), _) => {
                for _ in 0..count {
                    self.made += 1;
                    self.log.push(Identity { epoch: self.epoch, event_id: Uuid::from_u128(self.made) });
                }
            }
            (Event::Relay(count), _) => drop(self.turn(count)?),
            (Event::Restore { lost, epochs }, _) => {
                self.log.truncate(self.log.len().saturating_sub(lost));
                // The ledger's epoch is of the same state as its events.
                let known = self.log.last().map_or(1, |last| last.epoch);
                self.epoch = (self.epoch - epochs).max(known);
            }
            (Event::Foreign, Some(stream)) => stream.push(None),
            (Event::Wipe, stream) => *stream = None,
            (Event::Damage(at), Some(stream)) if !stream.messages.is_empty() => {
                let keys: Vec<i64> = stream.messages.keys().copied().collect();
                stream.messages.remove(at.get(&keys));
            }
            (Event::Purge, Some(stream)) => stream.messages.clear(),
            (Event::Epoch(epoch), Some(stream)) => stream.epoch = epoch,
            (Event::Settle, _) => self.settle()?,
            _ => {}
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_stream_comes_to_be_the_log(keep in option::of(1..8i64), events in vec(event(), 0..30)) {
        let mut world = World { epoch: 1, keep, ..World::default() };
        for event in events {
            world.befalls(event)?;
        }
        world.settle()?;
        // And then there is nothing to be done.
        let (log, held) = world.look();
        prop_assert_eq!(decide(&log, &held), Action::Publish { after: log.head });
    }
}
