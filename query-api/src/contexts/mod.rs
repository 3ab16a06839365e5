//! What each context answers.

mod catalog;
mod item;

use crate::resource::Resource;

/// All that is read and listed as its columns are.
pub static RESOURCES: &[&Resource] = &[&catalog::SPECIALTIES, &catalog::SUB_SPECIALTIES, &item::ITEMS];
