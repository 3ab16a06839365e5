//! What each context answers.

mod catalog;
pub mod company;
mod item;

use crate::resource::Resource;

/// All that is read and listed as its columns are.
pub static RESOURCES: &[&Resource] =
    &[&catalog::SPECIALTIES, &catalog::SUB_SPECIALTIES, &company::COMPANIES, &item::ITEMS];
