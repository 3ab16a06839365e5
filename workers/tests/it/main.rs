//! What the workers promise: the wire forms of providers against stand-ins for them, and the job on a real PostgreSQL and
//! a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod bus;
mod fixture;
mod job;
mod provider;
mod stream;
