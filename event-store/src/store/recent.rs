//! The things that this process has changed last, as its own commands have left them, so that the next command on one of
//! them need not read its whole history.
//!
//! What is here may be old: another process may have changed the thing since. The append finds out, because it is refused
//! when the log is at another version; and who believes a refusal or an answer must have read the log. So nothing here has to
//! be kept up to date, and nothing can become wrong by it.

use std::{
    any::{Any, TypeId},
    sync::Arc,
};

use quick_cache::{Weighter, sync::Cache};
use uuid::Uuid;

use super::Loaded;
use crate::Stream;

/// What all things here may weigh together, in bytes.
const WEIGHT: u64 = 8 << 20;
/// How many things of a usual weight that is.
const THINGS: usize = 8 << 10;
/// What a thing weighs besides its events' data, in bytes.
const BASE: u64 = 512;

/// The recent things. Clones are the same.
#[derive(Clone)]
pub(super) struct Recent(Arc<Cache<(TypeId, Uuid), Thing, ByWeight>>);

#[derive(Clone)]
struct Thing {
    loaded: Arc<dyn Any + Send + Sync>,
    weight: u64,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<(TypeId, Uuid), Thing> for ByWeight {
    fn weight(&self, _: &(TypeId, Uuid), thing: &Thing) -> u64 {
        thing.weight
    }
}

impl Recent {
    pub(super) fn new() -> Self {
        Self(Arc::new(Cache::with_weighter(THINGS, WEIGHT, ByWeight)))
    }

    /// The thing `id`, if it is here. It is here no longer then: a command that goes wrong leaves nothing behind.
    pub(super) fn take<A: Stream>(&self, id: Uuid) -> Option<Loaded<A>> {
        let (_, thing) = self.0.remove(&(TypeId::of::<A>(), id))?;
        thing.loaded.downcast().ok().and_then(Arc::into_inner)
    }

    /// Forgets everything: the log that it was decided on may have lost its end (a failover), and have other events at the same
    /// versions.
    pub(super) fn clear(&self) {
        self.0.clear();
    }

    /// Keeps the thing `id` as it is now.
    pub(super) fn put<A: Stream>(&self, id: Uuid, loaded: Loaded<A>) {
        let weight = BASE + loaded.weight as u64;
        self.0.insert((TypeId::of::<A>(), id), Thing { loaded: Arc::new(loaded), weight });
    }
}
