//! The rows of the log, and what each must be by itself.

use std::collections::HashMap;

use events::seal::{Hash, receipt::Proven};
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::finding::{Findings, What};
use crate::message::{Expected, MESSAGE};

/// An event as it is stored.
pub struct Row {
    /// All that its hash is taken over.
    pub event: Proven,
    /// The hash that the row has.
    pub hash: Hash,
    /// The message that it must be on NATS.
    pub message: Expected,
}

/// All events up to `$1`, in order.
pub fn sql() -> String {
    format!(
        "select {MESSAGE}, event_id, stream, id, version, kind, schema, scope, recorded_at, meta::text, hash
         from event where position <= $1 order by position"
    )
}

impl Row {
    /// One of the rows of [`sql`].
    pub fn read(row: &PgRow) -> anyhow::Result<Self> {
        let hash: Vec<u8> = row.try_get("hash")?;
        let event = Proven {
            position: row.try_get("position")?,
            event_id: row.try_get("event_id")?,
            stream: row.try_get("stream")?,
            id: row.try_get("id")?,
            version: row.try_get("version")?,
            kind: row.try_get("kind")?,
            schema: row.try_get("schema")?,
            scope: row.try_get("scope")?,
            recorded_at: row.try_get("recorded_at")?,
            data: row.try_get("data")?,
            meta: row.try_get("meta")?,
            proof: Vec::new(),
        };
        // Of another length only where the table's own check was taken off; then it is no event's.
        let hash = hash.try_into().unwrap_or_default();
        Ok(Self { message: Expected::read(row)?, event, hash })
    }
}

/// The versions of all things: each goes on from the one before.
#[derive(Debug, Default)]
pub struct Versions {
    streams: Vec<String>,
    last: HashMap<Thing, i32>,
    gaps: Vec<Gap>,
}

/// A stream, by its place in the list of them, and an id.
type Thing = (usize, Uuid);

/// A version that was left out.
#[derive(Debug)]
struct Gap {
    thing: Thing,
    version: i32,
    /// Where it is missed.
    position: i64,
    /// It came later.
    late: bool,
}

impl Versions {
    /// Takes the next event in.
    pub fn see(&mut self, event: &Proven, findings: &mut Findings) {
        let stream = self.streams.iter().position(|known| *known == event.stream).unwrap_or_else(|| {
            self.streams.push(event.stream.clone());
            self.streams.len() - 1
        });
        let thing = (stream, event.id);
        let last = self.last.entry(thing).or_default();
        let expected = *last + 1;
        *last = event.version.max(*last);
        if event.version > expected {
            self.gaps.push(Gap { thing, version: expected, position: event.position, late: false });
        } else if event.version < expected {
            let gap = self.gaps.iter_mut().find(|gap| gap.thing == thing && gap.version <= event.version);
            if let Some(gap) = gap {
                gap.late = true;
            } else {
                let how = format!("version {} of {} {} comes once more", event.version, event.stream, event.id);
                findings.at(What::Inserted, event.position, how);
            }
        }
    }

    /// Says what was left out.
    pub fn finish(self, findings: &mut Findings) {
        for Gap { thing: (stream, id), version, position, late } in self.gaps {
            let what = if late { What::Swapped } else { What::Removed };
            let how = format!("version {version} of {} {id} does not come before it", self.streams[stream]);
            findings.at(what, position, how);
        }
    }
}
