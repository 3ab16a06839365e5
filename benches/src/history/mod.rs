//! A long log of the kind that production writes: some users, a catalogue and prompts, then executions that begin, go on and
//! end beside each other. The same numbers give the same log, and it knows what the read models must say of it.
//!
//! Events are made of the product's own types; `fill` puts them into the log's table with their true hashes, many at a
//! time, because through [`events::execute()`] it would take minutes.

mod course;
mod fill;
mod foundation;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use events::{Fact, Meta, Recorded, execution::Status, store::New};
use uuid::Uuid;

use course::Run;
pub use fill::fill;
use foundation::Foundation;

/// How many executions are open at a time.
const OPEN: usize = 64;
/// The time of the first event, in microseconds since 1970, and from one event to the next.
const BEGIN: i64 = 1_790_000_000_000_000;
const STEP: i64 = 400;

/// A log, event by event, without an end.
#[derive(Debug)]
pub struct History {
    position: i64,
    foundation: Foundation,
    /// The executions that are open.
    open: VecDeque<Run>,
    begun: u64,
    statuses: BTreeMap<&'static str, i64>,
}

/// An event that has no place in the log yet.
struct Draft {
    stream: &'static str,
    id: Uuid,
    version: i32,
    scope: Option<Uuid>,
    new: New,
    meta: Arc<Meta>,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// The log from its first event on.
    pub fn new() -> Self {
        Self {
            position: 0,
            foundation: Foundation::new(),
            open: VecDeque::with_capacity(OPEN),
            begun: 0,
            statuses: BTreeMap::new(),
        }
    }

    /// The next `count` events.
    pub fn take(&mut self, count: usize) -> anyhow::Result<Vec<Recorded>> {
        (0..count).map(|_| self.next()).collect()
    }

    /// How many executions are in each status after the events that were taken.
    pub fn statuses(&self) -> BTreeMap<String, i64> {
        self.statuses
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    /// Events that are taken from now on stand after `position`: others are there already.
    pub fn go_on_after(&mut self, position: i64) {
        self.position = position;
    }

    fn next(&mut self) -> anyhow::Result<Recorded> {
        let Draft { stream, id, version, scope, new, meta } = match self.foundation.next()? {
            Some(draft) => draft,
            None => self.step()?,
        };
        self.position += 1;
        Ok(Recorded {
            position: self.position,
            epoch: 1,
            event_id: new.event_id,
            stream: stream.to_owned(),
            id,
            version,
            kind: new.kind.to_owned(),
            schema: new.schema,
            scope,
            data: new.data,
            meta: Meta::clone(&meta),
            recorded_at: time(self.position),
        })
    }

    /// The next event of an execution: of a new one while few are open, else of the one that waits longest.
    fn step(&mut self) -> anyhow::Result<Draft> {
        let longest = if self.open.len() < OPEN { None } else { self.open.pop_front() };
        let mut run = longest.unwrap_or_else(|| {
            self.begun += 1;
            Run::new(self.begun)
        });
        let before = run.status();
        let draft = run.next()?;
        let after = run.status();
        if let Some(before) = before {
            *self.statuses.entry(before.name()).or_default() -= 1;
        }
        *self.statuses.entry(after.unwrap_or(Status::Queued).name()).or_default() += 1;
        if after.is_some_and(|status| !status.is_ended()) {
            self.open.push_back(run);
        }
        Ok(draft)
    }
}

/// When the event at `position` was recorded.
fn time(position: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(BEGIN).unwrap_or_default() + TimeDelta::microseconds(position * STEP)
}

/// The nth id of a kind, as version 7 would have made it: times that go up, then what looks like chance.
fn id(kind: u64, n: u64) -> Uuid {
    let chance = mix(kind << 56 ^ n);
    let milliseconds = BEGIN.unsigned_abs() / 1000 + n;
    let (high, low) = (mix(chance) & 0x0fff, chance >> 2);
    Uuid::from_u128(u128::from(milliseconds) << 80 | 0x7 << 76 | u128::from(high) << 64 | 0b10 << 62 | u128::from(low))
}

/// `SplitMix64`: <https://prng.di.unimi.it/splitmix64.c>.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn new<E: Fact>(event: &E, kind: u64, n: u64) -> anyhow::Result<New> {
    Ok(New::of(event, id(kind, n))?)
}
