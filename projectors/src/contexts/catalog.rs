//! The catalogue: specialties and the sub-specialties in them.

use events::{
    catalog::row::{Specialty, SubSpecialty},
    read_model::Row,
};

use crate::{projection::Projection, row::RowTable};

/// Writes `specialty` and `sub_specialty`.
pub static CATALOG: Projection = Projection::of::<(Row<Specialty>, Row<SubSpecialty>)>(
    "catalog",
    2,
    &[&RowTable::<Row<Specialty>>::NEW, &RowTable::<Row<SubSpecialty>>::NEW],
);
