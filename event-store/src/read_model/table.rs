//! A table without the type of its rows, for code that goes over all of them.

use super::{Column, TableRow, Value};
use crate::{Recorded, fold};

/// A table of a read model.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The stream that its rows are folded from.
    pub stream: &'static str,
    /// Every kind of event of that stream.
    pub kinds: &'static [&'static str],
    /// Its columns, in their order.
    pub columns: &'static [Column],
    fold: fn() -> Box<dyn FoldedRow>,
}

impl Table {
    /// The table of the rows `R`.
    pub const fn of<R: TableRow>() -> Self {
        Self { name: R::TABLE, stream: R::STREAM, kinds: R::KINDS, columns: R::COLUMNS, fold: empty::<R> }
    }

    /// The row of an aggregate before its first event.
    pub fn fold(&self) -> Box<dyn FoldedRow> {
        (self.fold)()
    }
}

/// The row of one aggregate, as its events make it.
pub trait FoldedRow: Send + Sync {
    /// Applies the next event of the aggregate.
    fn apply(&mut self, event: &Recorded) -> Result<(), fold::Error>;

    /// What the row has in the column of this number; none while there is no row.
    fn value(&self, column: usize) -> Option<Value<'_>>;
}

impl<R: TableRow> FoldedRow for Option<R> {
    fn apply(&mut self, event: &Recorded) -> Result<(), fold::Error> {
        R::apply(self, event).map(drop)
    }

    fn value(&self, column: usize) -> Option<Value<'_>> {
        self.as_ref().map(|row| row.value(column))
    }
}

fn empty<R: TableRow>() -> Box<dyn FoldedRow> {
    Box::new(None::<R>)
}
