//! Whole-system stories: the real program, started as a user would start it, seen only from outside (HTTP and NATS).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, missing_docs, reason = "tests")]

mod deploy;
mod projections;
mod providers;
mod recovery;
mod seal;
mod secrets;
mod story;
mod streams;
mod system;
mod transfer;
mod up;
