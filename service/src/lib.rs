//! The chassis that all processes share: configuration, logs and metrics, shutdown, database pools, the HTTP frame, and
//! the servers that `daybook up` and the tests start for themselves. It knows no context.

pub mod config;
pub mod db;
pub mod embedded;
pub mod http;
pub mod lifecycle;
pub mod process;
pub mod schema;
pub mod shares;
pub mod telemetry;
pub mod testkit;
