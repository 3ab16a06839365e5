//! Whether commands can be taken in: the database must be there, NATS may be away for a while.

use std::{sync::Arc, time::Duration};

use nats::{Bus, relay::Status};
use service::http::{Probe, Readiness};
use sqlx::{Connection as _, PgPool};
use tokio::{sync::watch, time::timeout};

/// How long a server may take to show that it lives.
const PATIENCE: Duration = Duration::from_millis(900);

/// Asks both servers at once, and the relay: a server that lives may still take nothing (its disk is full).
pub fn of(health: PgPool, bus: Bus, relay: watch::Receiver<Status>) -> Probe {
    Arc::new(move || {
        let (health, bus, failing) = (health.clone(), bus.clone(), relay.borrow().failing);
        Box::pin(async move {
            let database = timeout(PATIENCE, ping(&health));
            let nats = timeout(PATIENCE, bus.healthy());
            match tokio::join!(database, nats) {
                (Ok(Ok(())), Ok(Ok(()))) if failing => Readiness::Degraded(vec!["relay".to_owned()]),
                (Ok(Ok(())), Ok(Ok(()))) => Readiness::Ready,
                (Ok(Ok(())), _) => Readiness::Degraded(vec!["nats".to_owned()]),
                _ => Readiness::NotReady("the database cannot be reached".to_owned()),
            }
        })
    })
}

async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.acquire().await?.ping().await
}
