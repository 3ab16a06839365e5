//! What each context takes.

mod item;

use crate::entity::Operation;

/// The plain commands of all contexts.
pub fn operations() -> Vec<Operation> {
    [item::operations()].into_iter().flatten().collect()
}
