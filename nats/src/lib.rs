//! The bus: the log's events on NATS JetStream, and all that reads them there.
//!
//! [`relay`] brings the log into the stream, [`feed`] hands every event once and in order to projections, [`jobs`] hands
//! events out to workers, [`server`] writes the configuration that makes nats-server safe for all of them. Streams and
//! consumers are declared in [`stream`] and [`jobs`] alone. No context is known here, and nobody else knows async-nats.

mod bus;
mod declared;
mod error;
pub mod feed;
pub mod jobs;
pub mod live;
pub mod message;
mod pages;
pub mod readers;
pub mod relay;
#[cfg(test)]
mod sample;
pub mod server;
pub mod stream;
pub mod subject;

pub use bus::Bus;
pub use error::Error;
pub use feed::{Feed, Reader};
pub use jobs::{Jobs, Verdict};
pub use relay::Relay;
