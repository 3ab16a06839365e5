//! A projection's rows made in memory, many at a time, to be written once each: what a rebuild does with the bulk of the log.
//!
//! Events come in the log's order. A row is gathered from the first event of its thing on, and handed out with all others
//! when they weigh enough; what its thing still does after that comes too late for memory, and is applied to the written row
//! by the projection's usual way.

mod copy;

use std::collections::HashMap;

use events::Recorded;
use uuid::Uuid;

pub use copy::{Copy, HEAD, Line, TAIL};

use crate::{fold::Fold, projection::Error};

/// What of an event became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in a row that is gathered here.
    Gathered,
    /// The row of its thing was handed out before.
    Late,
    /// It is of a stream that has no rows here.
    Foreign,
}

/// All that is gathered for one projection.
pub trait Bulk: Default + Send + 'static {
    /// Takes the next event. After an error its thing is to be dropped.
    fn take(&mut self, event: &Recorded) -> Result<Taken, Error>;

    /// Drops the row of a thing, whose events are late from the first on.
    fn drop_thing(&mut self, id: Uuid);

    /// About how many bytes are gathered.
    fn weight(&self) -> usize;

    /// Hands out all rows, per table and with the columns that they have.
    fn hand_out(&mut self) -> Vec<Load>;

    /// The row that the last event of a thing has made in `table`, for whoever follows one thing event by event. It stays
    /// gathered; rows of earlier events are gathered no longer.
    fn last(&mut self, table: &str, id: Uuid) -> Option<Last>;
}

/// A row as an event has left it.
#[derive(Debug)]
pub struct Last {
    /// The thing's version, which is in the key where a table has a row for each.
    pub version: i32,
    /// The row's columns, in the order of the values.
    pub columns: &'static [&'static str],
    /// The row, as it would be written.
    pub row: Copy,
}

/// Rows for one table.
#[derive(Debug)]
pub struct Load {
    /// The table.
    pub table: &'static str,
    /// Its columns, in the order of the values.
    pub columns: &'static [&'static str],
    /// The rows.
    pub rows: Vec<u8>,
}

/// A row that can be written by `COPY`.
pub trait Row: Fold + Send {
    /// The table that it is of.
    const TABLE: &'static str;
    /// The table's columns, in the order in which they are written.
    const COLUMNS: &'static [&'static str];

    /// Writes its values, in the order of the columns.
    fn write(&self, line: &mut Line<'_>);
}

/// The rows of one table, gathered; also the whole [`Bulk`] of a projection that has no other.
#[derive(Debug)]
pub struct Rows<R> {
    gathered: Vec<Option<R>>,
    places: HashMap<Uuid, usize>,
    weight: usize,
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { gathered: Vec::new(), places: HashMap::new(), weight: 0 }
    }
}

impl<R: Row> Rows<R> {
    /// The row of `id` as it is gathered so far.
    pub fn get(&self, id: Uuid) -> Option<&R> {
        self.places.get(&id).and_then(|place| self.gathered.get(*place)).and_then(Option::as_ref)
    }

    /// Hands out the rows, in the order in which their things began.
    pub fn load(&mut self) -> Load {
        let mut copy = Copy::default();
        for row in std::mem::take(&mut self.gathered).into_iter().flatten() {
            row.write(&mut copy.row(R::COLUMNS.len()));
        }
        self.places = HashMap::new();
        self.weight = 0;
        Load { table: R::TABLE, columns: R::COLUMNS, rows: copy.take() }
    }
}

impl<R: Row + 'static> Bulk for Rows<R> {
    fn take(&mut self, event: &Recorded) -> Result<Taken, Error> {
        if event.stream != R::STREAM {
            return Ok(Taken::Foreign);
        }
        let place = match self.places.get(&event.id) {
            Some(place) => *place,
            None if event.version > 1 => return Ok(Taken::Late),
            None => {
                self.gathered.push(None);
                self.places.insert(event.id, self.gathered.len() - 1);
                self.weight += size_of::<R>();
                self.gathered.len() - 1
            }
        };
        self.weight += event.data.len();
        R::apply(&mut self.gathered[place], event)?;
        Ok(Taken::Gathered)
    }

    fn drop_thing(&mut self, id: Uuid) {
        if let Some(place) = self.places.remove(&id) {
            self.gathered[place] = None;
        }
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn hand_out(&mut self) -> Vec<Load> {
        vec![self.load()]
    }

    fn last(&mut self, table: &str, id: Uuid) -> Option<Last> {
        let row = self.get(id).filter(|_| table == R::TABLE)?;
        let mut copy = Copy::default();
        row.write(&mut copy.row(R::COLUMNS.len()));
        Some(Last { version: row.version(), columns: R::COLUMNS, row: copy })
    }
}
