//! What can go wrong between the log and the bus.

use std::fmt::Display;

use event_store::store::StoreError;

use crate::message::Invalid;

/// Why something could not be read from the bus or brought there. None of these is a caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the server is no address.
    #[error("the address of NATS is not usable")]
    Address(#[source] async_nats::ConnectError),
    /// The server cannot be reached now; the client keeps trying by itself.
    #[error("NATS cannot be reached")]
    Disconnected,
    /// The server did not answer in time.
    #[error("NATS did not answer in time: {0}")]
    Late(&'static str),
    /// The server answered with an error, or the client library did.
    #[error("NATS, {doing}: {why}")]
    Bus {
        /// What was being done.
        doing: &'static str,
        /// What came back.
        why: String,
    },
    /// Somebody has changed a consumer of ours.
    #[error("the consumer {durable} is not as declared: {setting} was changed")]
    ChangedConsumer {
        /// Its name.
        durable: &'static str,
        /// The setting.
        setting: &'static str,
    },
    /// A message of the stream is no event of ours.
    #[error("a message of the stream is no event")]
    Message(#[from] Invalid),
    /// The log could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log has a hole: never skipped, because what reads on would be wrong for good.
    #[error("the log has a hole: event {found} where {expected} should be")]
    Gap {
        /// The position that should have come.
        expected: i64,
        /// What came, 0 for nothing.
        found: i64,
    },
    /// The log has lost its end, and may have gone on from there, as after a failover to a copy that was behind.
    #[error("the log has not the event at {position} any more that it had")]
    Changed {
        /// The position of the last event that was read before.
        position: i64,
    },
    /// A reader stands behind the end of the log: it has read another log than this one.
    #[error("position {position} is past the end of the log, {head}")]
    Ahead {
        /// Where the reader stands.
        position: i64,
        /// Where the log ends.
        head: i64,
    },
    /// The feed's task has ended.
    #[error("the feed has ended")]
    Ended,
}

impl Error {
    /// For `map_err`: names what was being done.
    pub(crate) fn bus<E: Display>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Bus { doing, why: error.to_string() }
    }
}
