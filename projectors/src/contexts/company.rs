//! Companies, and who is a member of them.

mod member;

use events::{company::row::Company, read_model::Row};

use crate::{child::ChildTable, projection::Projection, row::RowTable};

pub use member::Member;

/// Writes `company` and `company_member`.
pub static COMPANY: Projection =
    Projection::of::<(Row<Company>,)>("company", 1, &[&RowTable::<Row<Company>>::NEW, &ChildTable::<Member>::NEW]);
