//! The feed's one task: follows the end of the log, over the stream as long as that brings exactly what is next, else by
//! reading the table.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, Consumer, DeliverPolicy, IntoConsumerConfig as _, pull},
};
use event_store::{Recorded, store::Identity};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Shared,
    course::{Delivery, Place},
};
use crate::{
    Bus, Error, declared,
    pages::{self, Pages},
    relay, stream,
};

/// How long the stream may be silent before the table is asked whether there is nothing indeed; and how often the table is
/// read while there is no stream.
const POLL: Duration = Duration::from_millis(250);
/// How often the consumer is looked at: it may have been changed so that it brings nothing any more.
const CHECK: Duration = Duration::from_secs(30);
/// Messages that the server sends ahead, and the most bytes of them.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 16 << 20;

pub(super) struct Tail {
    pub(super) shared: Arc<Shared>,
    pub(super) bus: Bus,
    /// Tells the readers how far it has come.
    pub(super) told: watch::Sender<i64>,
    /// The last event that was handed on.
    pub(super) position: i64,
    /// Its identity, if there is one.
    pub(super) last: Option<Identity>,
    pub(super) pages: Pages,
    /// Why the stream could not be followed, as last told.
    pub(super) failing: Option<String>,
}

impl Tail {
    /// Follows the log until it shows a hole or has lost what was read from it, which are the only errors.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        loop {
            let why = match self.step().await {
                Err(wrong @ (Error::Gap { .. } | Error::Changed { .. })) => return Err(wrong),
                Err(why) => why.to_string(),
                Ok(()) => "the stream ended".to_owned(),
            };
            if self.failing.as_ref() != Some(&why) {
                tracing::info!(why, position = self.position, "the feed reads the table");
                self.failing = Some(why);
            }
            sleep(POLL).await;
        }
    }

    /// Levels with the table, then follows the stream as long as it is as it should be.
    async fn step(&mut self) -> Result<(), Error> {
        if self.position < 0 {
            // Who needs older events reads them from the table.
            let head = self.shared.store.head().await?;
            self.last = self.shared.store.identity(head).await?;
            self.position = head;
            self.told.send_replace(self.position);
        }
        self.level().await?;
        self.follow().await
    }

    /// Hands on all that the table has.
    async fn level(&mut self) -> Result<(), Error> {
        loop {
            let (events, more) = self.pages.next(&self.shared.store, self.position, self.last, usize::MAX).await?;
            self.hand_on(events);
            if !more {
                return Ok(());
            }
        }
    }

    async fn follow(&mut self) -> Result<(), Error> {
        if !self.bus.is_connected() {
            return Err(Error::Disconnected);
        }
        let mut connections = self.bus.connections();
        connections.mark_unchanged();
        let epoch = self.shared.store.epoch().await?;
        // A stream that goes on where the log does not would bring what never was, or is no more.
        let (log, held) = relay::look(&self.shared.store, &self.bus, epoch).await?;
        if !matches!(relay::decide(&log, &held), relay::Action::Publish { .. }) {
            return Err(Error::Bus { doing: "following the stream", why: "it is not of this log".to_owned() });
        }
        let consumer = self.consumer(epoch).await?;
        let messages = consumer.stream().max_messages_per_batch(BATCH).max_bytes_per_batch(BATCH_BYTES);
        let messages = messages.heartbeat(Duration::from_secs(5)).expires(Duration::from_secs(15));
        let mut messages = messages.messages().await.map_err(Error::bus("following the stream"))?;
        self.failing = None;
        let mut checked = Instant::now();
        loop {
            if checked.elapsed() >= CHECK {
                self.check(&consumer).await?;
                checked = Instant::now();
            }
            tokio::select! {
                biased;
                _ = connections.changed() => return Err(Error::Disconnected),
                message = messages.next() => {
                    let Some(message) = message else { return Ok(()) };
                    let mut batch = Vec::new();
                    let mut outcome = self.take(message, epoch, &mut batch);
                    // Whatever else has come already goes with it.
                    while outcome.is_ok()
                        && batch.len() < BATCH
                        && let Some(Some(message)) = messages.next().now_or_never()
                    {
                        outcome = self.take(message, epoch, &mut batch);
                    }
                    self.hand_on(batch);
                    outcome?;
                }
                () = sleep(POLL) => self.level().await?,
            }
        }
    }

    /// A consumer of its own from the next position on; the server forgets it half a minute after it was used last.
    async fn consumer(&self, epoch: i32) -> Result<Consumer<pull::Config>, Error> {
        let config = self.config();
        let made = self.bus.jetstream().create_consumer_on_stream(config, stream::name(epoch)).await;
        made.map_err(Error::bus("following the stream"))
    }

    fn config(&self) -> pull::Config {
        pull::Config {
            name: Some(declared::once("feed")),
            description: Some("a feed".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: u64::try_from(self.position + 1).unwrap_or(1),
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        }
    }

    /// An error where the consumer is not as it was made: then another one is.
    async fn check(&self, consumer: &Consumer<pull::Config>) -> Result<(), Error> {
        let doing = "following the stream";
        let info = consumer.get_info().await.map_err(Error::bus(doing))?;
        match declared::difference(&info.config, &self.config().into_consumer_config()) {
            None => Ok(()),
            Some(setting) => Err(Error::Bus { doing, why: format!("{setting} of the consumer was changed") }),
        }
    }

    /// Takes a message if it is the next event, and passes it over if the table had it already. Anything else is an error.
    fn take(
        &self,
        message: Result<jetstream::Message, pull::MessagesError>,
        epoch: i32,
        batch: &mut Vec<Recorded>,
    ) -> Result<(), Error> {
        let doing = "following the stream";
        let message = message.map_err(Error::bus(doing))?;
        let sequence = message.info().map_err(Error::bus(doing))?.stream_sequence;
        let (position, last) =
            batch.last().map_or_else(|| (self.position, self.last.map_or(0, |l| l.epoch)), |e| (e.position, e.epoch));
        let headers = message.headers.clone().unwrap_or_default();
        let delivery = Delivery { sequence, subject: &message.subject, headers: &headers, payload: &message.payload };
        batch.extend(Place { position, epoch: last }.next(epoch, &delivery)?);
        Ok(())
    }

    /// Puts events into the window and wakes the readers.
    fn hand_on(&mut self, events: Vec<Recorded>) {
        let Some(last) = events.last() else { return };
        (self.position, self.last) = (last.position, Some(pages::identity(last)));
        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
        let mut window = self.shared.window.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for event in events {
            window.push(event);
        }
        drop(window);
        self.told.send_replace(self.position);
    }
}
