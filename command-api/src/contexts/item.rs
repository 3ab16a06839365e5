//! Writing items.

use events::item::{Command, Item, ItemChanges, NewItem, WRITE};

use crate::entity::{Entity, Nothing, Operation, Owner};

/// The commands of this context.
pub fn operations() -> Vec<Operation> {
    Entity::<Item>::new("/api/v1/items", "Item", Owner::Tenant(&WRITE))
        .create("create_item", "Makes an item.", |new: NewItem, tenant| Command::Create(tenant, new))
        .change("change_item", "Changes an item: what is left out stays.", |changes: ItemChanges| {
            Command::Change(changes)
        })
        .transition("archive", "archive_item", "Archives an item, which frees its name.", |Nothing {}| Command::Archive)
        .operations()
}
