//! The shared catalogue: specialties, and the sub-specialties in them. Two kinds of things, so two streams.

pub mod row;
mod specialty;
mod sub_specialty;
#[cfg(test)]
mod tests;

pub use specialty::{Specialty, SpecialtyCommand, SpecialtyEvent};
pub use sub_specialty::{SubSpecialty, SubSpecialtyCommand, SubSpecialtyEvent};

use crate::{Claim, Class, Refusal, refusal::Fault};

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The thing exists already.
    #[error("it exists already")]
    Exists,
    /// Another one has this name: in the catalogue, or in the same specialty.
    #[error("the name is taken")]
    NameTaken,
    /// There is no such specialty.
    #[error("there is no such specialty")]
    NoSuchSpecialty,
}

impl Refusal for Error {
    fn class(&self) -> Class {
        match self {
            Self::Exists | Self::NameTaken => Class::Conflict,
            Self::NoSuchSpecialty => Class::Invalid,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::NameTaken => "name_taken",
            Self::NoSuchSpecialty => "no_such_specialty",
        }
    }

    fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Exists => Vec::new(),
            Self::NameTaken => vec![Fault::new("/name", "is taken")],
            Self::NoSuchSpecialty => vec![Fault::new("/specialty_id", "there is no such specialty")],
        }
    }

    fn taken(_claim: &Claim) -> Self {
        Self::NameTaken
    }
}
