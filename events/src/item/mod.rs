//! Items: a name that is unique in its tenant, and a note. The smallest context, and the example for others.

pub mod row;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Action, Claim, Context, EventStream, Fact, Patch, Role, Stream};

/// What is registered of it.
pub(crate) static CONTEXT: Context = Context {
    name: "item",
    doc: "Items: a name and a note.",
    streams: &[EventStream::of::<Item>()],
    projections: &["item"],
    actions: &[READ, WRITE],
};

/// To read items.
pub const READ: Action = Action::of("items:read", Role::Viewer);
/// To make, change and archive items.
pub const WRITE: Action = Action::of("items:write", Role::Editor);

/// A new item.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct NewItem {
    /// Unique in its tenant, without regard to case.
    #[schemars(length(max = 100), regex(pattern = r"\S"))]
    pub name: String,
    /// For people.
    #[schemars(length(max = 10_000))]
    pub note: Option<String>,
}

/// What is to be different: what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemChanges {
    /// Unique in its tenant, without regard to case.
    #[serde(default, skip_serializing_if = "Patch::stays")]
    #[schemars(length(max = 100), regex(pattern = r"\S"))]
    pub name: Patch<String>,
    /// For people; null for none.
    #[serde(default, skip_serializing_if = "Patch::stays")]
    #[schemars(length(max = 10_000))]
    pub note: Patch<Option<String>>,
}

/// What can be asked of an item.
#[derive(Debug, Clone)]
pub enum Command {
    /// Makes it, for this tenant.
    Create(Uuid, NewItem),
    /// Changes it.
    Change(ItemChanges),
    /// Archives it, which frees its name. Once more changes nothing.
    Archive,
}

/// What happened to an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// It exists from now on.
    ItemCreated {
        /// The tenant that it belongs to.
        tenant_id: Uuid,
        /// Unique in its tenant.
        name: String,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It is different: what is left out stayed.
    ItemChanged {
        /// The tenant that it belongs to.
        tenant_id: Uuid,
        /// What is different.
        #[serde(flatten)]
        changes: ItemChanges,
    },
    /// It is archived.
    ItemArchived {},
}

impl Fact for Event {
    fn claims(&self, _: Uuid) -> Vec<Claim> {
        let name = |tenant: &Uuid, name: &str| vec![Claim::folded(format!("item:{tenant}"), name).in_slot("name")];
        match self {
            Self::ItemCreated { tenant_id, name: taken, .. } => name(tenant_id, taken),
            Self::ItemChanged { tenant_id, changes } => {
                changes.name.value().map_or_else(Vec::new, |taken| name(tenant_id, taken))
            }
            Self::ItemArchived {} => Vec::new(),
        }
    }

    fn releases(&self) -> &'static [&'static str] {
        if matches!(self, Self::ItemArchived {}) { &["name"] } else { &[] }
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, derive::DomainError)]
pub enum Error {
    /// There is no such item.
    #[error("there is no such item")]
    #[refusal(NotFound, "not_found")]
    NotFound,
    /// It exists already.
    #[error("the item exists already")]
    #[refusal(Conflict, "item_exists")]
    Exists,
    /// Another item of its tenant has this name.
    #[error("the name is taken")]
    #[refusal(Conflict, "name_taken", at("/name", "is taken"), taken)]
    NameTaken,
    /// It is archived.
    #[error("the item is archived, which allows nothing any more")]
    #[refusal(Conflict, "illegal_transition")]
    Archived,
}

/// An item, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    tenant: Option<Uuid>,
    name: String,
    note: Option<String>,
    archived: bool,
}

crate::aggregate!(Item: "item", Command, Event, Error);

impl Item {
    fn decide(&self, command: Command) -> Result<Option<Event>, Error> {
        let Some(tenant_id) = self.tenant else {
            return match command {
                Command::Create(tenant_id, NewItem { name, note }) => {
                    Ok(Some(Event::ItemCreated { tenant_id, name: name.trim().to_owned(), note }))
                }
                Command::Change(_) | Command::Archive => Err(Error::NotFound),
            };
        };
        match command {
            Command::Create(..) => Err(Error::Exists),
            Command::Archive => Ok((!self.archived).then_some(Event::ItemArchived {})),
            Command::Change(_) if self.archived => Err(Error::Archived),
            Command::Change(ItemChanges { name, note }) => {
                let name = name.map(|name| name.trim().to_owned()).unless(&self.name);
                let changes = ItemChanges { name, note: note.unless(&self.note) };
                let is_change = !changes.name.stays() || !changes.note.stays();
                Ok(is_change.then_some(Event::ItemChanged { tenant_id, changes }))
            }
        }
    }

    fn evolve(&mut self, event: Event) {
        match event {
            Event::ItemCreated { tenant_id, name, note } => {
                *self = Self { tenant: Some(tenant_id), name, note, archived: false };
            }
            Event::ItemChanged { changes, .. } => {
                changes.name.apply(&mut self.name);
                changes.note.apply(&mut self.note);
            }
            Event::ItemArchived {} => self.archived = true,
        }
    }
}

impl Stream for Item {
    fn scope(&self, _: Uuid) -> Option<Uuid> {
        self.tenant
    }
}
