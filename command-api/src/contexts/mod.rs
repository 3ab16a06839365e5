//! What each context takes.

mod catalog;
mod company;
mod item;

use crate::entity::Operation;

/// The plain commands of all contexts.
pub fn operations() -> Vec<Operation> {
    [catalog::operations(), company::operations(), item::operations()].into_iter().flatten().collect()
}
