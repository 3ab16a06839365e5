//! What is due: leases that ran out, waits that are over, deadlines that are past. Each becomes a command on its thing, which
//! decides what follows; so whoever works hears of it by an event, as of everything else.
//!
//! This runs here, because this role is always up. One of several leads, but nothing depends on that: a thing decides by its
//! own state, and what was read of a timer may be old. All times are the database's.

use std::time::Duration;

use clap::Args as Flags;
use events::{
    CONTEXTS, Store, failpoint,
    registry::Failure,
    store::{Due, Lead, StoreError},
};
use futures_util::{StreamExt as _, stream};
use service::{config::duration, lifecycle::Lifecycle};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// How often it is looked, when nothing was due: a timer is late by so much at most.
const EVERY: Duration = Duration::from_millis(200);
/// How many are taken at a time, and how many of them are worked on beside each other.
const BATCH: i64 = 256;
const BESIDE: usize = 32;
/// How long a timer is put off about which nothing can be done.
const PUT_OFF_SECONDS: f64 = 30.0;
/// The lead, when its holder vanishes; and how often who was refused asks again.
const LEAD: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));

/// How timers are looked after.
#[derive(Flags, Clone, Debug)]
pub struct Timing {
    /// After the database or whoever looks after leases was away, those that have run out meanwhile may be renewed for so long.
    #[arg(long, env = "DAYBOOK_LEASE_GRACE", default_value = "5s", value_parser = duration, value_name = "TIME")]
    pub lease_grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { lease_grace: Duration::from_secs(5) }
    }
}

/// Starts looking after timers. Returns until when there are known to be some that this program does not know.
pub fn start(store: Store, timing: &Timing, lifecycle: &Lifecycle) -> watch::Receiver<Option<Instant>> {
    let timers = Timers::new(store, timing.lease_grace);
    let unknown = timers.unknown();
    lifecycle.spawn("timers", timers.run(lifecycle.soft()));
    unknown
}

/// Who looks after timers.
pub struct Timers {
    store: Store,
    lead: Lead,
    grace: Duration,
    /// When it was last looked, with success.
    looked: Option<Instant>,
    /// Until then leases are left alone.
    lenient_until: Instant,
    /// Until then there has lately been a timer of which this program knows nothing.
    unknown: watch::Sender<Option<Instant>>,
}

impl Timers {
    /// One that leaves leases alone for `grace`, at first and after each time when nobody could renew them.
    pub fn new(store: Store, grace: Duration) -> Self {
        let lead = Lead::new("timers", LEAD.0, LEAD.1);
        let unknown = watch::Sender::new(None);
        Self { store, lead, grace, looked: None, lenient_until: Instant::now(), unknown }
    }

    /// Until when there are known to be timers that this program does not know.
    pub fn unknown(&self) -> watch::Receiver<Option<Instant>> {
        self.unknown.subscribe()
    }

    async fn run(mut self, soft: CancellationToken) -> Result<(), StoreError> {
        let mut failing = false;
        while !soft.is_cancelled() {
            match self.step().await {
                Ok(done) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("timers are looked after again");
                    }
                    if done >= usize::try_from(BATCH).unwrap_or(usize::MAX) {
                        continue;
                    }
                }
                Err(error) if failing => tracing::debug!(%error, "timers still cannot be looked after"),
                Err(error) => {
                    tracing::warn!(%error, "timers cannot be looked after; it goes on trying");
                    failing = true;
                }
            }
            soft.run_until_cancelled(sleep(EVERY)).await;
        }
        self.lead.give_up(&self.store).await;
        Ok(())
    }

    /// Does what is due, at most 256 at a time, if it leads. Returns how many there were.
    pub async fn step(&mut self) -> Result<usize, StoreError> {
        if !self.lead.take(&self.store).await? {
            self.looked = None;
            return Ok(0);
        }
        let now = Instant::now();
        if self.looked.is_none_or(|looked| now.duration_since(looked) > self.grace / 3) {
            self.lenient_until = now + self.grace;
        }
        let due = self.store.due(BATCH, now < self.lenient_until).await?;
        self.looked = Some(Instant::now());
        let count = due.len();
        let store = &self.store;
        let mut done = stream::iter(due).map(|due| async move { act(store, due).await }).buffer_unordered(BESIDE);
        let mut unknown = false;
        while let Some(done) = done.next().await {
            unknown |= !done?;
        }
        if unknown {
            // Longer than it is put off: until it is asked again.
            let until = Instant::now() + Duration::from_secs_f64(2.0 * PUT_OFF_SECONDS);
            self.unknown.send_replace(Some(until));
        }
        Ok(count)
    }
}

/// Tells an aggregate that its timer is due. Returns whether this program knows of such a timer.
async fn act(store: &Store, due: Due) -> Result<bool, StoreError> {
    failpoint::reach("timer.due");
    let (id, stream, name) = (due.id, due.stream.as_str(), due.name.as_str());
    let known = match CONTEXTS.stream(stream) {
        Some(known) => known.due(store, &due).await,
        None => Ok(false),
    };
    let (why, is_known) = match known {
        Ok(true) => {
            tracing::info!(stream, %id, name, mark = due.mark, deadline = due.deadline, "a timer was due");
            return Ok(true);
        }
        Ok(false) => {
            metrics::counter!("daybook_timers_unknown_total").increment(1);
            tracing::error!(
                stream, %id, name,
                "this program knows no such timer, so nothing comes of it: run the version that set it; it is asked again later"
            );
            ("this program knows no such timer".to_owned(), false)
        }
        Err(Failure::Unavailable(error)) => return Err(error),
        // It is in another state by now; a timer that stands all the same must not stand in the way of others.
        Err(Failure::Refused(why)) => (why, true),
        Err(Failure::Broken(why)) => {
            tracing::error!(stream, %id, name, why, "nothing can be done about a timer; it is put off");
            (why, true)
        }
    };
    tracing::debug!(stream, %id, name, why, "a timer was due in vain");
    store.put_off(&due, PUT_OFF_SECONDS).await?;
    Ok(is_known)
}
