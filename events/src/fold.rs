//! What the events of one thing add up to for those who read: its row, folded.
//!
//! No SQL and no I/O, so that the same code serves to project, to rebuild, to compare, and to tell how things were. Each
//! context has its rows in a module `row`; an aggregate is for deciding, a row for reading.

use uuid::Uuid;

use crate::{Recorded, store::StoreError};

/// A row that is the fold of one thing's events.
pub trait Fold: Sized {
    /// The stream that the things are of.
    const STREAM: &'static str;

    /// The thing.
    fn id(&self) -> Uuid;

    /// The version of the last event that is in the row.
    fn version(&self) -> i32;

    /// What `event`, the next of this thing, makes of the row (none before the first). Also sets version and position.
    fn next(row: Option<Self>, event: &Recorded) -> Result<Self, Error>;

    /// Applies `event` unless the row has it already; a version left out is an error. Returns whether the row changed.
    /// After an error the row is gone.
    fn apply(row: &mut Option<Self>, event: &Recorded) -> Result<bool, Error> {
        let expected = row.as_ref().map_or(0, Self::version) + 1;
        if event.version < expected {
            return Ok(false);
        }
        if event.version > expected {
            return Err(Error::Gap {
                position: event.position,
                stream: event.stream.clone(),
                id: event.id,
                expected,
                found: event.version,
            });
        }
        *row = Some(Self::next(row.take(), event)?);
        Ok(true)
    }
}

/// Why an event cannot follow on a row. The event is at fault, and with it its thing alone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be understood.
    #[error(transparent)]
    Undecodable(#[from] StoreError),
    /// A thing's events do not follow each other.
    #[error("event {position} is version {found} of {stream} {id}, whose row is at version {expected} - 1")]
    Gap {
        /// Where the event stands.
        position: i64,
        /// Its stream.
        stream: String,
        /// The thing.
        id: Uuid,
        /// The version that would be next.
        expected: i32,
        /// The version that came.
        found: i32,
    },
    /// An event that no thing's history begins or goes on with.
    #[error("event {position}, {kind}, cannot be version {version} of {stream} {id}")]
    OutOfPlace {
        /// Where it stands.
        position: i64,
        /// Its stream.
        stream: String,
        /// The thing.
        id: Uuid,
        /// Its kind.
        kind: String,
        /// Its version.
        version: i32,
    },
}

/// The refusal of an event that cannot follow on the row as it is.
pub fn out_of_place(event: &Recorded) -> Error {
    Error::OutOfPlace {
        position: event.position,
        stream: event.stream.clone(),
        id: event.id,
        kind: event.kind.clone(),
        version: event.version,
    }
}
