//! Items.

use events::{item::row::Item, read_model::Row};

use crate::{projection::Projection, row::RowTable};

/// Writes `item`.
pub static ITEM: Projection = Projection::of::<(Row<Item>,)>("item", 1, &[&RowTable::<Row<Item>>::NEW]);
