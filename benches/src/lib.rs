//! Measurements of Daybook, each beside a reference in the same run, on servers that they start themselves: absolute times
//! would say more about the machine than about Daybook. docs/performance.md has the last figures and what limits them.
//!
//! Each bench is a module here with a thin program of the same name beside `src/`; [`harness`] is what they share.

pub mod append;
pub mod e2e;
pub mod growth;
pub mod harness;
pub mod history;
pub mod load;
pub mod memory;
pub mod project;
pub mod query;
pub mod rebuild;
pub mod relay;
pub mod seal;
