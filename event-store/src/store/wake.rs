//! What wakes those who follow the log: this process's writer, the NOTIFY of other processes' writers, and a poll in case
//! both are missed.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::Store;

/// The channel on which every append notifies, once a group.
const CHANNEL: &str = "log";

/// Tells when there may be more in the log. It listens on a connection of its own while it lives.
#[derive(Debug)]
pub struct Wake {
    appended: watch::Receiver<i64>,
    notified: watch::Receiver<i64>,
    poll: Duration,
    _listening: JoinSet<()>,
}

impl Wake {
    /// For who reads the log through `store`, at least every `poll`. Needs a Tokio runtime.
    pub fn new(store: &Store, poll: Duration) -> Self {
        let (sender, notified) = watch::channel(0);
        let mut listening = JoinSet::new();
        listening.spawn(listen(store.clone(), sender));
        Self { appended: store.appended(), notified, poll, _listening: listening }
    }

    /// Waits until there may be something after `position`. (What this process has appended is told twice.)
    pub async fn wait(&mut self, position: i64) {
        let poll = sleep(self.poll);
        tokio::pin!(poll);
        loop {
            let head = tokio::select! {
                // The senders live as long as the store, which the caller holds, and as the task that listens.
                _ = self.appended.changed() => *self.appended.borrow_and_update(),
                _ = self.notified.changed() => *self.notified.borrow_and_update(),
                () = &mut poll => return,
            };
            if head > position {
                return;
            }
        }
    }
}

/// Listens for ever. Notifications are lost in silence while the connection is down, so each time it comes back counts as one.
async fn listen(store: Store, notified: watch::Sender<i64>) {
    loop {
        if let Err(error) = listen_once(&store, &notified).await {
            tracing::debug!(%error, "notifications of the log cannot be heard");
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn listen_once(store: &Store, notified: &watch::Sender<i64>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(store.reads()).await?;
    listener.listen(CHANNEL).await?;
    // Whatever was appended before is not told.
    notified.send_replace(i64::MAX);
    loop {
        // None says that the connection was lost and is back.
        let told = listener.try_recv().await?;
        notified.send_replace(told.and_then(|told| told.payload().parse().ok()).unwrap_or(i64::MAX));
    }
}
