//! Whether the read models are kept up to date.

use std::{sync::Arc, time::Duration};

use service::http::{Probe, Readiness};
use sqlx::{Connection as _, PgPool};
use tokio::time::timeout;

use crate::{Parts, board::Board};

/// How long the database may take to show that it lives.
const PATIENCE: Duration = Duration::from_millis(900);

/// Asks the board and, because a projection that waits for events does not notice, the database and the bus.
pub(crate) fn of(board: Board, parts: &Parts) -> Probe {
    let (pool, bus) = (parts.pool.clone(), parts.bus.clone());
    Arc::new(move || {
        let (board, pool, bus) = (board.clone(), pool.clone(), bus.clone());
        Box::pin(async move {
            match (board.readiness(), timeout(PATIENCE, ping(&pool)).await) {
                (Readiness::Ready, Ok(Ok(()))) if bus.is_connected() => Readiness::Ready,
                (Readiness::Ready, Ok(Ok(()))) => Readiness::Degraded(vec!["nats".to_owned()]),
                (Readiness::Ready, _) => Readiness::NotReady("the database cannot be reached".to_owned()),
                (ailing, _) => ailing,
            }
        })
    })
}

async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.acquire().await?.ping().await
}
