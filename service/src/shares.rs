//! Places that all callers share: so many in all, so many for each caller, and in turn.
//!
//! A caller who wants more than its share is told so, and nobody else notices. Who waits for a place waits in a queue of its
//! caller's, and the callers get the places that become free in turn: however long one's queue is, another waits for no more
//! than the work that is being done.
//!
//! What is remembered of callers is bounded by the places and the queues: whoever has and wants nothing is forgotten.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::http::Problem;

/// How many places there are.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all.
    pub places: usize,
    /// The most of one caller.
    pub each: usize,
    /// How many may wait in all.
    pub queue: usize,
    /// The most of one caller.
    pub queue_each: usize,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The caller has as many as it may have.
    Own,
    /// All are taken.
    All,
}

impl Full {
    /// 429 for who has too many of `what` at a time, 503 where all together have; with the time after which to come again.
    pub fn problem(self, what: &str, retry_after: Duration) -> Problem {
        match self {
            Self::Own => {
                Problem::over_share(format!("you have as many {what} as one caller may at a time"), retry_after)
            }
            Self::All => Problem::down(format!("this process has as many {what} as it can serve, try again"))
                .retry_after(retry_after),
        }
    }
}

/// Places; clones are the same.
#[derive(Debug, Clone)]
pub struct Shares(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    callers: HashMap<Uuid, Held>,
    /// The callers with somebody who waits and a share that is not used up: whose turn is first, then the others'.
    turns: VecDeque<Uuid>,
}

/// What a caller has and wants.
#[derive(Debug, Default)]
struct Held {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Share>>,
    /// It is among `turns`.
    queued: bool,
}

/// A place, taken until it is dropped.
#[derive(Debug)]
pub struct Share {
    caller: Uuid,
    shares: Shares,
}

impl Share {
    /// Whose it is.
    pub fn caller(&self) -> Uuid {
        self.caller
    }
}

