//! What drives a whole system over HTTP: a client that costs next to nothing, and a system with somebody in it.

mod client;
mod stage;

pub use client::{Answer, Connection, get, post};
pub use stage::{Stage, execute};
