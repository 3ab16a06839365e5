//! Sealing: signed heads of the log, made behind the appends.
//!
//! One process seals at a time, by a lease; that two do for a while is harmless, because each head is a function of the log
//! and has one successor. A head goes into the database first, then into the file outside, then out on the bus: what a crash
//! leaves between them, the next start finds and brings on. Nothing is ever signed over a head that says something else.

use std::{error::Error as _, path::PathBuf, time::Duration};

use events::{
    Store,
    seal::{Error, File, SignedHead, table},
    store::Lead,
};
use nats::Bus;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::session::{PROCESS, Session};

const LEASE: &str = "seal";
/// The most events that one head adds to the one before.
const MOST: i64 = 65_536;

/// How the log is sealed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file of the private key; made where there is none and the log was never sealed.
    pub key: PathBuf,
    /// The file outside the database.
    pub file: Option<File>,
    /// How many events call for a head at once.
    pub events: i64,
    /// How long after such a head the next one is called for by events again, and not by time: what comes thick and fast is
    /// sealed together, so that appends lose less to it.
    pub rest: Duration,
    /// How long an event waits for one at most.
    pub interval: Duration,
    /// How often the log's end is looked at. (Appends are not to be slowed by waking somebody.)
    pub poll: Duration,
    /// How long the lead lasts when its holder vanishes.
    pub lease: Duration,
}

/// How sealing stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// This process seals.
    pub leading: bool,
    /// The position of the log's last event, as last seen.
    pub end: i64,
    /// The size of the last head.
    pub sealed: i64,
    /// The last turn has failed: the log is not sealed on, or not told outside.
    pub failing: bool,
}

/// The sealer of one process.
pub struct Sealer {
    store: Store,
    bus: Bus,
    options: Options,
    lead: Lead,
    status: watch::Sender<Status>,
    /// None until the heads so far were compared with the log; after whatever goes wrong they are compared anew.
    session: Option<Session>,
    /// The last head that this process knows of, which is not to be contradicted wherever it was stored.
    seen: Option<SignedHead>,
    /// Since when there are events that no head covers.
    waiting: Option<Instant>,
    /// When events last called for a head.
    called: Option<Instant>,
}

/// Where the log ends.
#[derive(Debug, Clone, Copy)]
struct End {
    position: i64,
    epoch: i32,
}

impl Sealer {
    /// One for the log of `store`, whose heads are told on `bus`.
    pub fn new(store: Store, bus: Bus, options: Options) -> Self {
        Self {
            store,
            bus,
            lead: Lead::new(LEASE, options.lease, options.poll),
            options,
            status: watch::Sender::default(),
            session: None,
            seen: None,
            waiting: None,
            called: None,
        }
    }

    /// How it stands, to be watched.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Seals until `soft` is cancelled, and then once more what there is. No failure ends it.
    pub async fn run(mut self, soft: CancellationToken) -> Result<(), Error> {
        loop {
            let stepped = tokio::select! {
                () = soft.cancelled() => break,
                stepped = self.step() => stepped,
            };
            let pause = match self.tell(stepped) {
                Some(true) => Duration::ZERO,
                Some(false) => self.options.poll,
                None => self.options.interval,
            };
            tokio::select! {
                () = soft.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        let _ = timeout(Duration::from_secs(1), self.seal_all()).await;
        self.lead.give_up(&self.store).await;
        Ok(())
    }

    /// One turn: takes the lead if it is free, compares if that was not done, and makes a head if it is time for one.
    /// Whether the next turn should follow at once.
    pub async fn step(&mut self) -> Result<bool, Error> {
        let Some(end) = self.look().await? else { return Ok(false) };
        let pending = end.position - self.status.borrow().sealed;
        if pending == 0 {
            self.waiting = None;
        } else {
            let waited = self.waiting.get_or_insert_with(Instant::now).elapsed();
            let rested = self.called.is_none_or(|called| called.elapsed() >= self.options.rest);
            let called = pending >= self.options.events && rested;
            if called || waited >= self.options.interval {
                let more = self.seal(end).await?;
                // What is far behind goes on at once.
                if called && !more {
                    self.called = Some(Instant::now());
                }
                return Ok(more);
            }
        }
        self.write_out().await?;
        Ok(false)
    }

    /// Seals all that is in the log now, if this process leads.
    pub async fn seal_all(&mut self) -> Result<(), Error> {
        while let Some(end) = self.look().await?
            && end.position > self.status.borrow().sealed
        {
            self.seal(end).await?;
        }
        self.write_out().await
    }

    /// The log's end, with a session that is ready to go on; none where another leads.
    async fn look(&mut self) -> Result<Option<End>, Error> {
        let leads = self.lead.take(&self.store).await?;
        if self.status.send_if_modified(|status| std::mem::replace(&mut status.leading, leads) != leads) {
            tracing::info!(leads, "the lead of the sealer");
        }
        if !leads {
            self.session = None;
            return Ok(None);
        }
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.store, &self.options, self.seen).await?,
        };
        let (position, epoch) = table::end(&self.store).await?;
        let sealed = session.size();
        self.seen = session.head();
        if position < sealed {
            return Err(Error::Shrunk { place: PROCESS.to_owned(), size: sealed, head: position });
        }
        self.session = Some(session);
        self.status.send_if_modified(|status| {
            let before = *status;
            (status.end, status.sealed) = (position, sealed);
            *status != before
        });
        Ok(Some(End { position, epoch }))
    }

    /// Makes a head of what the log has, or of a part of it, and tells it outside. Whether there is more.
    async fn seal(&mut self, end: End) -> Result<bool, Error> {
        let Some(mut session) = self.session.take() else { return Ok(true) };
        let size = end.position.min(session.size() + MOST);
        if !session.seal(size, end.epoch).await? {
            tracing::info!("another process seals as well");
            return Ok(true);
        }
        (self.seen, self.waiting) = (session.head(), None);
        self.session = Some(session);
        self.status.send_modify(|status| status.sealed = size);
        self.write_out().await?;
        Ok(size < end.position)
    }

    /// Brings the file on to the last head, and tells of it on the bus.
    async fn write_out(&mut self) -> Result<(), Error> {
        if let Some(session) = &mut self.session
            && session.write_out().await?
            && let Some(head) = session.head()
        {
            self.bus.publish_head(head.json()).await;
        }
        Ok(())
    }

    /// Logs the first failure of several, and that they are over. None for a failure.
    fn tell(&mut self, stepped: Result<bool, Error>) -> Option<bool> {
        let failed = self.status.borrow().failing;
        match &stepped {
            Ok(_) if failed => tracing::info!("the log is sealed again"),
            Ok(_) => {}
            Err(error) if failed => tracing::debug!(%error, "the log is still not sealed"),
            Err(error) if error.contradicts() => tracing::error!(
                %error,
                "the log is not what was sealed, and is not sealed on: run daybook log verify, and see docs/audit.md"
            ),
            Err(error) => tracing::warn!(%error, source = error.source(), "the log is not sealed; it is tried again"),
        }
        let failing = stepped.is_err();
        self.status.send_if_modified(|status| std::mem::replace(&mut status.failing, failing) != failing);
        stepped.ok()
    }
}