impl Shares {
    /// So many.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, state: Mutex::default() }))
    }

    /// As many in all, and so many for each caller, without queues.
    pub fn of(places: usize, each: usize) -> Self {
        Self::new(Limits { places, each, queue: 0, queue_each: 0 })
    }

    /// A place for `caller`, at once or not at all.
    pub fn try_take(&self, caller: Uuid) -> Result<Share, Full> {
        let mut state = self.state();
        if state.taken >= self.0.limits.places {
            return Err(Full::All);
        }
        if state.callers.get(&caller).is_some_and(|held| held.taken >= self.0.limits.each) {
            return Err(Full::Own);
        }
        state.take(caller);
        Ok(Share { caller, shares: self.clone() })
    }

    /// A place for `caller`, as soon as it is its turn. What waits is in the queue as long as this is polled or kept.
    pub async fn take(&self, caller: Uuid) -> Result<Share, Full> {
        let waits = {
            let mut state = self.state();
            let held = state.callers.entry(caller).or_default();
            if held.taken < self.0.limits.each && held.waiting.is_empty() && state.taken < self.0.limits.places {
                state.take(caller);
                return Ok(Share { caller, shares: self.clone() });
            }
            state.queue(caller, &self.0.limits)
        }?;
        // The other end is dropped only with a place in it.
        waits.await.map_err(|_| Full::All)
    }

    /// Gives the places that are free to those who wait, in turn.
    fn hand_on(&self) {
        loop {
            let (caller, next) = {
                let mut state = self.state();
                let Some(next) = state.next(&self.0.limits) else { return };
                next
            };
            // Who does not wait any more gives it back by dropping it: that hands it on by itself.
            let _ = next.send(Share { caller, shares: self.clone() });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, caller: Uuid) {
        self.taken += 1;
        self.callers.entry(caller).or_default().taken += 1;
    }

    /// A place in the queue of `caller`. Who has gone from it makes room.
    fn queue(&mut self, caller: Uuid, limits: &Limits) -> Result<oneshot::Receiver<Share>, Full> {
        let mut waiting = self.waiting();
        if waiting >= limits.queue {
            self.callers.values_mut().for_each(|held| held.waiting.retain(|waiter| !waiter.is_closed()));
            waiting = self.waiting();
        }
        let held = self.callers.entry(caller).or_default();
        held.waiting.retain(|waiter| !waiter.is_closed());
        let full = if held.waiting.len() >= limits.queue_each {
            Some(Full::Own)
        } else {
            (waiting >= limits.queue).then_some(Full::All)
        };
        if let Some(full) = full {
            self.forget(caller);
            return Err(full);
        }
        let (place, waits) = oneshot::channel();
        held.waiting.push_back(place);
        self.turn(caller, limits);
        Ok(waits)
    }

    fn waiting(&self) -> usize {
        self.callers.values().map(|held| held.waiting.len()).sum()
    }

    /// Puts `caller` at the end of the turns, if it is one to have a turn.
    fn turn(&mut self, caller: Uuid, limits: &Limits) {
        if let Some(held) = self.callers.get_mut(&caller)
            && !held.queued
            && !held.waiting.is_empty()
            && held.taken < limits.each
        {
            held.queued = true;
            self.turns.push_back(caller);
        }
    }

    /// Takes a place that is free for whoever is next.
    fn next(&mut self, limits: &Limits) -> Option<(Uuid, oneshot::Sender<Share>)> {
        while self.taken < limits.places {
            let caller = self.turns.pop_front()?;
            let Some(held) = self.callers.get_mut(&caller) else { continue };
            held.queued = false;
            let next = if held.taken < limits.each { held.waiting.pop_front() } else { None };
            let Some(next) = next else {
                self.forget(caller);
                continue;
            };
            self.take(caller);
            self.turn(caller, limits);
            return Some((caller, next));
        }
        None
    }

    fn forget(&mut self, caller: Uuid) {
        if self.callers.get(&caller).is_some_and(|held| held.taken == 0 && held.waiting.is_empty() && !held.queued) {
            self.callers.remove(&caller);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        {
            let mut state = self.shares.state();
            state.taken -= 1;
            if let Some(held) = state.callers.get_mut(&self.caller) {
                held.taken -= 1;
            }
            state.turn(self.caller, &self.shares.0.limits);
            state.forget(self.caller);
        }
        self.shares.hand_on();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    fn caller(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_caller_has_so_many_and_all_together_so_many() {
        let shares = Shares::of(3, 2);
        let first = [shares.try_take(caller(1)), shares.try_take(caller(1))];
        assert_eq!(shares.try_take(caller(1)).err(), Some(Full::Own));
        let second = shares.try_take(caller(2)).expect("a place");
        assert_eq!(shares.try_take(caller(2)).err(), Some(Full::All));
        assert_eq!(shares.try_take(caller(3)).err(), Some(Full::All));
        drop(first);
        drop(second);
        assert!(shares.state().callers.is_empty() && shares.state().taken == 0, "nothing is remembered");
        assert!(shares.try_take(caller(3)).is_ok());
    }

    #[tokio::test]
    async fn callers_have_turns_however_long_anothers_queue_is() {
        let shares = Shares::new(Limits { places: 1, each: 1, queue: 100, queue_each: 4 });
        let at_work = shares.take(caller(1)).await.expect("a place");
        let mut queue: Vec<_> = (0..4).map(|_| Box::pin(shares.take(caller(1)))).collect();
        assert!(queue.iter_mut().all(|waits| waits.now_or_never().is_none()));
        assert_eq!(shares.take(caller(1)).await.err(), Some(Full::Own), "its queue is full");
        let mut other = Box::pin(shares.take(caller(2)));
        assert!((&mut other).now_or_never().is_none());
        drop(at_work);
        // The one had its turn: the other is next.
        assert!((&mut queue[0]).now_or_never().is_none());
        let other = other.now_or_never().expect("its turn").expect("a place");
        drop(other);
        assert!(queue.remove(0).now_or_never().expect("its turn").is_ok());
        drop(queue);
        assert!(shares.take(caller(3)).now_or_never().expect("nobody waits any more").is_ok());
    }

    #[tokio::test]
    async fn who_has_its_share_does_not_keep_others_from_what_is_free() {
        let shares = Shares::new(Limits { places: 2, each: 1, queue: 100, queue_each: 50 });
        let _long = shares.take(caller(1)).await.expect("a place");
        let mut more: Vec<_> = (0..50).map(|_| Box::pin(shares.take(caller(1)))).collect();
        assert!(more.iter_mut().all(|waits| waits.now_or_never().is_none()));
        for number in 2..20 {
            assert!(shares.take(caller(number)).now_or_never().expect("at once").is_ok());
        }
    }

    proptest! {
        /// Whatever happens: never more than there are, never more than a caller's share, none lost, none forgotten.
        #[test]
        fn places_are_neither_lost_nor_made(steps in prop::collection::vec((0..4u8, 0..4u128, any::<usize>()), 0..200)) {
            let limits = Limits { places: 4, each: 2, queue: 6, queue_each: 3 };
            let shares = Shares::new(limits);
            let mut held: Vec<Share> = Vec::new();
            let mut waiting: Vec<futures_util::future::BoxFuture<'static, Result<Share, Full>>> = Vec::new();
            for (what, who, which) in steps {
                match what {
                    0 => held.extend(shares.try_take(caller(who)).ok()),
                    1 => {
                        let shares = shares.clone();
                        waiting.push(async move { shares.take(caller(who)).await }.boxed());
                    }
                    2 if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                    3 if !waiting.is_empty() => drop(waiting.swap_remove(which % waiting.len())),
                    _ => {}
                }
                let mut still = Vec::new();
                for mut waits in waiting {
                    match (&mut waits).now_or_never() {
                        Some(taken) => held.extend(taken.ok()),
                        None => still.push(waits),
                    }
                }
                waiting = still;
                prop_assert!(held.len() <= limits.places);
                for who in 0..4 {
                    let theirs = held.iter().filter(|share| share.caller == caller(who)).count();
                    prop_assert!(theirs <= limits.each);
                }
                prop_assert!(waiting.len() <= limits.queue);
                prop_assert_eq!(shares.state().taken, held.len());
                // Nobody waits for what is free and theirs.
                if held.len() < limits.places && !waiting.is_empty() {
                    let gone = |held: &Held| held.waiting.iter().all(oneshot::Sender::is_closed);
                    let blocked = shares.state().callers.values().all(|held| held.taken == limits.each || gone(held));
                    prop_assert!(blocked);
                }
            }
            drop(waiting);
            drop(held);
            prop_assert!(shares.state().callers.is_empty());
            prop_assert!(shares.state().turns.is_empty());
        }
    }
}
