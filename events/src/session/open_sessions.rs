//! Which sessions are open, by the log: a token of a closed one is refused, whatever it says.

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tokio::time::Instant;
use uuid::Uuid;

use super::Session;
use crate::{Store, store::StoreError};

/// How many sessions are remembered.
const REMEMBERED: usize = 65_536;

/// Looks at the log, or remembers for a while what it said. Clones are the same.
#[derive(Clone)]
pub struct OpenSessions {
    store: Store,
    fresh: Duration,
    sessions: Arc<Cache<Uuid, Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    user: Option<Uuid>,
}

impl std::fmt::Debug for OpenSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenSessions")
    }
}

impl OpenSessions {
    /// By the log that is read through `store`. What it said is believed for `fresh`; if that is zero, it is asked each time.
    pub fn new(store: Store, fresh: Duration) -> Self {
        Self { store, fresh, sessions: Arc::new(Cache::new(REMEMBERED)) }
    }

    /// Whether this session is open, and this user's.
    pub async fn is_open(&self, session: Uuid, user: Uuid) -> Result<bool, StoreError> {
        // The instant before the log is asked: what it says is of then or later.
        let now = Instant::now();
        if let Some(seen) = self.sessions.get(&session)
            && now.duration_since(seen.at) < self.fresh
        {
            return Ok(seen.user == Some(user));
        }
        let found = self.store.load::<Session>(session).await?.aggregate;
        let open_for = found.user().filter(|user| found.is_open_for(*user));
        if !self.fresh.is_zero() {
            self.sessions.insert(session, Seen { at: now, user: open_for });
        }
        Ok(open_for == Some(user))
    }
}
