//! Specialties and sub-specialties, folded.

use uuid::Uuid;

use crate::{
    Recorded,
    catalog::{SpecialtyEvent, SubSpecialtyEvent},
    read_model::{ReadModel, Row, Table},
};

/// A specialty, such as cardiology.
#[derive(Debug, Clone, PartialEq, Eq, derive::Columns)]
pub struct Specialty {
    /// Unique in the catalogue.
    pub name: String,
    /// For people.
    pub description: String,
    /// Where its icon is.
    pub icon_url: Option<String>,
    /// Whether it is archived.
    pub archived: bool,
}

/// The table of specialties.
pub static SPECIALTY: Table = Table::of::<Row<Specialty>>();

impl ReadModel for Specialty {
    const NAME: &'static str = "specialty";
    type Event = SpecialtyEvent;

    fn fold(row: Option<Self>, event: SpecialtyEvent, _: &Recorded) -> Option<Self> {
        match (event, row) {
            (SpecialtyEvent::SpecialtyCreated { name, description, icon_url }, None) => {
                Some(Self { name, description, icon_url, archived: false })
            }
            (SpecialtyEvent::SpecialtyChanged(changes), Some(mut row)) => {
                changes.name.apply(&mut row.name);
                changes.description.apply(&mut row.description);
                changes.icon_url.apply(&mut row.icon_url);
                Some(row)
            }
            (SpecialtyEvent::SpecialtyArchived {}, Some(row)) => Some(Self { archived: true, ..row }),
            _ => None,
        }
    }
}

/// A part of a specialty, such as rhythm disorders in cardiology.
#[derive(Debug, Clone, PartialEq, Eq, derive::Columns)]
pub struct SubSpecialty {
    /// The specialty that it is part of.
    pub specialty_id: Uuid,
    /// Unique in its specialty.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether it is archived.
    pub archived: bool,
}

/// The table of sub-specialties.
pub static SUB_SPECIALTY: Table = Table::of::<Row<SubSpecialty>>();

impl ReadModel for SubSpecialty {
    const NAME: &'static str = "sub_specialty";
    type Event = SubSpecialtyEvent;

    fn fold(row: Option<Self>, event: SubSpecialtyEvent, _: &Recorded) -> Option<Self> {
        match (event, row) {
            (SubSpecialtyEvent::SubSpecialtyCreated { specialty_id, name, description }, None) => {
                Some(Self { specialty_id, name, description, archived: false })
            }
            (SubSpecialtyEvent::SubSpecialtyChanged { changes, .. }, Some(mut row)) => {
                changes.name.apply(&mut row.name);
                changes.description.apply(&mut row.description);
                Some(row)
            }
            (SubSpecialtyEvent::SubSpecialtyArchived {}, Some(row)) => Some(Self { archived: true, ..row }),
            _ => None,
        }
    }
}
