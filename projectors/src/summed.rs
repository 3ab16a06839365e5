//! Tables keyed by something else than the thing that the events are about: a row is the sum of what events of many things, and of
//! several streams, add to it (usage by day and model, unread counts, a ledger).
//!
//! What an event adds is a row itself, and rows of one key can be summed in any order. So parts of the log can be folded beside
//! each other, and events of a parked thing can be added when it is parked no more. An event is added exactly once because the
//! checkpoint moves with the rows; to apply the same batch again would add it again.
//!
//! A row's `id` is made of its key, so that rows are compared, found and repaired by one id like all others.

use std::{
    collections::{BTreeMap, HashMap},
    marker::PhantomData,
    sync::Arc,
};

use events::{Fold, Recorded, fold as refused};
use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    bulk::{Bulk, Last, Load, Taken},
    fold,
    projection::{Error, Table},
    row::Row,
};

/// A row that is a sum.
pub trait SummedRow: Clone + Send + Sync + 'static {
    /// The table. Its primary key is `id`.
    const TABLE: &'static str;
    /// The streams whose events add to it.
    const STREAMS: &'static [&'static str];
    /// What is known of a thing from its earlier events, kept in a table of the same projection.
    type Base: Row + Clone;

    /// Made of the key, and of nothing else.
    fn id(&self) -> Uuid;

    /// What an event adds. `base` is the fold of its thing up to it, or further where the event is applied late: of that only
    /// what never changes again may be used. None where the event's stream is another than that of the base.
    fn of(base: Option<&Self::Base>, event: &Recorded) -> Result<Vec<Self>, refused::Error>;

    /// The sum of two rows of the same key, with the later position; none where it is larger than can be told.
    fn plus(&self, other: &Self) -> Option<Self>;

    /// The rows of these ids, as far as they are there.
    fn load(tx: &mut PgConnection, ids: &[Uuid]) -> impl Future<Output = Result<Vec<Self>, Error>> + Send;

    /// Writes these rows over those that are there, in one statement.
    fn store(tx: &mut PgConnection, rows: &[Self]) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The table of the rows `R`.
#[derive(Debug)]
pub struct SummedTable<R>(PhantomData<fn() -> R>);

impl<R> SummedTable<R> {
    /// The table.
    pub const NEW: Self = Self(PhantomData);
}

/// Rows by id, each with an event that has added to it.
type Sums<R> = BTreeMap<Uuid, (R, Place)>;

/// An event, for an error.
#[derive(Clone)]
struct Place(Arc<Recorded>);

impl<R: SummedRow> Table for SummedTable<R> {
    fn name(&self) -> &'static str {
        R::TABLE
    }

    fn is_summed(&self) -> bool {
        true
    }

    fn apply<'a>(&'a self, tx: &'a mut PgConnection, batch: &'a [Arc<Recorded>]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let ids = fold::begun::<R::Base>(batch);
            let there = if ids.is_empty() { Vec::new() } else { R::Base::load(tx, &ids).await? };
            let mut bases: HashMap<Uuid, Option<R::Base>> =
                there.into_iter().map(|base| (base.id(), Some(base))).collect();
            let mut sums = Sums::new();
            for event in batch.iter().filter(|event| R::STREAMS.contains(&event.stream.as_str())) {
                let base = if event.stream == R::Base::STREAM {
                    let base = bases.entry(event.id).or_default();
                    R::Base::apply(base, event)?;
                    base.as_ref()
                } else {
                    None
                };
                for row in R::of(base, event)? {
                    add(&mut sums, row, event)?;
                }
            }
            merge(tx, sums).await
        })
    }

    fn gather(&self) -> Box<dyn Bulk> {
        Box::new(Added::<R> { things: HashMap::new(), weight: 0 })
    }
}

/// Adds a row to those of its id.
fn add<R: SummedRow>(sums: &mut Sums<R>, row: R, event: &Arc<Recorded>) -> Result<(), Error> {
    let id = row.id();
    let sum = match sums.get(&id) {
        Some((sum, _)) => sum.plus(&row).ok_or_else(|| refused::out_of_place(event))?,
        None => row,
    };
    sums.insert(id, (sum, Place(Arc::clone(event))));
    Ok(())
}

/// Adds rows to those of the table.
async fn merge<R: SummedRow>(tx: &mut PgConnection, mut sums: Sums<R>) -> Result<(), Error> {
    if sums.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = sums.keys().copied().collect();
    for there in R::load(tx, &ids).await? {
        if let Some((sum, Place(event))) = sums.get_mut(&there.id()) {
            *sum = there.plus(sum).ok_or_else(|| refused::out_of_place(event))?;
        }
    }
    let rows: Vec<R> = sums.into_values().map(|(row, _)| row).collect();
    R::store(tx, &rows).await
}

/// What the things that began here have added.
struct Added<R: SummedRow> {
    things: HashMap<Uuid, Thing<R>>,
    weight: usize,
}

struct Thing<R: SummedRow> {
    base: Option<R::Base>,
    added: Vec<(R, Arc<Recorded>)>,
}

impl<R: SummedRow> Bulk for Added<R> {
    fn take(&mut self, event: &Recorded) -> Result<Taken, Error> {
        if !R::STREAMS.contains(&event.stream.as_str()) {
            return Ok(Taken::Foreign);
        }
        if event.version == 1 {
            self.things.insert(event.id, Thing { base: None, added: Vec::new() });
            self.weight += size_of::<Thing<R>>() + event.data.len();
        }
        let Some(thing) = self.things.get_mut(&event.id) else { return Ok(Taken::Late) };
        let is_of_base = event.stream == R::Base::STREAM;
        if is_of_base {
            R::Base::apply(&mut thing.base, event)?;
        }
        let rows = R::of(thing.base.as_ref().filter(|_| is_of_base), event)?;
        self.weight += rows.len() * size_of::<R>();
        let place = (!rows.is_empty()).then(|| Arc::new(Recorded { data: String::new(), ..event.clone() }));
        thing.added.extend(rows.into_iter().zip(place.into_iter().cycle()));
        Ok(Taken::Gathered)
    }

    fn drop_thing(&mut self, id: Uuid) {
        self.things.remove(&id);
    }

    fn weight(&self) -> usize {
        self.weight
    }

    /// None: they are merged.
    fn hand_out(&mut self) -> Load {
        Load { table: R::TABLE, columns: &[], rows: Vec::new() }
    }

    fn merge<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut sums = Sums::new();
            for (row, event) in std::mem::take(&mut self.things).into_values().flat_map(|thing| thing.added) {
                add(&mut sums, row, &event)?;
            }
            self.weight = 0;
            merge(tx, sums).await
        })
    }

    fn last(&self, _: &str, _: Uuid) -> Vec<Last> {
        Vec::new()
    }
}
