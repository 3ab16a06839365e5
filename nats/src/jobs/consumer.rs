//! The durable consumer of one sort of jobs: its declaration, and pulling from it.

use std::time::Duration;

use async_nats::{
    StatusCode, Subject, Subscriber,
    jetstream::{
        self, ErrorCode,
        consumer::{AckPolicy, Consumer as PullFrom, DeliverPolicy, IntoConsumerConfig as _, pull},
        stream::ConsumerErrorKind,
    },
};
use event_store::{Recorded, Store, store::StoreError};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::Jobs;
use crate::{Bus, Error, declared, message, stream, subject};

/// How long a pull waits at the server for messages.
const EXPIRES: Duration = Duration::from_secs(5);
/// How much longer we wait for its end.
const GRACE: Duration = Duration::from_secs(3);
/// More than all slots of all workers, so that it never holds a free slot back.
const MAX_ACK_PENDING: i64 = 20_000;

/// A consumer to pull from, with at most one pull outstanding.
pub(super) struct Consumer {
    pull_from: PullFrom<pull::Config>,
    context: jetstream::Context,
    /// Where it begins: what it delivers from before that is no job any more.
    begins: u64,
    inbox: Subject,
    messages: Subscriber,
    /// What is still to come of the pull.
    outstanding: usize,
    expires: Instant,
}

/// A message that was pulled.
pub(super) struct Pulled {
    /// Its sequence, which is the event's position.
    pub(super) sequence: u64,
    /// Where it is answered for.
    pub(super) reply: Subject,
    /// The event; none when it is not to be worked on.
    pub(super) event: Option<Recorded>,
}

impl Consumer {
    /// The consumer on the stream of the ledger's epoch, made if it is not there.
    pub(super) async fn open(
        jobs: &Jobs,
        store: &Store,
        bus: &Bus,
        oldest_open: &impl AsyncFn(&Store) -> Result<i64, StoreError>,
    ) -> Result<Self, Error> {
        let stream = stream::name(store.epoch().await?);
        let found = bus.jetstream().get_consumer_from_stream::<pull::Config, _, _>(jobs.durable, &stream).await;
        let consumer = match found {
            Ok(found) => match difference(jobs, &found.cached_info().config) {
                None => found,
                Some(setting) => {
                    jobs.health.changed(jobs.durable, setting);
                    restore(jobs, store, bus, &stream, found, oldest_open).await?
                }
            },
            Err(error) if absent(&error.kind()) => make(jobs, store, bus, &stream, oldest_open).await?,
            Err(error) => return Err(Error::bus("finding the consumer")(error)),
        };
        let begins = begins(&consumer.cached_info().config);
        let inbox = Subject::from(bus.client().new_inbox());
        let messages = bus.client().subscribe(inbox.clone()).await.map_err(Error::bus("subscribing"))?;
        let context = bus.jetstream().clone();
        Ok(Self { pull_from: consumer, context, begins, inbox, messages, outstanding: 0, expires: Instant::now() })
    }

    /// An error where the consumer is not as declared, or is no more: opening it again restores it.
    pub(super) async fn check(
        &self,
        jobs: &Jobs,
        store: &Store,
        oldest_open: &impl AsyncFn(&Store) -> Result<i64, StoreError>,
    ) -> Result<(), Error> {
        let doing = "looking at the consumer";
        let now = self.pull_from.get_info().await.map_err(Error::bus(doing))?;
        let mut setting = difference(jobs, &now.config);
        if setting.is_none() && begins(&now.config) != self.begins {
            // It was made anew, by a worker or by somebody who would have jobs left out.
            let oldest = u64::try_from(oldest_open(store).await?).unwrap_or(0);
            if begins(&now.config) <= oldest.max(1) {
                return Err(Error::Bus { doing, why: "it was made anew".to_owned() });
            }
            let deleted = self.context.delete_consumer_from_stream(jobs.durable, &now.stream_name).await;
            deleted.map_err(Error::bus("deleting the consumer"))?;
            setting = Some("opt_start_seq");
        }
        match setting {
            None => {
                jobs.health.as_declared();
                Ok(())
            }
            Some(setting) => {
                jobs.health.changed(jobs.durable, setting);
                Err(Error::ChangedConsumer { durable: jobs.durable, setting })
            }
        }
    }

    /// Asks for as many messages as there are free slots, unless some are still to come of those asked for.
    pub(super) async fn ask(&mut self, free: usize) -> Result<(), Error> {
        if free == 0 || self.outstanding > 0 {
            return Ok(());
        }
        let batch = pull::BatchConfig { batch: free, expires: Some(EXPIRES), ..pull::BatchConfig::default() };
        self.pull_from.request_batch(batch, self.inbox.clone()).await.map_err(Error::bus("asking for jobs"))?;
        self.outstanding = free;
        self.expires = Instant::now() + EXPIRES + GRACE;
        Ok(())
    }

    pub(super) fn waits(&self) -> bool {
        self.outstanding > 0
    }

