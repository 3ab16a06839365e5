//! Prompts as they are read for commands. All versions of one are read at once, and some prompts weigh many megabytes: of
//! those, and of those that nobody here knows yet, only a few are in memory at a time, in turn by caller.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use events::{Store, prompt::Prompt, store::Loaded};
use service::{
    http::Problem,
    shares::{Limits, Share, Shares},
};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::blocking::{Blocking, turn};

/// Of those that may be heavy.
const LIMITS: Limits = Limits { places: 4, each: 2, queue: 1_024, queue_each: 128 };
/// How many of those are read at a time, on threads of their own: what is read has yet to be decoded.
const THREADS: Limits = Limits { places: 2, each: 1, queue: 16, queue_each: 8 };
/// The most that a light one weighs, in bytes.
const LIGHT: usize = 256 << 10;
/// How many are remembered to be light.
const KNOWN: usize = 65_536;

/// Which prompts are light, and the places for the others.
pub struct Prompts {
    places: Shares,
    reading: Blocking,
    light: Mutex<HashSet<Uuid>>,
}

impl Default for Prompts {
    fn default() -> Self {
        Self { places: Shares::new(LIMITS), reading: Blocking::new(THREADS), light: Mutex::default() }
    }
}

/// A prompt with its place, which is to be kept as long as the prompt is.
pub struct Kept {
    /// The prompt.
    pub prompt: Prompt,
    _place: Option<Share>,
}

impl Prompts {
    /// The prompt `id`, for `caller`: 429 or 503 where too many wait for heavy ones.
    pub async fn load(&self, store: &Store, caller: Uuid, id: Uuid) -> Result<Kept, Problem> {
        let known = self.light().contains(&id);
        let (mut place, loaded) = if known {
            (None, store.load::<Prompt>(id).await?)
        } else {
            let place = turn(&self.places, caller).await?;
            let (store, runtime) = (store.clone(), Handle::current());
            let load = move || runtime.block_on(store.load::<Prompt>(id));
            (Some(place), self.reading.run(caller, load).await??)
        };
        let Loaded { aggregate: prompt, weight, .. } = loaded;
        // It may have got heavier since: then the next one waits for a place.
        let mut light = self.light();
        if weight > LIGHT {
            light.remove(&id);
        } else {
            if light.len() >= KNOWN {
                light.clear();
            }
            // What there is not is not remembered.
            if weight > 0 {
                light.insert(id);
            }
            place = None;
        }
        drop(light);
        Ok(Kept { prompt, _place: place })
    }

    fn light(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.light.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
