//! Projections whose tables follow from their read models alone, one module a context.

pub mod catalog;
pub mod company;
pub mod item;
pub mod session;
