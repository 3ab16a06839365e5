//! The projections on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end where it stands")]

mod checkpoints;
mod company;
mod explains;
mod folds;
mod history;
mod memory;
mod parking;
mod rebuilds;
mod runners;
mod schema;
mod usage;
mod verifies;
