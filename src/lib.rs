//! Everything in one program: `daybook up` for a whole system, `daybook ROLE` for one process of it, `daybook drill` to
//! crash one on purpose.
//!
//! The library is there for the measurements in `benches/`, which start this very program as the processes of a system.

mod banner;
mod cli;
mod drill;
mod endpoints;
mod front;
mod projections;
mod reach;
mod roles;
mod servers;
pub mod system;
mod up;

pub use cli::main;
