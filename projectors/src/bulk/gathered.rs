//! All tables of a projection, gathered.

use events::Recorded;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Bulk, Last, Load, Taken};
use crate::projection::Error;

/// The rows of all tables, which take the same events.
pub struct Gathered(Vec<Box<dyn Bulk>>);

impl Gathered {
    /// Of these tables.
    pub(crate) fn new(tables: Vec<Box<dyn Bulk>>) -> Self {
        Self(tables)
    }

    /// Takes the next event. After an error its thing is to be dropped.
    pub fn take(&mut self, event: &Recorded) -> Result<Taken, Error> {
        let mut of_all = Taken::Foreign;
        for table in &mut self.0 {
            // What one has handed out is applied to all: the others know what they have.
            match table.take(event)? {
                Taken::Late => of_all = Taken::Late,
                Taken::Gathered if of_all == Taken::Foreign => of_all = Taken::Gathered,
                Taken::Gathered | Taken::Foreign => {}
            }
        }
        Ok(of_all)
    }

    /// Drops the rows of a thing, whose events are late from the first on.
    pub fn drop_thing(&mut self, id: Uuid) {
        for table in &mut self.0 {
            table.drop_thing(id);
        }
    }

    /// About how many bytes are gathered.
    pub fn weight(&self) -> usize {
        self.0.iter().map(|table| table.weight()).sum()
    }

    /// Hands out all rows, by table.
    pub fn hand_out(&mut self) -> Vec<Load> {
        self.0.iter_mut().map(|table| table.hand_out()).collect()
    }

    /// Adds what is gathered of sums to their tables.
    pub(crate) async fn merge(&mut self, tx: &mut PgConnection) -> Result<(), Error> {
        for table in &mut self.0 {
            table.merge(tx).await?;
        }
        Ok(())
    }

    /// The rows of `table` that the last event of a thing has made or changed.
    pub fn last(&self, table: &str, id: Uuid) -> Vec<Last> {
        self.0.iter().flat_map(|one| one.last(table, id)).collect()
    }
}
