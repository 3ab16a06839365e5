//! Which executions run in this process: so that none runs twice in it, and so that one can be stopped.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The executions that run here. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<HashMap<Uuid, CancellationToken>>>);

/// The place of one of them, until it is dropped.
pub(super) struct Entry {
    running: Running,
    id: Uuid,
    /// Cancelled when somebody wants it stopped.
    pub(super) stop: CancellationToken,
}

impl Running {
    /// A place for `id`, unless it has one already.
    pub(super) fn enter(&self, id: Uuid) -> Option<Entry> {
        match self.lock().entry(id) {
            hash_map::Entry::Occupied(_) => None,
            hash_map::Entry::Vacant(place) => {
                let stop = place.insert(CancellationToken::new()).clone();
                Some(Entry { running: self.clone(), id, stop })
            }
        }
    }

    /// Stops `id`, if it runs here.
    pub(super) fn stop(&self, id: Uuid) {
        if let Some(stop) = self.lock().get(&id) {
            stop.cancel();
        }
    }

    /// Nothing that holds the lock can leave the map half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_has_one_place_and_is_stopped_there() {
        let running = Running::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let place = running.enter(one).unwrap();
        assert!(running.enter(one).is_none());
        running.stop(other);
        assert!(!place.stop.is_cancelled());
        running.stop(one);
        assert!(place.stop.is_cancelled());
        drop(place);
        assert!(!running.enter(one).unwrap().stop.is_cancelled());
    }
}
