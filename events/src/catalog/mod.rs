//! The shared catalogue: specialties, and the sub-specialties in them. Two kinds of things, so two streams.

pub mod row;
mod specialty;
mod sub_specialty;
#[cfg(test)]
mod tests;

pub use specialty::{NewSpecialty, Specialty, SpecialtyChanges, SpecialtyCommand, SpecialtyEvent};
pub use sub_specialty::{NewSubSpecialty, SubSpecialty, SubSpecialtyChanges, SubSpecialtyCommand, SubSpecialtyEvent};

use crate::{Action, Context, EventStream, Needs};

/// What is registered of it.
pub(crate) static CONTEXT: Context = Context {
    name: "catalog",
    doc: "Specialties and sub-specialties.",
    streams: &[EventStream::of::<Specialty>(), EventStream::of::<SubSpecialty>()],
    projections: &["catalog"],
    actions: &[WRITE],
};

/// To write the catalogue. Anybody may read it.
pub const WRITE: Action = Action { name: "catalog:write", scope: "admin", needs: Needs::SystemAdmin };

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, derive::DomainError)]
pub enum Error {
    /// The thing exists already.
    #[error("it exists already")]
    #[refusal(Conflict, "exists")]
    Exists,
    /// Another one has this name: in the catalogue, or in the same specialty.
    #[error("the name is taken")]
    #[refusal(Conflict, "name_taken", at("/name", "is taken"), taken)]
    NameTaken,
    /// There is no such specialty, or it is archived, for something new in it.
    #[error("there is no such specialty")]
    #[refusal(Invalid, "no_such_specialty", at("/specialty_id", "there is no such specialty"))]
    NoSuchSpecialty,
    /// It does not exist.
    #[error("there is no such thing in the catalogue")]
    #[refusal(NotFound, "not_found")]
    NotFound,
    /// It is archived.
    #[error("it is archived, which allows nothing any more")]
    #[refusal(Conflict, "illegal_transition")]
    Archived,
    /// It has sub-specialties that are not archived.
    #[error("it has sub-specialties that are not archived")]
    #[refusal(Conflict, "has_live_children")]
    HasLiveChildren,
}
