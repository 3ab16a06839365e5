//! Jobs: events that something has to be done about, handed out to workers by a durable pull consumer.
//!
//! A message comes back until it is answered for: after the ack wait when its worker vanished, after a delay when the
//! worker asked for one. Who has put it into the log that it has the job may answer for the message at once, and go on
//! working ([`Delivery::taken`]). So the work must be idempotent in the log, and attempts are counted there: the consumer itself
//! delivers without limit, because a message past its `max_deliver` is neither delivered nor pending and is forgotten.

mod consumer;
mod delivery;
mod health;
mod running;

use std::time::Duration;

use async_nats::jetstream::AckKind;
use event_store::{Recorded, Store, store::StoreError};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{Bus, Error};
use consumer::{Consumer, Pulled};
pub use delivery::Delivery;
pub use health::Health;
use running::{Running, answer};

/// How long to wait after the consumer was lost before it is built again.
const PAUSE: Duration = Duration::from_millis(250);

/// How often the consumer is compared with its declaration; besides, whenever no job comes.
const CHECK: Duration = Duration::from_secs(30);

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with, one way or the other: what came of it is in the log.
    Done,
    /// It is to be handed out again, not before this time has passed.
    Later(Duration),
}

/// One sort of jobs: which events they are, and how many are worked on at a time.
#[derive(Debug, Clone)]
pub struct Jobs {
    /// The consumer's name, the same in every process that shares the work; one of [`crate::server::DURABLES`], so that
    /// readers cannot touch it.
    pub durable: &'static str,
    /// The stream of the log, as `execution`.
    pub stream: &'static str,
    /// The kinds of events that are jobs.
    pub kinds: &'static [&'static str],
    /// How many this process works on at a time. It never takes a message that it cannot begin at once.
    pub slots: usize,
    /// How long the server waits for a sign of life of a job before it hands it out again. A running job gives one every
    /// third of it.
    pub ack_wait: Duration,
    /// Tells whether the consumer is as declared.
    pub health: Health,
}

impl Jobs {
    /// Works on jobs until `soft` is cancelled; then takes no more, finishes those in flight until `hard` is cancelled, and
    /// hands the rest back at once. Whatever happens to NATS or the database, it goes on afterwards.
    ///
    /// `oldest_open` says from which position on a consumer begins when it has to be made (on a new stream, or on a server
    /// that was wiped): that of the oldest job that has not ended, or the one after the log's last. `work` does one job.
    pub async fn run<F, W>(
        self,
        store: Store,
        bus: Bus,
        oldest_open: impl AsyncFn(&Store) -> Result<i64, StoreError>,
        work: F,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> Result<(), Error>
    where
        F: Fn(Recorded, Delivery) -> W,
        W: Future<Output = Verdict> + Send + 'static,
    {
        let mut running = Running::new(bus.clone(), self.ack_wait);
        let mut failing = false;
        while !soft.is_cancelled() {
            match self.take(&store, &bus, &oldest_open, &work, &mut running, &soft, &mut failing).await {
                Ok(()) => break,
                Err(error) if failing => tracing::debug!(%error, durable = self.durable, "jobs still cannot be taken"),
                Err(error) => tracing::warn!(%error, durable = self.durable, "jobs cannot be taken; it goes on trying"),
            }
            failing = true;
            // Those in flight go on meanwhile.
            tokio::select! {
                () = soft.cancelled() => {}
                () = sleep(PAUSE) => {}
            }
        }
        tokio::select! {
            () = running.all() => {}
            () = hard.cancelled() => running.hand_back().await,
        }
        bus.flush().await;
        Ok(())
    }

    /// Takes jobs until something goes wrong with the consumer, or `soft` is cancelled.
    #[expect(clippy::too_many_arguments, reason = "what run() was given, and its own state")]
    async fn take<F, W>(
        &self,
        store: &Store,
        bus: &Bus,
        oldest_open: &impl AsyncFn(&Store) -> Result<i64, StoreError>,
        work: &F,
        running: &mut Running,
        soft: &CancellationToken,
        failing: &mut bool,
    ) -> Result<(), Error>
    where
        F: Fn(Recorded, Delivery) -> W,
        W: Future<Output = Verdict> + Send + 'static,
    {
        if !bus.is_connected() {
            return Err(Error::Disconnected);
        }
        let mut connections = bus.connections();
        connections.mark_unchanged();
        let mut consumer = tokio::select! {
            () = soft.cancelled() => return Ok(()),
            opened = Consumer::open(self, store, bus, oldest_open) => opened?,
        };
        if std::mem::take(failing) {
            tracing::info!(durable = self.durable, "jobs are taken again");
        }
        let mut checked = Instant::now();
        loop {
            consumer.ask(self.slots.saturating_sub(running.count())).await?;
            tokio::select! {
                biased;
                () = soft.cancelled() => {
                    for reply in consumer.close().await {
                        answer(bus, reply, AckKind::Nak(None)).await;
                    }
                    return Ok(());
                }
                // The server that we are connected to now may not know the pull, nor the consumer.
                _ = connections.changed() => return Err(Error::Disconnected),
                () = running.one(), if running.count() > 0 => {}
                () = sleep_until(checked + CHECK) => {
                    consumer.check(self, store, oldest_open).await?;
                    checked = Instant::now();
                }
                pulled = consumer.next(), if consumer.waits() => {
                    let Some(Pulled { sequence, reply, event }) = pulled? else {
                        consumer.check(self, store, oldest_open).await?;
                        checked = Instant::now();
                        continue;
                    };
                    match event {
                        None => answer(bus, reply, AckKind::Ack).await,
                        // It was delivered again because a sign of life got lost; it is still being worked on.
                        Some(_) if running.has(sequence) => answer(bus, reply, AckKind::Nak(Some(self.ack_wait))).await,
                        Some(event) => {
                            let (delivery, taken) = Delivery::new();
                            running.begin(sequence, reply, work(event, delivery), taken);
                        }
                    }
                }
            }
        }
    }
}
