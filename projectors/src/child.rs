//! Tables with several rows for each thing: the members of a company, the messages of a chat, the versions of a prompt.
//!
//! A row's key is the thing's id and a key of its own among the thing's rows. It is folded from the thing's stream alone, so
//! all that is done by thing (park, compare, verify, repair) is done for its rows together.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    marker::PhantomData,
    sync::Arc,
};

use events::{Recorded, fold};
use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    bulk::{Bulk, Copy, Last, Line, Load, Taken},
    projection::{Error, Table},
};

/// A row of a thing that has several.
pub trait ChildRow: Clone + Send + Sync + 'static {
    /// The stream that the things are of.
    const STREAM: &'static str;
    /// The table. Its primary key is `id`, that of the thing, and one more column.
    const TABLE: &'static str;
    /// The table's columns, in the order in which they are written.
    const COLUMNS: &'static [&'static str];
    /// The row's key among those of its thing. As text it is what PostgreSQL makes of the column as text.
    type Key: Ord + Clone + Display + Send + Sync;

    /// The thing, and the row's own key.
    fn key(&self) -> (Uuid, Self::Key);

    /// The position of the last event that is in the row.
    fn position(&self) -> i64;

    /// The rows that an event makes or changes.
    fn keys(event: &Recorded) -> Result<Vec<Self::Key>, fold::Error>;

    /// What `event` makes of the row of this key (none before the first). Also sets the position.
    fn next(row: Option<Self>, key: Self::Key, event: &Recorded) -> Result<Self, fold::Error>;

    /// Writes its values as `COPY` takes them, in the order of the columns.
    fn write(&self, line: &mut Line<'_>);

    /// The rows of these keys, as far as they are there.
    fn load(tx: &mut PgConnection, keys: &[(Uuid, Self::Key)])
    -> impl Future<Output = Result<Vec<Self>, Error>> + Send;

    /// Writes these rows over older ones, in one statement; a row that is there and of a later position stays.
    fn store(tx: &mut PgConnection, rows: &[Self]) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The table of the rows `R`.
#[derive(Debug)]
pub struct ChildTable<R>(PhantomData<fn() -> R>);

impl<R> ChildTable<R> {
    /// The table.
    pub const NEW: Self = Self(PhantomData);
}

impl<R: ChildRow> Table for ChildTable<R> {
    fn name(&self) -> &'static str {
        R::TABLE
    }

    fn apply<'a>(&'a self, tx: &'a mut PgConnection, batch: &'a [Arc<Recorded>]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut changes = Vec::new();
            for event in batch.iter().filter(|event| event.stream == R::STREAM) {
                changes.extend(R::keys(event)?.into_iter().map(|key| (key, &**event)));
            }
            if changes.is_empty() {
                return Ok(());
            }
            let mut keys: Vec<_> = changes.iter().map(|(key, event)| (event.id, key.clone())).collect();
            keys.sort_unstable();
            keys.dedup();
            let there = R::load(tx, &keys).await?;
            let mut rows: BTreeMap<_, _> = there.into_iter().map(|row| (row.key(), (row, false))).collect();
            for (key, event) in changes {
                let whole = (event.id, key.clone());
                let row = rows.remove(&whole);
                let row = match row {
                    Some((row, is_other)) if row.position() >= event.position => (row, is_other),
                    row => (R::next(row.map(|(row, _)| row), key, event)?, true),
                };
                rows.insert(whole, row);
            }
            let rows: Vec<R> = rows.into_values().filter_map(|(row, is_other)| is_other.then_some(row)).collect();
            if rows.is_empty() { Ok(()) } else { R::store(tx, &rows).await }
        })
    }

    fn gather(&self) -> Box<dyn Bulk> {
        Box::new(Children::<R> { things: HashMap::new(), weight: 0 })
    }
}

/// The rows of things that began here.
struct Children<R: ChildRow> {
    things: HashMap<Uuid, Thing<R>>,
    weight: usize,
}

/// The rows of one thing, and those that its last event has made or changed.
struct Thing<R: ChildRow> {
    rows: BTreeMap<R::Key, R>,
    last: Vec<R::Key>,
}

impl<R: ChildRow> Bulk for Children<R> {
    fn take(&mut self, event: &Recorded) -> Result<Taken, Error> {
        if event.stream != R::STREAM {
            return Ok(Taken::Foreign);
        }
        if event.version == 1 {
            self.things.insert(event.id, Thing { rows: BTreeMap::new(), last: Vec::new() });
        }
        let Some(thing) = self.things.get_mut(&event.id) else { return Ok(Taken::Late) };
        thing.last = R::keys(event)?;
        for key in &thing.last {
            let row = thing.rows.remove(key);
            if row.is_none() {
                self.weight += size_of::<R>() + event.data.len();
            }
            thing.rows.insert(key.clone(), R::next(row, key.clone(), event)?);
        }
        Ok(Taken::Gathered)
    }

    fn drop_thing(&mut self, id: Uuid) {
        self.things.remove(&id);
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn hand_out(&mut self) -> Load {
        let mut copy = Copy::default();
        for row in std::mem::take(&mut self.things).values().flat_map(|thing| thing.rows.values()) {
            row.write(&mut copy.row(R::COLUMNS.len()));
        }
        self.weight = 0;
        Load { table: R::TABLE, columns: R::COLUMNS, rows: copy.take() }
    }

    fn last(&self, table: &str, id: Uuid) -> Vec<Last> {
        let Some(thing) = self.things.get(&id).filter(|_| table == R::TABLE) else { return Vec::new() };
        let rows = thing.last.iter().filter_map(|key| Some((key, thing.rows.get(key)?)));
        let rows = rows.map(|(key, row)| {
            let mut copy = Copy::default();
            row.write(&mut copy.row(R::COLUMNS.len()));
            Last { key: key.to_string(), columns: R::COLUMNS, row: copy }
        });
        rows.collect()
    }
}
