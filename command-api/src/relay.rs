//! The relay runs here, because this role is always up; and what it knows of the log becomes metrics.

use std::time::Duration;

use clap::Args as Flags;
use events::Store;
use metrics::gauge;
use nats::{
    Bus, Relay,
    relay::{Options, Status},
};
use service::{config::duration, lifecycle::Lifecycle, telemetry::name};
use tokio::{sync::watch, time::interval};
use tokio_util::sync::CancellationToken;

/// How often the metrics are brought up to date.
const EVERY: Duration = Duration::from_secs(1);

/// How the relay works.
#[derive(Flags, Clone, Debug)]
pub struct Relaying {
    /// How long the lead among several relays lasts when its holder vanishes.
    #[arg(long, env = "DAYBOOK_RELAY_LEASE", default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub relay_lease: Duration,
}

impl Default for Relaying {
    fn default() -> Self {
        Self { relay_lease: Options::default().lease }
    }
}

/// Starts the relay and its metrics. Returns how the relay stands.
pub fn start(store: &Store, bus: &Bus, relaying: &Relaying, lifecycle: &Lifecycle) -> watch::Receiver<Status> {
    let options = Options { lease: relaying.relay_lease, ..Options::default() };
    let relay = Relay::new(store.clone(), bus.clone(), options);
    let status = relay.status();
    let gauges = Gauges { status: status.clone(), appended: store.appended() };
    lifecycle.spawn("relay", relay.run(lifecycle.soft()));
    lifecycle.spawn("readers' consumers", nats::readers::serve(bus.clone(), lifecycle.soft()));
    lifecycle.tracker().spawn(gauges.run(lifecycle.soft()));
    status
}

struct Gauges {
    status: watch::Receiver<Status>,
    appended: watch::Receiver<i64>,
}

impl Gauges {
    async fn run(self, soft: CancellationToken) {
        let mut every = interval(EVERY);
        while soft.run_until_cancelled(every.tick()).await.is_some() {
            self.step();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats; exact up to 2^53 events")]
    fn step(&self) {
        let Status { head, relayed, leading, connected, .. } = *self.status.borrow();
        let head = head.max(*self.appended.borrow());
        // Where another process leads, this one knows nothing of how far the stream is.
        let relayed = if connected && !leading { head } else { relayed };
        gauge!(name::LOG_HEAD).set(head as f64);
        gauge!(name::RELAY_LAG).set(head.saturating_sub(relayed).max(0) as f64);
    }
}
