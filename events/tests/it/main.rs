//! The log's promises on a real PostgreSQL, whatever crashes; and the forms that events ever had.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end where it stands")]

mod arbitrary;
mod callers;
mod claims;
mod connections;
mod forms;
mod framework;
mod golden;
mod keys;
mod known;
mod ledger;
mod loads;
mod lost_answers;
mod model;
mod outages;
mod processes;
mod recent;
mod refusals;
mod rig;
