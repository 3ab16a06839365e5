//! Which executions run in this process: so that none runs twice in it, that one can be stopped, and that the leases of all
//! are kept.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::provider::Draft;

/// The executions that run here. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    here: HashMap<Uuid, Place>,
    /// What was given up with its lease: the execution and the token.
    given_up: Vec<(Uuid, Uuid)>,
}

struct Place {
    stop: CancellationToken,
    gone: CancellationToken,
    lease: Option<Lease>,
    text: Option<(u32, Draft)>,
}

#[derive(Clone, Copy)]
struct Lease {
    token: Uuid,
    since: Instant,
}

/// The place of one of them, until it is dropped.
pub(super) struct Entry {
    running: Running,
    id: Uuid,
    /// Cancelled when somebody wants it stopped.
    pub(super) stop: CancellationToken,
    /// Cancelled when it is not ours any more: it has ended, or its lease is lost.
    pub(super) gone: CancellationToken,
}

impl Running {
    /// A place for `id`, unless it has one already.
    pub(super) fn enter(&self, id: Uuid) -> Option<Entry> {
        match self.lock().here.entry(id) {
            hash_map::Entry::Occupied(_) => None,
            hash_map::Entry::Vacant(place) => {
                let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
                place.insert(Place { stop: stop.clone(), gone: gone.clone(), lease: None, text: None });
                Some(Entry { running: self.clone(), id, stop, gone })
            }
        }
    }

    /// Stops `id`, if it runs here.
    pub(super) fn stop(&self, id: Uuid) {
        if let Some(place) = self.lock().here.get(&id) {
            place.stop.cancel();
        }
    }

    /// Drops `id`, if it runs here: it is not ours any more.
    pub(super) fn lose(&self, id: Uuid) {
        if let Some(place) = self.lock().here.get(&id) {
            place.gone.cancel();
        }
    }

    /// Which attempt of `id` runs here, if one does, and its text so far.
    pub(super) fn text(&self, id: Uuid) -> Option<(u32, Draft)> {
        self.lock().here.get(&id)?.text.clone()
    }

    /// The executions and tokens of all leases that are older than `age`.
    pub(super) fn leases(&self, age: Duration) -> (Vec<Uuid>, Vec<Uuid>) {
        let held = |(id, place): (&Uuid, &Place)| {
            let lease = place.lease.filter(|lease| lease.since.elapsed() >= age && !place.gone.is_cancelled());
            lease.map(|lease| (*id, lease.token))
        };
        self.lock().here.iter().filter_map(held).unzip()
    }

    /// What was given up since it was last asked.
    pub(super) fn given_up(&self) -> (Vec<Uuid>, Vec<Uuid>) {
        self.lock().given_up.drain(..).unzip()
    }

    /// Nothing that holds the lock can leave the map half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Its lease is held under `token` from now on.
    pub(super) fn held(&self, token: Uuid) {
        if let Some(place) = self.running.lock().here.get_mut(&self.id) {
            place.lease = Some(Lease { token, since: Instant::now() });
        }
    }

    /// The text of this attempt is made in `draft`.
    pub(super) fn makes(&self, attempt: u32, draft: &Draft) {
        if let Some(place) = self.running.lock().here.get_mut(&self.id) {
            place.text = Some((attempt, draft.clone()));
        }
    }

    /// Its lease is over, as its end is in the log.
    pub(super) fn over(&self) {
        if let Some(place) = self.running.lock().here.get_mut(&self.id) {
            place.lease = None;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.running.lock();
        if let Some(Place { lease: Some(lease), .. }) = state.here.remove(&self.id) {
            state.given_up.push((self.id, lease.token));
        }
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

    #[test]
    fn a_lease_is_kept_until_its_end_is_known_or_it_is_lost_or_given_up() {
        let running = Running::default();
        let (id, token) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let place = running.enter(id).unwrap();
        assert_eq!(running.leases(Duration::ZERO), (vec![], vec![]));
        place.held(token);
        assert_eq!(running.leases(Duration::ZERO), (vec![id], vec![token]));
        assert_eq!(running.leases(Duration::from_hours(1)), (vec![], vec![]));
        running.lose(id);
        assert!(place.gone.is_cancelled());
        assert_eq!(running.leases(Duration::ZERO), (vec![], vec![]));
        drop(place);
        assert_eq!(running.given_up(), (vec![id], vec![token]));
        assert_eq!(running.given_up(), (vec![], vec![]));

        let place = running.enter(id).unwrap();
        place.held(token);
        place.over();
        drop(place);
        assert_eq!(running.given_up(), (vec![], vec![]));
    }
}
