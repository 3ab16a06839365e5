//! An item, folded.

use super::Event;
use crate::{
    Recorded,
    read_model::{ReadModel, Row, Table},
};

/// An item.
#[derive(Debug, Clone, PartialEq, Eq, derive::Columns)]
pub struct Item {
    /// Unique in its tenant, among those that are not archived.
    pub name: String,
    /// For people.
    pub note: Option<String>,
    /// Whether it is archived.
    pub archived: bool,
}

/// The table of items.
pub static ITEM: Table = Table::of::<Row<Item>>();

impl ReadModel for Item {
    const NAME: &'static str = "item";
    type Event = Event;

    fn fold(row: Option<Self>, event: Event, _: &Recorded) -> Option<Self> {
        match (event, row) {
            (Event::ItemCreated { name, note, .. }, None) => Some(Self { name, note, archived: false }),
            (Event::ItemChanged { changes, .. }, Some(mut row)) => {
                changes.name.apply(&mut row.name);
                changes.note.apply(&mut row.note);
                Some(row)
            }
            (Event::ItemArchived {}, Some(row)) => Some(Self { archived: true, ..row }),
            _ => None,
        }
    }
}
