//! What a type of rows offers, so that its table can be projected, rebuilt, compared, verified and repaired.
//!
//! What an event makes of a row is in `events` ([`Fold`]), for all who ask; here is how rows come out of their table and go
//! into it. Everything else works on [`Table`], without the type.

use std::{marker::PhantomData, sync::Arc};

use events::{Recorded, read_model::Column};
use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

pub use events::Fold;

use crate::{
    bulk::{Bulk, Line, Rows},
    fold,
    projection::{Error, Table},
};

/// A row of a table that has one for each thing.
pub trait Row: Fold + Send + Sync + 'static {
    /// The table.
    const TABLE: &'static str;
    /// The table's columns, in the order in which they are written.
    const COLUMNS: &'static [&'static str];
    /// The same with their types, where the SQL follows from them ([`crate::columns`]).
    const DERIVED: Option<&'static [Column]> = None;

    /// Writes its values as `COPY` takes them, in the order of the columns.
    fn write(&self, line: &mut Line<'_>);

    /// The rows of these things, as far as they are there.
    fn load(tx: &mut PgConnection, ids: &[Uuid]) -> impl Future<Output = Result<Vec<Self>, Error>> + Send;

    /// Writes these rows over older ones, in one statement; a row that is there and not older stays.
    fn store(tx: &mut PgConnection, rows: &[Self]) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The table of the rows `R`.
#[derive(Debug)]
pub struct RowTable<R>(PhantomData<fn() -> R>);

impl<R> RowTable<R> {
    /// The table.
    pub const NEW: Self = Self(PhantomData);
}

impl<R: Row> Table for RowTable<R> {
    fn name(&self) -> &'static str {
        R::TABLE
    }

    fn apply<'a>(&'a self, tx: &'a mut PgConnection, batch: &'a [Arc<Recorded>]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let ids = fold::begun::<R>(batch);
            let there = if ids.is_empty() { Vec::new() } else { R::load(tx, &ids).await? };
            let rows = fold::rows(there, batch)?;
            if rows.is_empty() { Ok(()) } else { R::store(tx, &rows).await }
        })
    }

    fn derived(&self) -> Option<&'static [Column]> {
        R::DERIVED
    }

    fn gather(&self) -> Box<dyn Bulk> {
        Box::new(Rows::<R>::default())
    }
}
