//! What wakes the relay: this process's writer, the NOTIFY of other processes' writers, and a poll in case both are missed.

use std::{sync::Arc, time::Duration};

use events::Store;
use sqlx::postgres::PgListener;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::sleep,
};

/// The channel on which every append notifies, once a group.
const CHANNEL: &str = "log";

pub(super) struct Wake {
    appended: watch::Receiver<i64>,
    notified: Arc<Notify>,
    poll: Duration,
    _listening: JoinSet<()>,
}

impl Wake {
    pub(super) fn new(store: &Store, poll: Duration) -> Self {
        let notified = Arc::new(Notify::new());
        let mut listening = JoinSet::new();
        listening.spawn(listen(store.clone(), notified.clone()));
        Self { appended: store.appended(), notified, poll, _listening: listening }
    }

    /// Waits until there may be something new.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            // The sender lives as long as the store, which the relay holds.
            _ = self.appended.changed() => {}
            () = self.notified.notified() => {}
            () = sleep(self.poll) => {}
        }
    }
}

/// Listens for ever. Notifications are lost in silence while the connection is down, so each time it comes back counts as one.
async fn listen(store: Store, notified: Arc<Notify>) {
    loop {
        if let Err(error) = listen_once(&store, &notified).await {
            tracing::debug!(%error, "notifications of the log cannot be heard");
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn listen_once(store: &Store, notified: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(store.reads()).await?;
    listener.listen(CHANNEL).await?;
    loop {
        notified.notify_one();
        // None says that the connection was lost and is back.
        let _ = listener.try_recv().await?;
    }
}
