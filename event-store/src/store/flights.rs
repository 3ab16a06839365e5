//! How many groups of a writer are under way, and whether another one is worth it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::Notify;

/// So many commands are worth a transaction of their own while another lane's is under way.
const MANY: usize = 64;
/// After another process has appended it is taken to go on with that for so many groups.
const COMPANY: usize = 64;
/// How long a group waits for another to end: many times a commit, and little beside the patience of a caller. A lane whose
/// connection hangs must not hold up the others.
pub(super) const HOLD: Duration = Duration::from_millis(20);

/// The lanes that have a group under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    count: AtomicUsize,
    landed: Notify,
    /// For so many groups more it is taken that other processes append as well.
    company: AtomicUsize,
}

impl Flights {
    /// Whether a group of so many commands goes now. While another is under way, few wait for its end, and all do where other
    /// processes append: they would only wait for the ledger instead, in a group that nobody can join any more.
    pub(super) fn may_go(&self, commands: usize) -> bool {
        self.count.load(Ordering::Relaxed) == 0 || (commands >= MANY && self.company.load(Ordering::Relaxed) == 0)
    }

    /// A group goes.
    pub(super) fn begin(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// A group has been answered, whatever became of it.
    pub(super) fn end(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.landed.notify_one();
    }

    /// Waits until a group has ended.
    pub(super) async fn landed(&self) {
        self.landed.notified().await;
    }

    /// A group of ours is in the log, and whether `others` have appended since the one before.
    pub(super) fn saw(&self, others: bool) {
        let company = self.company.load(Ordering::Relaxed);
        self.company.store(if others { COMPANY } else { company.saturating_sub(1) }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_group_goes_when_it_is_large_and_nobody_else_appends() {
        let flights = Flights::default();
        assert!(flights.may_go(1));
        flights.begin();
        assert!(!flights.may_go(MANY - 1));
        assert!(flights.may_go(MANY));
        flights.saw(true);
        assert!(!flights.may_go(MANY));
        for _ in 0..COMPANY {
            assert!(!flights.may_go(MANY));
            flights.saw(false);
        }
        assert!(flights.may_go(MANY));
        flights.end();
        assert!(flights.may_go(1));
    }
}
