//! The bus on a real PostgreSQL and a real nats-server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test that cannot go on ends, saying where"
)]

mod damage;
mod feed;
mod jobs;
mod relay;
mod users;
mod world;
