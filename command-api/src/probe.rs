//! Whether commands can be taken in: the database must be there, NATS may be away for a while.

use std::{sync::Arc, time::Duration};

use nats::Bus;
use service::http::{Probe, Readiness};
use sqlx::{Connection as _, PgPool};
use tokio::time::timeout;

/// How long a server may take to show that it lives.
const PATIENCE: Duration = Duration::from_millis(900);

/// Asks both servers at once.
pub fn of(health: PgPool, bus: Bus) -> Probe {
    Arc::new(move || {
        let (health, bus) = (health.clone(), bus.clone());
        Box::pin(async move {
            let database = timeout(PATIENCE, ping(&health));
            let nats = timeout(PATIENCE, bus.healthy());
            match tokio::join!(database, nats) {
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
