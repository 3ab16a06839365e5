//! Reading the stream over, slowly. A message that its server's disk has spoilt is passed over in silence and counted as if it were
//! there: neither the stream's numbers nor its end tell, only reading does.

use std::{convert::Infallible, time::Duration};

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use futures_util::StreamExt as _;
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    Bus, Error, declared,
    stream::{self, Tail},
};

/// How many messages are read at a time, and the pause after them: at most 20,000 a second.
const BATCH: usize = 500;
const PAUSE: Duration = Duration::from_millis(25);
/// How long the next of them may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after all was well it is read again, and after an error.
const AGAIN: (Duration, Duration) = (Duration::from_hours(24), Duration::from_secs(5));

/// Reads the stream of an epoch over and over, from its beginning, for as long as it lives.
pub(super) struct Scrub {
    epoch: i32,
    connection: u64,
    missing: watch::Receiver<Option<i64>>,
    _reading: JoinSet<Infallible>,
}

impl Scrub {
    /// Begins. `connection` says which connection it is: another server, or the same that was started anew, is read anew.
    pub(super) fn start(bus: &Bus, epoch: i32, connection: u64) -> Self {
        let (sender, missing) = watch::channel(None);
        let (mut reading, bus) = (JoinSet::new(), bus.clone());
        reading.spawn(async move {
            loop {
                let pause = match pass(&bus, epoch).await {
                    Ok(None) => AGAIN.0,
                    Ok(missing) => {
                        sender.send_replace(missing);
                        AGAIN.0
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the stream could not be read over");
                        AGAIN.1
                    }
                };
                sleep(pause).await;
            }
        });
        Self { epoch, connection, missing, _reading: reading }
    }

    /// Whether it reads this stream over this connection.
    pub(super) fn is_of(&self, epoch: i32, connection: u64) -> bool {
        (self.epoch, self.connection) == (epoch, connection)
    }

    /// The position of an event that the stream of `epoch` has lost, if one was found.
    pub(super) fn missing(&self) -> Option<(i32, i64)> {
        self.missing.borrow().map(|position| (self.epoch, position))
    }
}

/// Reads what the stream has by now. The first message that is not there, if one is not.
async fn pass(bus: &Bus, epoch: i32) -> Result<Option<i64>, Error> {
    let doing = "reading the stream over";
    let stream = bus.jetstream().get_stream(stream::name(epoch)).await.map_err(Error::bus(doing))?;
    let state = &stream.cached_info().state;
    if state.messages == 0 {
        return Ok(None);
    }
    let config = pull::Config {
        name: Some(declared::once("scrub")),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: state.first_sequence.max(1) },
        ack_policy: AckPolicy::None,
        headers_only: true,
        memory_storage: true,
        inactive_threshold: Duration::from_secs(30),
        ..pull::Config::default()
    };
    let mut consumer = stream.create_consumer(config).await.map_err(Error::bus(doing))?;
    let missing = read(bus, epoch, &consumer, state.first_sequence.max(1), state.last_sequence).await;
    // Else it goes away by itself, after a while.
    if let Ok(info) = consumer.info().await {
        let _ = stream.delete_consumer(&info.name).await;
    }
    missing
}

/// The first message from `next` to `last` that is not there.
async fn read(
    bus: &Bus,
    epoch: i32,
    consumer: &Consumer<pull::Config>,
    mut next: u64,
    last: u64,
) -> Result<Option<i64>, Error> {
    let doing = "reading the stream over";
    while next <= last {
        let from = next;
        let mut batch =
            consumer.fetch().max_messages(BATCH).expires(PATIENCE).messages().await.map_err(Error::bus(doing))?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(Error::bus(doing))?;
            let sequence = message.info().map_err(Error::bus(doing))?.stream_sequence;
            if sequence > next && next <= last && is_missing(bus, epoch, next).await? {
                return Ok(i64::try_from(next).ok());
            }
            next = sequence + 1;
        }
        if next == from {
            if is_missing(bus, epoch, next).await? {
                return Ok(i64::try_from(next).ok());
            }
            return Err(Error::Late("the stream's next message did not come"));
        }
        sleep(PAUSE).await;
    }
    Ok(None)
}

/// Whether the message at `sequence`, which was not delivered, is not there, although the stream begins before it and goes on
/// after it. (At the end, whoever compares the stream with the log sees it.)
async fn is_missing(bus: &Bus, epoch: i32, sequence: u64) -> Result<bool, Error> {
    let Tail::Foreign = stream::tail(bus, epoch, sequence).await? else { return Ok(false) };
    let stream =
        bus.jetstream().get_stream(stream::name(epoch)).await.map_err(Error::bus("reading the stream over"))?;
    let state = &stream.cached_info().state;
    Ok((state.first_sequence..state.last_sequence).contains(&sequence))
}
