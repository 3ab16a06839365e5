//! The relay: brings the log into the stream, event for event, at the sequence that is its position.
//!
//! One of several leads, by a lease; that two lead for a while is harmless, because the server takes each position once.
//! Its state is never its own: it begins by comparing the stream with the log ([`decide()`]), and does so again after
//! anything unexpected and every half minute.

#[cfg(test)]
mod converges;
mod decide;
mod publish;
mod scrub;

use std::{error::Error as _, time::Duration};

use event_store::{
    Store,
    store::{Lead, Wake},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

pub use decide::{Action, Log, Why, decide};
use publish::Publisher;
use scrub::Scrub;

use crate::{
    Bus, Error,
    stream::{self, Held},
};

const LEASE: &str = "relay";
/// How often the leader deletes idempotency keys that are no longer kept.
const SWEEP: Duration = Duration::from_hours(1);
/// How many of them in one statement; when there are more, the next turn goes on.
const SWEPT: u32 = 10_000;

/// How the relay works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the stream is kept.
    pub stream: stream::Options,
    /// The most messages that wait for their acknowledgement.
    pub in_flight: usize,
    /// The most bytes that they weigh, about.
    pub in_flight_bytes: usize,
    /// How often the log is looked at when nothing wakes the relay.
    pub poll: Duration,
    /// How often the stream is compared with the log when nothing calls for it.
    pub compare: Duration,
    /// How long the lead lasts when its holder vanishes.
    pub lease: Duration,
    /// How long the next acknowledgement may take.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stream: stream::Options::default(),
            in_flight: 4096,
            in_flight_bytes: 16 << 20,
            poll: Duration::from_millis(250),
            compare: Duration::from_secs(30),
            lease: Duration::from_secs(10),
            patience: Duration::from_secs(5),
        }
    }
}

/// How the relay stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// This process leads.
    pub leading: bool,
    /// The position of the log's last event, as last seen.
    pub head: i64,
    /// The position of the last event that is known to be in the stream; what is missing to `head` is the lag.
    pub relayed: i64,
    /// The connection to NATS stands.
    pub connected: bool,
    /// How many turns have failed, since it began.
    pub failures: u64,
    /// The last turn has failed.
    pub failing: bool,
}

/// What the stream of `epoch` and the log say of each other.
pub(crate) async fn look(store: &Store, bus: &Bus, epoch: i32) -> Result<(Log, Held), Error> {
    let found = stream::observe(bus, epoch).await?;
    // The log after the stream: it never shrinks, so a stream that is ahead of it is wrong.
    let head = store.head().await?;
    let at_tail = match found {
        Held::Ours(stored) => store.identity(stored.last).await?,
        Held::Nothing | Held::Other(_) => None,
    };
    Ok((Log { epoch, head, at_tail }, found))
}

/// The relay of one process.
pub struct Relay {
    store: Store,
    bus: Bus,
    options: Options,
    lead: Lead,
    status: watch::Sender<Status>,
    /// None until the stream was compared with the log.
    session: Option<Session>,
    scrub: Option<Scrub>,
    swept: Option<Instant>,
    failing: bool,
}

/// A stream that was found to be a part of the log, over a connection that has stood since.
struct Session {
    publisher: Publisher,
    connections: watch::Receiver<u64>,
    compared: Instant,
}

impl Relay {
    /// A relay from `store` to `bus`, whose user must be the relay's.
    pub fn new(store: Store, bus: Bus, options: Options) -> Self {
        Self {
            store,
            bus,
            // A second relay is woken by every group that is committed; it need not ask that often.
            lead: Lead::new(LEASE, options.lease, options.poll),
            options,
            status: watch::Sender::default(),
            session: None,
            scrub: None,
            swept: None,
            failing: false,
        }
    }

    /// How it stands, to be watched.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Relays until `soft` is cancelled. No failure of the database or of NATS ends it.
    pub async fn run(mut self, soft: CancellationToken) -> Result<(), Error> {
        let mut wake = Wake::new(&self.store, self.options.poll);
        loop {
            let stepped = tokio::select! {
                () = soft.cancelled() => break,
                stepped = self.step() => stepped,
            };
            let pause = async {
                match self.tell(stepped) {
                    Some(true) => {}
                    Some(false) => wake.wait(self.session.as_ref().map_or(0, |s| s.publisher.acknowledged())).await,
                    None => sleep(self.options.poll).await,
                }
            };
            tokio::select! {
                () = soft.cancelled() => break,
                () = pause => {}
            }
        }
        self.give_up_lead().await;
        Ok(())
    }

