//! Specialties and sub-specialties, folded.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    Recorded,
    catalog::{SpecialtyEvent, SubSpecialtyEvent},
    fold::{Error, Fold, out_of_place},
};

/// A row of `specialty`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Specialty {
    pub id: Uuid,
    pub name: String,
    pub description: String,
    pub icon_url: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub version: i32,
    pub position: i64,
}

impl Fold for Specialty {
    const STREAM: &'static str = "specialty";

    fn id(&self) -> Uuid {
        self.id
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn next(row: Option<Self>, event: &Recorded) -> Result<Self, Error> {
        match (event.decode()?, row) {
            (SpecialtyEvent::SpecialtyCreated { name, description, icon_url }, None) => Ok(Self {
                id: event.id,
                name,
                description,
                icon_url,
                created_at: event.recorded_at,
                updated_at: event.recorded_at,
                version: event.version,
                position: event.position,
            }),
            (SpecialtyEvent::SpecialtyCreated { .. }, Some(_)) => Err(out_of_place(event)),
        }
    }
}

/// A row of `sub_specialty`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct SubSpecialty {
    pub id: Uuid,
    pub specialty_id: Uuid,
    pub name: String,
    pub description: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub version: i32,
    pub position: i64,
}

impl Fold for SubSpecialty {
    const STREAM: &'static str = "sub_specialty";

    fn id(&self) -> Uuid {
        self.id
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn next(row: Option<Self>, event: &Recorded) -> Result<Self, Error> {
        match (event.decode()?, row) {
            (SubSpecialtyEvent::SubSpecialtyCreated { specialty_id, name, description }, None) => Ok(Self {
                id: event.id,
                specialty_id,
                name,
                description,
                created_at: event.recorded_at,
                updated_at: event.recorded_at,
                version: event.version,
                position: event.position,
            }),
            (SubSpecialtyEvent::SubSpecialtyCreated { .. }, Some(_)) => Err(out_of_place(event)),
        }
    }
}
