//! The chassis on real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end where it stands")]

mod crash;
mod database;
mod embedded;
mod http;
mod roles;
mod traces;
