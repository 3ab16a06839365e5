//! How many streams one process has at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use service::http::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// The most in one process.
const MOST: usize = 10_000;
/// The most of one caller.
const EACH: usize = 1000;
/// When it makes sense for a caller with too many to come again.
const LATER: Duration = Duration::from_secs(5);

/// The places for streams; clones are the same.
#[derive(Debug, Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    callers: Arc<Mutex<HashMap<Uuid, usize>>>,
}

/// A place, taken until it is dropped.
#[derive(Debug)]
pub struct Taken {
    caller: Uuid,
    callers: Arc<Mutex<HashMap<Uuid, usize>>>,
    _place: OwnedSemaphorePermit,
}

impl Places {
    /// As many as a process has.
    pub fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), callers: Arc::default() }
    }

    /// One for `caller`: 503 when all are taken, 429 when the caller has too many of them.
    pub fn take(&self, caller: Uuid) -> Result<Taken, Problem> {
        let place = Arc::clone(&self.all).try_acquire_owned();
        let place =
            place.map_err(|_| Problem::down("this process has as many event streams as it can serve, try again"))?;
        let mut callers = locked(&self.callers);
        let taken = callers.entry(caller).or_insert(0);
        if *taken >= EACH {
            return Err(Problem::too_many(LATER));
        }
        *taken += 1;
        drop(callers);
        Ok(Taken { caller, callers: Arc::clone(&self.callers), _place: place })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut callers = locked(&self.callers);
        if let Some(taken) = callers.get_mut(&self.caller) {
            *taken -= 1;
            if *taken == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

fn locked(callers: &Mutex<HashMap<Uuid, usize>>) -> MutexGuard<'_, HashMap<Uuid, usize>> {
    callers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places, caller: u128) -> Result<Taken, u16> {
        places.take(Uuid::from_u128(caller)).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn a_caller_has_so_many_and_all_together_so_many() {
        let places = Places::new();
        let mut taken: Vec<_> = (0..EACH).map(|_| take(&places, 0).expect("a place")).collect();
        assert_eq!(take(&places, 0).err(), Some(429));
        taken.extend(
            (1..=9).flat_map(|caller| (0..EACH).map(move |_| caller)).map(|c| take(&places, c).expect("a place")),
        );
        assert_eq!(take(&places, 10).err(), Some(503));
        drop(taken);
        assert!(locked(&places.callers).is_empty());
        assert!(take(&places, 0).is_ok());
    }
}
