//! The log is sealed here, because this role is always up; what is known of it becomes metrics.

mod sealer;
mod session;

use std::{path::PathBuf, time::Duration};

use clap::Args as Flags;
use events::{
    Store,
    seal::{File, SigningKey},
};
use metrics::gauge;
use nats::Bus;
use service::{config::duration, lifecycle::Lifecycle, telemetry::name};
use tokio::{sync::watch, time::interval};
use tokio_util::sync::CancellationToken;

pub use sealer::{Options, Sealer, Status};

/// How often the metrics are brought up to date.
const EVERY: Duration = Duration::from_secs(1);
/// How long a sealer that vanished keeps the lead: receipts wait for it.
const LEASE: Duration = Duration::from_secs(5);
/// How often the log's end is looked at.
const POLL: Duration = Duration::from_millis(250);
/// The shortest time between two heads that events call for.
const REST: Duration = Duration::from_secs(1);

/// How the log is sealed.
#[derive(Flags, Clone, Debug)]
pub struct Sealing {
    /// File of the Ed25519 key that signs the log's heads (PKCS #8 in PEM), the same for every process that seals; made at
    /// the first start. Without it the log is not sealed (`daybook up` keeps one in its data folder).
    #[arg(long, env = "DAYBOOK_SEAL_KEY", value_name = "FILE")]
    pub seal_key: Option<PathBuf>,
    /// File outside the database that every signed head is added to, one a line (`daybook up` keeps one in its data
    /// folder); best on another machine's disk.
    #[arg(long, env = "DAYBOOK_SEAL_FILE", value_name = "FILE")]
    pub seal_file: Option<PathBuf>,
    /// How many new events call for a signed head, once a second at most.
    #[arg(long, env = "DAYBOOK_SEAL_EVENTS", default_value = "10000", value_name = "NUMBER",
        value_parser = clap::value_parser!(i64).range(1..))]
    pub seal_events: i64,
    /// How long an event waits for a signed head at most.
    #[arg(long, env = "DAYBOOK_SEAL_INTERVAL", default_value = "2s", value_parser = duration, value_name = "TIME")]
    pub seal_interval: Duration,
}

impl Default for Sealing {
    fn default() -> Self {
        Self { seal_key: None, seal_file: None, seal_events: 10_000, seal_interval: Duration::from_secs(2) }
    }
}

impl Sealing {
    /// Refuses what cannot be used, before anything is started.
    pub fn check(&self) -> anyhow::Result<()> {
        match (&self.seal_key, &self.seal_file) {
            (None, Some(_)) => anyhow::bail!("DAYBOOK_SEAL_FILE is of no use without DAYBOOK_SEAL_KEY"),
            (Some(key), file) => {
                SigningKey::read(key)?;
                file.as_ref().map(|file| File::at(file).last()).transpose()?;
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    fn options(self) -> Option<Options> {
        Some(Options {
            key: self.seal_key?,
            file: self.seal_file.map(File::at),
            events: self.seal_events,
            rest: REST.min(self.seal_interval),
            interval: self.seal_interval,
            poll: POLL.min(self.seal_interval),
            lease: LEASE,
        })
    }
}

/// Starts the sealer, if there is a key, and its metrics. Returns how it stands.
pub fn start(store: &Store, bus: &Bus, sealing: Sealing, lifecycle: &Lifecycle) -> watch::Receiver<Status> {
    let Some(options) = sealing.options() else {
        tracing::info!("the log is not sealed here: there is no DAYBOOK_SEAL_KEY");
        return watch::Sender::default().subscribe();
    };
    if options.file.is_none() {
        tracing::warn!("the log's heads are kept in the database alone: there is no DAYBOOK_SEAL_FILE");
    }
    let sealer = Sealer::new(store.clone(), bus.clone(), options);
    let status = sealer.status();
    lifecycle.spawn("sealer", sealer.run(lifecycle.soft()));
    lifecycle.tracker().spawn(count(status.clone(), lifecycle.soft()));
    status
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats; exact up to 2^53 events")]
async fn count(status: watch::Receiver<Status>, soft: CancellationToken) {
    let mut every = interval(EVERY);
    while soft.run_until_cancelled(every.tick()).await.is_some() {
        let Status { leading, end, sealed, failing } = *status.borrow();
        // Where another process leads, this one knows nothing of how far it is.
        if leading {
            gauge!(name::SEALED).set(sealed as f64);
        }
        gauge!(name::SEAL_LAG).set(if leading { (end - sealed).max(0) as f64 } else { 0.0 });
        gauge!(name::SEAL_FAILING).set(f64::from(u8::from(failing)));
    }
}
