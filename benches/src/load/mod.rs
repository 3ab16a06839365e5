//! What drives a whole system over HTTP: a client that costs next to nothing, callers, and a system for them.

mod caller;
mod client;
mod stage;

pub use caller::{Caller, Done};
pub use client::{Answer, Connection, get, post};
pub use stage::{Stage, settings};
