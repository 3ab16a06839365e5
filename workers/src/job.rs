//! What we do about events: a [`Job`] is one durable consumer of the bus and what is done for each of its events.
//!
//! A second context's job is one module and one line in [`crate::start`].

use std::{convert::Infallible, future::Future, sync::Arc};

use events::{Recorded, Store, store::StoreError};
use nats::{
    Bus,
    jobs::{Delivery, Health, Jobs, Verdict},
};
use service::lifecycle::Lifecycle;

use crate::Parts;

/// One kind of work, for every event of some kinds in one stream.
///
/// An event may come more than once, and to several workers: what [`Self::run`] does must be idempotent in the log.
pub trait Job: Send + Sync + 'static {
    /// The name of its durable consumer. Never changes: the bus keeps the place under it.
    const NAME: &'static str;
    /// The stream, as `execution`.
    const STREAM: &'static str;
    /// The kinds of events that it acts on.
    const KINDS: &'static [&'static str];

    /// The position from which a new consumer has to begin so that nothing that is still to be done is missed.
    fn oldest_open(&self, store: &Store) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Does the work for one event. Dropped when the process gives up.
    fn run(&self, event: Recorded, delivery: Delivery) -> impl Future<Output = Verdict> + Send;

    /// Comes after all work, when the process stops.
    fn stopped(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Runs beside the work, in every worker, as long as work goes on.
    fn listen(&self, _bus: &Bus) -> impl Future<Output = Infallible> + Send {
        std::future::pending()
    }
}

/// Runs a job as long as the process lives, as many events at a time as is configured. Returns how its consumer is.
pub fn spawn<J: Job>(job: J, parts: &Parts, lifecycle: &Lifecycle) -> Health {
    let (store, bus, config) = (parts.store.clone(), parts.bus.clone(), &parts.config);
    let (slots, ack_wait) = (config.concurrency.get(), config.ack_wait);
    let jobs =
        Jobs { durable: J::NAME, stream: J::STREAM, kinds: J::KINDS, slots, ack_wait, health: Health::default() };
    let health = jobs.health.clone();
    let (soft, hard) = (lifecycle.soft(), lifecycle.hard());
    let job = Arc::new(job);
    lifecycle.spawn(J::NAME, async move {
        let oldest_open = {
            let job = Arc::clone(&job);
            async move |store: &Store| job.oldest_open(store).await
        };
        let work = {
            let job = Arc::clone(&job);
            move |event: Recorded, delivery: Delivery| {
                let job = Arc::clone(&job);
                async move { job.run(event, delivery).await }
            }
        };
        let ended = tokio::select! {
            ended = jobs.run(store, bus.clone(), oldest_open, work, soft, hard) => ended,
            never = job.listen(&bus) => match never {},
        };
        job.stopped().await;
        ended
    });
    health
}
