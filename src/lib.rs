//! Everything in one program: `daybook up` for a whole system, `daybook ROLE` for one process of it, `daybook drill` to
//! crash one on purpose, `daybook log` and `daybook receipt` to check what is recorded and to move it, `daybook backup` and
//! `daybook restore` to keep it.
//!
//! The library is there for the measurements in `benches/`, which start this very program as the processes of a system.

mod backup;
mod banner;
mod cli;
mod drill;
mod endpoints;
mod executions;
mod front;
mod log;
mod message;
mod migrate;
mod out;
mod projections;
mod reach;
mod receipt;
mod roles;
mod servers;
mod status;
pub mod system;
mod up;

pub use cli::main;
