//! Items, for who is of their tenant.

use events::item::row;

use crate::resource::Resource;

/// Items.
pub static ITEMS: Resource = Resource {
    path: "/api/v1/items",
    table: &row::ITEM,
    projection: "item",
    tag: "Item",
    doc: "An item: a name that is unique in its tenant, and a note.",
    shared: false,
    filters: &[],
    computed: &[],
};
