//! The rows of a batch. What an event makes of a row is in `events`, for all who ask.

use std::{collections::BTreeMap, sync::Arc};

pub use events::Fold;
use events::{Recorded, fold::Error};
use uuid::Uuid;

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