    /// One turn: takes the lead if it is free, compares if it is time, and relays what the log has. Whether the next turn
    /// should follow at once.
    pub async fn step(&mut self) -> Result<bool, Error> {
        let connected = self.bus.is_connected();
        self.status.send_if_modified(|status| std::mem::replace(&mut status.connected, connected) != connected);
        if !connected {
            self.session = None;
            // Another process may reach NATS.
            self.give_up_lead().await;
            self.see_head().await?;
            return Err(Error::Disconnected);
        }
        if !self.lead().await? {
            (self.session, self.scrub) = (None, None);
            self.see_head().await?;
            return Ok(false);
        }
        if let Some((epoch, position)) = self.scrub.as_ref().and_then(Scrub::missing) {
            (self.session, self.scrub) = (None, None);
            let raised = self.store.raise_epoch(epoch).await?;
            tracing::warn!(position, raised, "the stream has lost a message: a new one is made");
            return Ok(true);
        }
        let mut session = match self.session.take() {
            Some(session) if session.compared.elapsed() < self.options.compare => session,
            _ => match self.compare().await? {
                Some(session) => session,
                // The stream was made or the epoch raised: the next turn compares.
                None => return Ok(true),
            },
        };
        let outcome = tokio::select! {
            biased;
            // What was in flight may be stored or not, and may still come: only comparing tells.
            _ = session.connections.changed() => Err(Error::Disconnected),
            outcome = session.publisher.stretch(&self.store, &self.options) => outcome,
        };
        self.saw(session.publisher.acknowledged(), session.publisher.acknowledged());
        let more = outcome?;
        self.session = Some(session);
        self.sweep().await?;
        Ok(more || self.swept.is_none())
    }

    /// Compares the stream with the log and does what is called for. None when the stream has to be looked at again.
    async fn compare(&mut self) -> Result<Option<Session>, Error> {
        let mut connections = self.bus.connections();
        connections.mark_unchanged();
        let epoch = self.store.epoch().await?;
        let (log, held) = look(&self.store, &self.bus, epoch).await?;
        match decide(&log, &held) {
            Action::Create => {
                let first = self.options.stream.keep.map_or(1, |keep| (log.head - keep + 1).max(1));
                tracing::info!(stream = stream::name(epoch), first, "the stream is made");
                stream::create(&self.bus, epoch, first, &self.options.stream).await?;
                Ok(None)
            }
            Action::Raise(why) => {
                let raised = self.store.raise_epoch(epoch).await?;
                tracing::warn!(stream = stream::name(epoch), %why, raised, "the stream is not of this log: a new one is made");
                Ok(None)
            }
            Action::Publish { after } => {
                stream::adjust(&self.bus, epoch, &self.options.stream).await?;
                self.saw(log.head, after);
                let publisher = Publisher::new(&self.bus, epoch, after, log.at_tail).await?;
                let connection = *connections.borrow();
                if !self.scrub.as_ref().is_some_and(|scrub| scrub.is_of(epoch, connection)) {
                    self.scrub = Some(Scrub::start(&self.bus, epoch, connection));
                }
                Ok(Some(Session { publisher, connections, compared: Instant::now() }))
            }
        }
    }

    /// Takes the lead or keeps it.
    async fn lead(&mut self) -> Result<bool, Error> {
        let leads = self.lead.take(&self.store).await?;
        let changed = self.status.send_if_modified(|status| std::mem::replace(&mut status.leading, leads) != leads);
        if changed {
            tracing::info!(leads, "the lead of the relay");
        }
        Ok(leads)
    }

    async fn give_up_lead(&mut self) {
        if self.lead.give_up(&self.store).await {
            self.status.send_modify(|status| status.leading = false);
        }
    }

    async fn see_head(&self) -> Result<(), Error> {
        let head = self.store.head().await?;
        self.saw(head, 0);
        Ok(())
    }

    fn saw(&self, head: i64, relayed: i64) {
        self.status.send_if_modified(|status| {
            let before = *status;
            status.head = status.head.max(head);
            // After the stream was made anew this goes back.
            if relayed > 0 || before.leading {
                status.relayed = relayed;
            }
            *status != before
        });
    }

    /// As the leader, and now and then: what must be done by one only and belongs to nobody else.
    async fn sweep(&mut self) -> Result<(), Error> {
        if self.swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            let forgotten = self.store.forget_old_keys(SWEPT.into()).await?;
            self.swept = (forgotten < SWEPT.into()).then(Instant::now);
            tracing::debug!(forgotten, "old idempotency keys");
        }
        Ok(())
    }

    /// Logs the first failure of several, and that they are over. None for a failure.
    fn tell(&mut self, stepped: Result<bool, Error>) -> Option<bool> {
        let failing = stepped.is_err();
        match &stepped {
            Ok(_) if self.failing => tracing::info!("the relay works again"),
            Ok(_) => {}
            Err(error) if self.failing => tracing::debug!(%error, "the relay still fails"),
            Err(error) => tracing::warn!(%error, source = error.source(), "the relay fails; it goes on trying"),
        }
        self.failing = failing;
        self.status.send_if_modified(|status| {
            status.failures += u64::from(failing);
            std::mem::replace(&mut status.failing, failing) || failing
        });
        stepped.ok()
    }
}
