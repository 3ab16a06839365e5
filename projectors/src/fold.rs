//! The pure part of a projection: what an event makes of a row. No SQL and no I/O, so that the same code serves to project,
//! to rebuild, to compare, and to tell how things were.

use std::{collections::BTreeMap, sync::Arc};

use events::Recorded;
use uuid::Uuid;

use crate::projection::Error;

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

/// The refusal of an event that cannot follow on the row as it is.
pub(crate) fn out_of_place(event: &Recorded) -> Error {
    Error::OutOfPlace {
        position: event.position,
        stream: event.stream.clone(),
        id: event.id,
        kind: event.kind.clone(),
        version: event.version,
    }
}

/// The events of a batch that concern rows of `R`.
pub(crate) fn of<R: Fold>(batch: &[Arc<Recorded>]) -> impl Iterator<Item = &Recorded> {
    batch.iter().map(Arc::as_ref).filter(|event| event.stream == R::STREAM)
}

/// The things of a batch whose rows have to be loaded first: those that do not begin in it.
pub(crate) fn begun<R: Fold>(batch: &[Arc<Recorded>]) -> Vec<Uuid> {
    let mut first = BTreeMap::new();
    for event in of::<R>(batch) {
        first.entry(event.id).or_insert(event.version);
    }
    first.into_iter().filter_map(|(id, version)| (version > 1).then_some(id)).collect()
}

/// The rows that a batch makes of those that were there: one for each thing that changed, in the order of their ids.
pub(crate) fn rows<R: Fold>(there: Vec<R>, batch: &[Arc<Recorded>]) -> Result<Vec<R>, Error> {
    let mut rows: BTreeMap<Uuid, (Option<R>, bool)> =
        there.into_iter().map(|row| (row.id(), (Some(row), false))).collect();
    for event in of::<R>(batch) {
        let (row, changed) = rows.entry(event.id).or_insert((None, false));
        *changed |= R::apply(row, event)?;
    }
    Ok(rows.into_values().filter_map(|(row, changed)| row.filter(|_| changed)).collect())
}

/// One column of many rows, to be bound as an array.
pub(crate) fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
