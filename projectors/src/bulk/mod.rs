//! A projection's rows made in memory, many at a time, to be written once each: what a rebuild does with the bulk of the log.
//!
//! Events come in the log's order. A row is gathered from the first event of its thing on, and handed out with all others
//! when they weigh enough; what its thing still does after that comes too late for memory, and is applied to the written row
//! by the projection's usual way.

mod copy;
mod gathered;

use std::collections::HashMap;

use events::Recorded;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

pub use copy::{Copy, HEAD, Line, TAIL};
pub use gathered::Gathered;

use crate::{projection::Error, row::Row};

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

/// All that is gathered for one table.
pub trait Bulk: Send {
    /// Takes the next event. After an error its thing is to be dropped.
    fn take(&mut self, event: &Recorded) -> Result<Taken, Error>;

    /// Drops the row of a thing, whose events are late from the first on.
    fn drop_thing(&mut self, id: Uuid);

    /// About how many bytes are gathered.
    fn weight(&self) -> usize;

    /// Hands out all rows.
    fn hand_out(&mut self) -> Load;

    /// Adds what is gathered to the rows of the table, which has its key by then, where rows are sums.
    fn merge<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), Error>> {
        let _ = tx;
        Box::pin(std::future::ready(Ok(())))
    }

    /// The rows of `table` that the last event of a thing has made or changed, for whoever follows one thing event by event.
    fn last(&self, table: &str, id: Uuid) -> Vec<Last>;
}

/// A row as an event has left it.
#[derive(Debug)]
pub struct Last {
    /// The row's key among those of its thing, as text; empty where a thing has one row.
    pub key: String,
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

/// The rows of a table with one for each thing, gathered.
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
    fn get(&self, id: Uuid) -> Option<&R> {
        self.places.get(&id).and_then(|place| self.gathered.get(*place)).and_then(Option::as_ref)
    }

    /// Hands out the rows, in the order in which their things began.
    fn load(&mut self) -> Load {
        let mut copy = Copy::default();
        for row in std::mem::take(&mut self.gathered).into_iter().flatten() {
            row.write(&mut copy.row(R::COLUMNS.len()));
        }
        self.places = HashMap::new();
        self.weight = 0;
        Load { table: R::TABLE, columns: R::COLUMNS, rows: copy.take() }
    }
}

impl<R: Row> Bulk for Rows<R> {
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

    fn hand_out(&mut self) -> Load {
        self.load()
    }

    fn last(&self, table: &str, id: Uuid) -> Vec<Last> {
        let Some(row) = self.get(id).filter(|_| table == R::TABLE) else { return Vec::new() };
        let mut copy = Copy::default();
        row.write(&mut copy.row(R::COLUMNS.len()));
        vec![Last { key: String::new(), columns: R::COLUMNS, row: copy }]
    }
}
