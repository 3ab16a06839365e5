//! The command API on a real PostgreSQL, while NATS is away.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test may end where it stands")]
#![allow(clippy::large_futures, clippy::format_collect, reason = "a test need not be fast")]

mod bodies;
mod catalog;
mod company;
mod dead;
mod documents;
mod execution;
mod house;
mod identity;
mod item;
mod outage;
mod prompt;
mod repeated;
mod seal;
mod sessions;
mod timers;
mod writes;
