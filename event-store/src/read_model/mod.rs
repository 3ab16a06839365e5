//! Read models whose rows follow from one list of columns: the fields of a struct.
//!
//! A context derives [`Columns`] (`derive::Columns`) for a struct and says with [`ReadModel`] what each event makes of it. The
//! columns that every row has ([`Row`]) are the frame's. Who writes, loads, compares or answers rows goes over the columns;
//! nobody lists them again.

mod cell;
mod row;
mod table;

pub use cell::{Cell, Column, Kind, Value};
pub use row::{CREATED_BY, ID, Row, TENANT_ID, VERSION};
/// The row of a query's answer, as [`Columns::read`] takes it.
pub use sqlx::postgres::PgRow;
pub use table::{FoldedRow, Table};

use crate::{Fact, Recorded};

/// Why a row of a table cannot be read as what it should be.
pub type ReadError = sqlx::Error;

/// A struct whose fields are columns. Derived: `derive::Columns`.
pub trait Columns: Sized {
    /// The columns, in the order of the fields.
    const COLUMNS: &'static [Column];

    /// What it has in the column of this number, from 0.
    fn value(&self, column: usize) -> Value<'_>;

    /// Reads it from the columns of an answer, from the one numbered `first` on, each selected as [`Kind::selected`] says.
    fn read(row: &PgRow, first: usize) -> Result<Self, ReadError>;
}

/// One row for each aggregate of a stream: what its events add up to.
pub trait ReadModel: Columns + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// The stream, and what the table is named.
    const NAME: &'static str;
    /// The events of the stream.
    type Event: Fact;

    /// The row after `event`; `row` is none before the first. None: the event cannot follow here, and its aggregate is parked.
    /// `recorded` is the same event with its place and time.
    fn fold(row: Option<Self>, event: Self::Event, recorded: &Recorded) -> Option<Self>;
}

/// A whole row of a table: its columns, and how it follows from events. Implemented by [`Row`], and by hand by read models
/// that have common columns of their own.
pub trait TableRow: crate::Fold + Columns + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// The table.
    const TABLE: &'static str;
    /// Every kind of event that it is folded from.
    const KINDS: &'static [&'static str];
}