    /// The next message of the pull; none when it ended without one.
    pub(super) async fn next(&mut self) -> Result<Option<Pulled>, Error> {
        let doing = "waiting for jobs";
        let message = timeout_at(self.expires, self.messages.next()).await.map_err(|_| Error::Late(doing))?;
        let message = message.ok_or(Error::Disconnected)?;
        match message.status {
            None | Some(StatusCode::OK) => {
                self.outstanding = self.outstanding.saturating_sub(1);
                self.read(message).map(Some)
            }
            Some(StatusCode::IDLE_HEARTBEAT) => Ok(None),
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.outstanding = 0;
                Ok(None)
            }
            Some(status) => {
                let why = message.description.unwrap_or_default();
                Err(Error::Bus { doing, why: format!("{status} {why}") })
            }
        }
    }

    /// Stops pulling. What was on its way here is returned, for somebody else to get it at once.
    pub(super) async fn close(mut self) -> Vec<Subject> {
        let mut rest = Vec::new();
        // The server drops the pull with the subscription; after the answer to this nothing comes any more.
        if self.outstanding > 0 && self.messages.drain().await.is_ok() {
            while let Ok(Some(message)) = timeout(Duration::from_secs(1), self.messages.next()).await {
                rest.extend(message.reply.filter(|_| message.status.is_none()));
            }
        }
        rest
    }

    fn read(&self, message: async_nats::Message) -> Result<Pulled, Error> {
        let doing = "reading a job";
        let reply = message.reply.clone().ok_or_else(|| Error::Bus { doing, why: "it wants no answer".to_owned() })?;
        let message = jetstream::Message { message, context: self.context.clone() };
        let sequence = message.info().map_err(Error::bus(doing))?.stream_sequence;
        let headers = message.headers.as_ref();
        let event = headers.map(|h| message::read_at(sequence, &message.subject, h, &message.payload));
        let event = match event {
            _ if sequence < self.begins => None,
            Some(Ok(event)) => Some(event),
            // The relay makes a new stream when it finds this; the job, if it is one, comes with that.
            Some(Err(error)) => {
                tracing::warn!(sequence, %error, "a message of the stream is no event");
                None
            }
            None => None,
        };
        Ok(Pulled { sequence, reply, event })
    }
}

/// Makes the consumer, which is not there.
async fn make(
    jobs: &Jobs,
    store: &Store,
    bus: &Bus,
    stream: &str,
    oldest_open: &impl AsyncFn(&Store) -> Result<i64, StoreError>,
) -> Result<PullFrom<pull::Config>, Error> {
    let begins = oldest_open(store).await?;
    tracing::info!(durable = jobs.durable, stream, begins, "the consumer is made");
    let begins = u64::try_from(begins).unwrap_or(0);
    let policy = match begins {
        0 | 1 => DeliverPolicy::All,
        start_sequence => DeliverPolicy::ByStartSequence { start_sequence },
    };
    declare(bus, config(jobs, policy), stream).await
}

/// Gives the consumer the settings that it should have. Those that the server does not change are had by making it anew, from
/// the oldest job that has not ended: what was handed out comes again.
async fn restore(
    jobs: &Jobs,
    store: &Store,
    bus: &Bus,
    stream: &str,
    found: PullFrom<pull::Config>,
    oldest_open: &impl AsyncFn(&Store) -> Result<i64, StoreError>,
) -> Result<PullFrom<pull::Config>, Error> {
    let wanted = config(jobs, found.cached_info().config.deliver_policy);
    if let Ok(updated) = declare(bus, wanted, stream).await
        && difference(jobs, &updated.cached_info().config).is_none()
    {
        return Ok(updated);
    }
    tracing::warn!(durable = jobs.durable, stream, "the consumer cannot be changed back: it is made anew");
    let deleted = bus.jetstream().delete_consumer_from_stream(jobs.durable, stream).await;
    deleted.map_err(Error::bus("deleting the consumer"))?;
    make(jobs, store, bus, stream, oldest_open).await
}

async fn declare(bus: &Bus, config: pull::Config, stream: &str) -> Result<PullFrom<pull::Config>, Error> {
    bus.jetstream().create_consumer_on_stream(config, stream).await.map_err(Error::bus("making the consumer"))
}

fn config(jobs: &Jobs, deliver_policy: DeliverPolicy) -> pull::Config {
    pull::Config {
        durable_name: Some(jobs.durable.to_owned()),
        deliver_policy,
        ack_policy: AckPolicy::Explicit,
        ack_wait: jobs.ack_wait,
        max_deliver: -1,
        filter_subjects: jobs.kinds.iter().map(|kind| subject::every(jobs.stream, kind)).collect(),
        max_ack_pending: MAX_ACK_PENDING,
        ..pull::Config::default()
    }
}

/// The first setting that is not as declared.
fn difference(jobs: &Jobs, now: &jetstream::consumer::Config) -> Option<&'static str> {
    if !matches!(now.deliver_policy, DeliverPolicy::All | DeliverPolicy::ByStartSequence { .. }) {
        return Some("deliver_policy");
    }
    declared::difference(now, &config(jobs, now.deliver_policy).into_consumer_config())
}

/// The sequence from which a consumer of ours delivers.
fn begins(config: &jetstream::consumer::Config) -> u64 {
    match config.deliver_policy {
        DeliverPolicy::ByStartSequence { start_sequence } => start_sequence,
        _ => 0,
    }
}

fn absent(kind: &ConsumerErrorKind) -> bool {
    matches!(kind, ConsumerErrorKind::JetStream(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
}
