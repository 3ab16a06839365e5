//! The query API as a client meets it, on a real PostgreSQL. Rows are written here by hand: that the projectors write the
//! same is for the whole system's tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end where it stands")]

mod as_of;
mod attempts;
mod company;
mod events;
mod listening;
mod lists;
mod log_events;
mod ops;
mod pages;
mod reads;
mod seal;
mod sessions;
mod streams;
mod waits;
mod world;
