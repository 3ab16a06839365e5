//! Leading at what one process only may do at a time.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Store, StoreError};
use crate::clock;

/// One that wants to lead: holds a lease of the log's database, by the database's clock.
#[derive(Debug)]
pub struct Lead {
    name: &'static str,
    length: Duration,
    pause: Duration,
    holder: Uuid,
    leased: Option<Instant>,
    /// When another was found to lead.
    refused: Option<Instant>,
}

impl Lead {
    /// One for the lease `name`, which lasts for `length` when its holder vanishes; who was refused does not ask again for
    /// `pause`.
    pub fn new(name: &'static str, length: Duration, pause: Duration) -> Self {
        Self { name, length, pause, holder: clock::id(), leased: None, refused: None }
    }

    /// Takes the lead if it is free, or keeps it. Whether it is ours. Cheap to ask often.
    pub async fn take(&mut self, store: &Store) -> Result<bool, StoreError> {
        if self.leased.is_some_and(|at| at.elapsed() < self.length / 3) {
            return Ok(true);
        }
        if self.refused.is_some_and(|at| at.elapsed() < self.pause) {
            return Ok(false);
        }
        let asked = Instant::now();
        let leads = store.lease(self.name, self.holder, self.length.as_secs_f64()).await?;
        self.leased = leads.then_some(asked);
        self.refused = (!leads).then_some(asked);
        Ok(leads)
    }

    /// Gives the lead back, within a second; when it cannot be given back it runs out by itself. Whether it was ours.
    pub async fn give_up(&mut self, store: &Store) -> bool {
        let led = self.leased.take().is_some();
        if led {
            let _ = tokio::time::timeout(Duration::from_secs(1), store.release(self.name, self.holder)).await;
        }
        led
    }
}
