//! Whether queries can be answered: the database must be there; without NATS who waits is only woken later.

use std::{sync::Arc, time::Duration};

use nats::Bus;
use service::http::{Probe, Readiness};
use sqlx::{Connection as _, PgPool};
use tokio::time::timeout;

/// How long the database may take to show that it lives.
const PATIENCE: Duration = Duration::from_millis(900);

/// Asks the database, and the client of NATS.
pub fn of(pool: PgPool, bus: Bus) -> Probe {
    Arc::new(move || {
        let (pool, bus) = (pool.clone(), bus.clone());
        Box::pin(async move {
            match timeout(PATIENCE, ping(&pool)).await {
                Ok(Ok(())) if bus.is_connected() => Readiness::Ready,
                Ok(Ok(())) => Readiness::Degraded(vec!["nats".to_owned()]),
                _ => Readiness::NotReady("the database cannot be reached".to_owned()),
            }
        })
    })
}

async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.acquire().await?.ping().await
}
