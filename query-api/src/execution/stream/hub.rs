//! What is told of texts, for all who stream them here: one subscription for each execution that is watched, however many
//! watch it, and none for others. So a process hears only what somebody wants, and the server does the choosing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures_util::StreamExt as _;
use nats::{
    Bus,
    live::{About, Chunk},
};
use service::{
    http::Problem,
    shares::{Share, Shares},
};
use tokio::{
    sync::{OnceCell, broadcast},
    task::AbortHandle,
    time::timeout,
};
use uuid::Uuid;

/// Pieces that are kept for one who is behind; whoever is further behind asks for them.
const KEPT: usize = 64;
/// How long a subscription may take to be handed to the connection. Without it, a stream has its text in the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// The share of one caller: the one half.
const CALLERS: usize = 2;
/// When to come again where too many are streamed.
const LATER: Duration = Duration::from_secs(5);

/// All that is watched in this process.
pub(super) struct Hub {
    bus: Bus,
    watched: Mutex<HashMap<Uuid, Weak<Source>>>,
    places: Shares,
}

/// One subscription, as long as somebody has it.
struct Source {
    told: broadcast::Sender<Arc<Chunk>>,
    /// None yet: it has failed, and who comes next tries again.
    hearing: OnceCell<AbortHandle>,
}

impl Default for Source {
    fn default() -> Self {
        Self { told: broadcast::Sender::new(KEPT), hearing: OnceCell::new() }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(hearing) = self.hearing.get() {
            hearing.abort();
        }
    }
}

/// A place at a subscription.
pub(super) struct Tap {
    told: broadcast::Receiver<Arc<Chunk>>,
    _source: Arc<Source>,
    _place: Share,
}

/// What a tap gives.
#[derive(Debug)]
pub(super) enum Told {
    /// A piece.
    Chunk(Arc<Chunk>),
    /// Pieces were passed over.
    Missed,
}

impl Hub {
    pub(super) fn new(bus: Bus, most: usize) -> Self {
        Self { bus, watched: Mutex::default(), places: Shares::of(most, most.div_ceil(CALLERS)) }
    }

    /// A place at what is told from now on: 429 where `caller` has too many, 503 where all together have.
    pub(super) async fn tap(&self, about: About, caller: Uuid) -> Result<Tap, Problem> {
        let place = self.places.try_take(caller).map_err(|full| full.problem("text streams", LATER))?;
        let source = self.source(about.id);
        let told = source.told.subscribe();
        // Nobody but who watches the same text waits for this, and each no longer than that.
        if let Ok(Err(error)) = timeout(PATIENCE, source.hear(&self.bus, about)).await {
            tracing::warn!(%error, "a text is not heard: it is streamed when it is whole");
        }
        Ok(Tap { told, _source: source, _place: place })
    }

    /// What is told of the execution `id`: the one that others watch, or a new one.
    fn source(&self, id: Uuid) -> Arc<Source> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = watched.get(&id).and_then(Weak::upgrade) {
            return source;
        }
        // Now and then, those that nobody has any more.
        if watched.len().is_power_of_two() {
            watched.retain(|_, source| source.strong_count() > 0);
        }
        let source = Arc::new(Source::default());
        watched.insert(id, Arc::downgrade(&source));
        source
    }
}

impl Source {
    /// Subscribes, unless that is done.
    async fn hear(&self, bus: &Bus, about: About) -> Result<(), nats::Error> {
        let subscribe = async || {
            let mut chunks = bus.chunks(about).await?;
            let told = self.told.clone();
            let hearing = tokio::spawn(async move {
                while let Some(chunk) = chunks.next().await {
                    // All may have just gone.
                    let _ = told.send(Arc::new(chunk));
                }
            });
            Ok(hearing.abort_handle())
        };
        self.hearing.get_or_try_init(subscribe).await.map(|_| ())
    }
}

impl Tap {
    /// What is told next; for ever nothing when the subscription has ended.
    pub(super) async fn next(&mut self) -> Told {
        match self.told.recv().await {
            Ok(chunk) => Told::Chunk(chunk),
            Err(broadcast::error::RecvError::Lagged(_)) => Told::Missed,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
