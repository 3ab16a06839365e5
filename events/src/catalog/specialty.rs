//! A specialty, such as cardiology.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, sub_specialty};
use crate::{Claim, Fact, Patch, Requirement, Stream};

/// A new specialty.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct NewSpecialty {
    /// Unique without regard to case.
    #[schemars(length(max = 100), regex(pattern = r"\S"))]
    pub name: String,
    /// For people.
    #[schemars(length(max = 10_000))]
    pub description: String,
    /// Where its icon is: an http or https URL.
    #[schemars(length(max = 2048))]
    pub icon_url: Option<String>,
}

/// What is to be different: what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpecialtyChanges {
    /// Unique without regard to case.
    #[serde(default, skip_serializing_if = "Patch::stays")]
    #[schemars(length(max = 100), regex(pattern = r"\S"))]
    pub name: Patch<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Patch::stays")]
    #[schemars(length(max = 10_000))]
    pub description: Patch<String>,
    /// Where its icon is: an http or https URL; null for none.
    #[serde(default, skip_serializing_if = "Patch::stays")]
    #[schemars(length(max = 2048))]
    pub icon_url: Patch<Option<String>>,
}

/// What can be asked of a specialty.
#[derive(Debug, Clone)]
pub enum SpecialtyCommand {
    /// Makes it.
    Create(NewSpecialty),
    /// Changes it.
    Change(SpecialtyChanges),
    /// Archives it, which frees its name. Once more changes nothing.
    Archive,
}

/// What happened to a specialty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum SpecialtyEvent {
    /// It exists from now on.
    SpecialtyCreated {
        /// Unique in the catalogue.
        name: String,
        /// For people.
        description: String,
        /// Where its icon is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        icon_url: Option<String>,
    },
    /// It is different: what is left out stayed.
    SpecialtyChanged(SpecialtyChanges),
    /// It is archived.
    SpecialtyArchived {},
}

impl Fact for SpecialtyEvent {
    fn claims(&self, _: Uuid) -> Vec<Claim> {
        let name = match self {
            Self::SpecialtyCreated { name, .. } => Some(name),
            Self::SpecialtyChanged(changes) => changes.name.value(),
            Self::SpecialtyArchived {} => None,
        };
        name.map(|name| Claim::folded("specialty", name).in_slot("name")).into_iter().collect()
    }

    fn releases(&self) -> &'static [&'static str] {
        if matches!(self, Self::SpecialtyArchived {}) { &["name"] } else { &[] }
    }
}

/// A specialty, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specialty {
    created: bool,
    name: String,
    description: String,
    icon_url: Option<String>,
    archived: bool,
}

crate::aggregate!(Specialty: "specialty", SpecialtyCommand, SpecialtyEvent, Error);

impl Specialty {
    /// Whether it exists and is not archived.
    pub fn is_live(&self) -> bool {
        self.created && !self.archived
    }

    /// What a command needs of other aggregates: one with sub-specialties is not archived.
    pub fn requirements(command: &SpecialtyCommand, id: Uuid) -> Vec<Requirement<Error>> {
        match command {
            SpecialtyCommand::Archive => {
                vec![Requirement::unclaimed(sub_specialty::children(id), Error::HasLiveChildren)]
            }
            SpecialtyCommand::Create(_) | SpecialtyCommand::Change(_) => Vec::new(),
        }
    }

    fn decide(&self, command: SpecialtyCommand) -> Result<Option<SpecialtyEvent>, Error> {
        Ok(match command {
            SpecialtyCommand::Create(_) if self.created => return Err(Error::Exists),
            SpecialtyCommand::Create(NewSpecialty { name, description, icon_url }) => {
                let name = name.trim().to_owned();
                Some(SpecialtyEvent::SpecialtyCreated { name, description, icon_url })
            }
            _ if !self.created => return Err(Error::NotFound),
            SpecialtyCommand::Archive => (!self.archived).then_some(SpecialtyEvent::SpecialtyArchived {}),
            SpecialtyCommand::Change(_) if self.archived => return Err(Error::Archived),
            SpecialtyCommand::Change(SpecialtyChanges { name, description, icon_url }) => {
                let changes = SpecialtyChanges {
                    name: name.map(|name| name.trim().to_owned()).unless(&self.name),
                    description: description.unless(&self.description),
                    icon_url: icon_url.unless(&self.icon_url),
                };
                let stays = changes.name.stays() && changes.description.stays() && changes.icon_url.stays();
                (!stays).then_some(SpecialtyEvent::SpecialtyChanged(changes))
            }
        })
    }

    fn evolve(&mut self, event: SpecialtyEvent) {
        match event {
            SpecialtyEvent::SpecialtyCreated { name, description, icon_url } => {
                *self = Self { created: true, name, description, icon_url, archived: false };
            }
            SpecialtyEvent::SpecialtyChanged(SpecialtyChanges { name, description, icon_url }) => {
                name.apply(&mut self.name);
                description.apply(&mut self.description);
                icon_url.apply(&mut self.icon_url);
            }
            SpecialtyEvent::SpecialtyArchived {} => self.archived = true,
        }
    }
}

impl Stream for Specialty {
    fn scope(&self, _id: Uuid) -> Option<Uuid> {
        None
    }
}
