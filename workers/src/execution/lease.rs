//! The leases of what runs here. An attempt is leased from its start on, by the database's clock; one statement for all of
//! them puts their ends off, every third of a lease, so that calls that take less than that cost none. Whose lease was given
//! to nobody while this process was frozen finds that out here, or when the log refuses what it writes.

use std::{convert::Infallible, time::Duration};

use futures_util::StreamExt as _;
use nats::Bus;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{Executions, SOON, chain};

/// How long letting go may take while the process stops.
const LAST_WORD: Duration = Duration::from_secs(1);

impl Executions {
    /// Hears of events of this kind, for what is to stop here. Messages may be lost: then the log says it when the outcome is
    /// written, or the lease is not there any more.
    pub(super) async fn hear(&self, bus: &Bus, kind: &'static str, stop: impl Fn(Uuid)) -> Infallible {
        loop {
            match bus.heard("execution", kind).await {
                Ok(mut events) => {
                    while let Some(event) = events.next().await {
                        stop(event.id);
                    }
                }
                Err(error) => tracing::warn!(error = chain(&error), kind, "what is to stop is not heard"),
            }
            sleep(SOON).await;
        }
    }

    /// Keeps the leases, as long as the process works.
    pub(super) async fn keep_leases(&self) -> Infallible {
        let third = self.settings.lease / 3;
        let mut pause = third;
        loop {
            sleep(pause).await;
            pause = if self.renew(third).await { third } else { third / 4 };
        }
    }

    /// Renews what is older than `age`, and lets go of what was given up. Whether the database has answered.
    async fn renew(&self, age: Duration) -> bool {
        self.let_go().await;
        let (ids, tokens) = self.running.leases(age);
        if ids.is_empty() {
            return true;
        }
        let lease = i64::try_from(self.settings.lease.as_millis()).unwrap_or(i64::MAX);
        match self.store.renew(&ids, &tokens, lease).await {
            Ok(kept) => {
                for lost in ids.into_iter().filter(|id| !kept.contains(id)) {
                    self.running.lose(lost);
                }
                true
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "leases cannot be renewed");
                false
            }
        }
    }

    /// Lets go of what was given up, so that nobody waits for its lease to run out.
    pub(super) async fn let_go(&self) {
        let (ids, tokens) = self.running.given_up();
        if !ids.is_empty() {
            // In vain, it runs out by itself.
            let _ = timeout(LAST_WORD, self.store.let_go(&ids, &tokens)).await;
        }
    }
}
