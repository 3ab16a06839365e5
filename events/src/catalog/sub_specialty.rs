//! A part of a specialty, such as rhythm disorders in cardiology.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, Specialty};
use crate::{Claim, Fact, Patch, Requirement, Stream};

/// A new sub-specialty.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct NewSubSpecialty {
    /// The specialty that it is part of.
    pub specialty_id: Uuid,
    /// Unique in its specialty, without regard to case.
    #[schemars(length(max = 100), regex(pattern = r"\S"))]
    pub name: String,
    /// For people.
    #[schemars(length(max = 10_000))]
    pub description: String,
}

/// What is to be different: what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubSpecialtyChanges {
    /// Unique in its specialty, without regard to case.
    #[serde(default, skip_serializing_if = "Patch::stays")]
    #[schemars(length(max = 100), regex(pattern = r"\S"))]
    pub name: Patch<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Patch::stays")]
    #[schemars(length(max = 10_000))]
    pub description: Patch<String>,
}

/// What can be asked of a sub-specialty.
#[derive(Debug, Clone)]
pub enum SubSpecialtyCommand {
    /// Makes it.
    Create(NewSubSpecialty),
    /// Changes it.
    Change(SubSpecialtyChanges),
    /// Archives it, which frees its name. Once more changes nothing.
    Archive,
}

/// What happened to a sub-specialty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum SubSpecialtyEvent {
    /// It exists from now on.
    SubSpecialtyCreated {
        /// The specialty that it is part of.
        specialty_id: Uuid,
        /// Unique in its specialty.
        name: String,
        /// For people.
        description: String,
    },
    /// It is different: what is left out stayed.
    SubSpecialtyChanged {
        /// The specialty that it is part of.
        specialty_id: Uuid,
        /// What is different.
        #[serde(flatten)]
        changes: SubSpecialtyChanges,
    },
    /// It is archived.
    SubSpecialtyArchived {},
}

/// The scope of claims that a specialty's live sub-specialties hold, each by its id.
pub(super) fn children(specialty: Uuid) -> String {
    format!("specialty:{specialty}:children")
}

impl Fact for SubSpecialtyEvent {
    fn claims(&self, id: Uuid) -> Vec<Claim> {
        let name =
            |specialty: &Uuid, name: &str| Claim::folded(format!("sub_specialty:{specialty}"), name).in_slot("name");
        match self {
            Self::SubSpecialtyCreated { specialty_id, name: own, .. } => {
                vec![name(specialty_id, own), Claim::exact(children(*specialty_id), id.to_string()).in_slot("parent")]
            }
            Self::SubSpecialtyChanged { specialty_id, changes } => {
                changes.name.value().map(|own| name(specialty_id, own)).into_iter().collect()
            }
            Self::SubSpecialtyArchived {} => Vec::new(),
        }
    }

    fn releases(&self) -> &'static [&'static str] {
        if matches!(self, Self::SubSpecialtyArchived {}) { &["name", "parent"] } else { &[] }
    }
}

/// A sub-specialty, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubSpecialty {
    specialty: Option<Uuid>,
    name: String,
    description: String,
    archived: bool,
}

crate::aggregate!(SubSpecialty: "sub_specialty", SubSpecialtyCommand, SubSpecialtyEvent, Error);

impl SubSpecialty {
    /// Whether it exists and is not archived.
    pub fn is_live(&self) -> bool {
        self.specialty.is_some() && !self.archived
    }

    /// What a command needs of other aggregates: its specialty is there when it is made.
    pub fn requirements(command: &SubSpecialtyCommand, _: Uuid) -> Vec<Requirement<Error>> {
        match command {
            SubSpecialtyCommand::Create(NewSubSpecialty { specialty_id, .. }) => {
                vec![Requirement::of(*specialty_id, Specialty::is_live, Error::NoSuchSpecialty)]
            }
            SubSpecialtyCommand::Change(_) | SubSpecialtyCommand::Archive => Vec::new(),
        }
    }

    fn decide(&self, command: SubSpecialtyCommand) -> Result<Option<SubSpecialtyEvent>, Error> {
        let Some(specialty_id) = self.specialty else {
            return match command {
                SubSpecialtyCommand::Create(NewSubSpecialty { specialty_id, name, description }) => {
                    let name = name.trim().to_owned();
                    Ok(Some(SubSpecialtyEvent::SubSpecialtyCreated { specialty_id, name, description }))
                }
                SubSpecialtyCommand::Change(_) | SubSpecialtyCommand::Archive => Err(Error::NotFound),
            };
        };
        Ok(match command {
            SubSpecialtyCommand::Create(_) => return Err(Error::Exists),
            SubSpecialtyCommand::Archive => (!self.archived).then_some(SubSpecialtyEvent::SubSpecialtyArchived {}),
            SubSpecialtyCommand::Change(_) if self.archived => return Err(Error::Archived),
            SubSpecialtyCommand::Change(SubSpecialtyChanges { name, description }) => {
                let changes = SubSpecialtyChanges {
                    name: name.map(|name| name.trim().to_owned()).unless(&self.name),
                    description: description.unless(&self.description),
                };
                let stays = changes.name.stays() && changes.description.stays();
                (!stays).then_some(SubSpecialtyEvent::SubSpecialtyChanged { specialty_id, changes })
            }
        })
    }

    fn evolve(&mut self, event: SubSpecialtyEvent) {
        match event {
            SubSpecialtyEvent::SubSpecialtyCreated { specialty_id, name, description } => {
                *self = Self { specialty: Some(specialty_id), name, description, archived: false };
            }
            SubSpecialtyEvent::SubSpecialtyChanged { changes: SubSpecialtyChanges { name, description }, .. } => {
                name.apply(&mut self.name);
                description.apply(&mut self.description);
            }
            SubSpecialtyEvent::SubSpecialtyArchived {} => self.archived = true,
        }
    }
}

impl Stream for SubSpecialty {
    fn scope(&self, _id: Uuid) -> Option<Uuid> {
        None
    }
}
