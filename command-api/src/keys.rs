//! Idempotency keys whose first command is in flight in this process: the others wait for it. Across processes the log
//! alone decides.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use events::Key;
use tokio::sync::watch;
use uuid::Uuid;

type InFlight = HashMap<(Uuid, String), watch::Receiver<()>>;

/// The keys in flight. Clones are the same.
#[derive(Clone, Default)]
pub struct Keys(Arc<Mutex<InFlight>>);

/// What became of an attempt to be the one that uses a key.
pub enum Attempt {
    /// Nobody else does until the turn is dropped.
    Mine(Turn),
    /// Somebody does; this ends when they have done.
    Theirs(watch::Receiver<()>),
}

/// The right to use a key. It ends when dropped.
pub struct Turn {
    keys: Keys,
    key: (Uuid, String),
    /// Dropped after the key was taken out: who waits finds it free.
    _done: watch::Sender<()>,
}

impl Keys {
    /// Tries to be the one that uses `key`.
    pub fn attempt(&self, key: &Key) -> Attempt {
        let key = (key.caller, key.key.clone());
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.entry(key) {
            Entry::Occupied(theirs) => Attempt::Theirs(theirs.get().clone()),
            Entry::Vacant(free) => {
                let (done, wait) = watch::channel(());
                let key = free.key().clone();
                free.insert(wait);
                Attempt::Mine(Turn { keys: self.clone(), key, _done: done })
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_the_rest_wait() {
        let keys = Keys::default();
        let key = Key { caller: Uuid::nil(), key: "k".into(), request: [0; 32] };
        let other = Key { caller: Uuid::max(), ..key.clone() };
        let Attempt::Mine(turn) = keys.attempt(&key) else { panic!("nobody has it") };
        assert!(matches!(keys.attempt(&other), Attempt::Mine(_)));
        let Attempt::Theirs(mut wait) = keys.attempt(&key) else { panic!("it is taken") };
        drop(turn);
        assert!(wait.changed().await.is_err());
        assert!(matches!(keys.attempt(&key), Attempt::Mine(_)));
    }
}
