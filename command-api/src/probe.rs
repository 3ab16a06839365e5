//! Whether commands can be taken in: the database must be there, NATS may be away for a while.

use std::{sync::Arc, time::Duration};

use nats::{Bus, relay::Status};
use service::http::{Probe, Readiness};
use sqlx::{Connection as _, PgPool};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::seal;

/// How long a server may take to show that it lives.
const PATIENCE: Duration = Duration::from_millis(900);

/// Asks both servers at once, and the relay: a server that lives may still take nothing (its disk is full). And the sealer,
/// which may have found that the log is not what it was. And whether there are timers that
/// this program does not know.
pub fn of(
    health: PgPool,
    bus: Bus,
    relay: watch::Receiver<Status>,
    sealer: watch::Receiver<seal::Status>,
    unknown_timers: watch::Receiver<Option<Instant>>,
) -> Probe {
    Arc::new(move || {
        let (health, bus) = (health.clone(), bus.clone());
        let (relay, seal) = (relay.borrow().failing, sealer.borrow().failing);
        let timers = unknown_timers.borrow().is_some_and(|until| Instant::now() < until);
        Box::pin(async move {
            let database = timeout(PATIENCE, ping(&health));
            let nats = timeout(PATIENCE, bus.healthy());
            let (database, nats) = tokio::join!(database, nats);
            if !matches!(database, Ok(Ok(()))) {
                return Readiness::NotReady("the database cannot be reached".to_owned());
            }
            let nats = !matches!(nats, Ok(Ok(())));
            // Without NATS the relay fails, too: that says nothing more.
            let parts = [("nats", nats), ("relay", relay && !nats), ("seal", seal), ("timers", timers)];
            let missing: Vec<_> = parts.iter().filter(|part| part.1).map(|part| part.0.to_owned()).collect();
            if missing.is_empty() { Readiness::Ready } else { Readiness::Degraded(missing) }
        })
    })
}

async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.acquire().await?.ping().await
}
