//! What one rendering may cost: a purse out of which everything pays that goes over what it is given, by its size, and a
//! deadline in time of the processor, so that a busy machine refuses nothing that an idle one does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use minijinja::{
    Error, ErrorKind,
    value::{Value, ValueKind},
};
use rustix::time::{ClockId, clock_gettime};

/// How many bytes all filters, tests and functions of one rendering may go over, together.
const PURSE: u64 = 64_000_000;
/// What a value costs besides its text, and what each letter of a text costs that is taken apart into values.
pub(super) const VALUE: u64 = 24;
/// How long one rendering may have a processor. Nothing that the purse and the steps allow takes as long on a usual machine.
const TIME: Duration = Duration::from_secs(1);
/// How many values are written between two looks at the clock.
const SELDOM: u64 = 16;

/// The meter of one rendering; clones are the same. It belongs to the thread that made it.
#[derive(Debug, Clone)]
pub(super) struct Meter(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    left: AtomicU64,
    written: AtomicU64,
    until: Duration,
}

impl Meter {
    /// A full purse, and all of the time.
    pub(super) fn new() -> Self {
        Self(Arc::new(Counts { left: AtomicU64::new(PURSE), written: AtomicU64::new(0), until: worked() + TIME }))
    }

    /// Pays `cost`, in bytes.
    pub(super) fn pay(&self, cost: u64) -> Result<(), Error> {
        self.in_time()?;
        let left = self.0.left.load(Ordering::Relaxed).checked_sub(cost).ok_or_else(empty)?;
        self.0.left.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// What it costs to go over `value`, when each letter of it, if it is a text, costs `letter`: no more is gone over than can
    /// be paid.
    pub(super) fn weigh(&self, value: &Value, letter: u64) -> Result<u64, Error> {
        let purse = self.0.left.load(Ordering::Relaxed);
        Ok(purse - left_of(purse, value, letter)?)
    }

    /// A value is written.
    pub(super) fn writes(&self) -> Result<(), Error> {
        if self.0.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(SELDOM) { self.in_time() } else { Ok(()) }
    }

    fn in_time(&self) -> Result<(), Error> {
        if worked() < self.0.until { Ok(()) } else { Err(Error::new(ErrorKind::OutOfFuel, "time")) }
    }
}

/// What is left of `purse` after `value` was gone over.
fn left_of(purse: u64, value: &Value, letter: u64) -> Result<u64, Error> {
    if let Some(text) = value.as_str() {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        return purse.checked_sub(bytes.saturating_mul(letter)).ok_or_else(empty);
    }
    let mut left = purse.checked_sub(VALUE).ok_or_else(empty)?;
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        for item in value.try_iter()? {
            left = left_of(left, &item, 1)?;
            if value.kind() == ValueKind::Map {
                left = left_of(left, &value.get_item(&item)?, 1)?;
            }
        }
    }
    Ok(left)
}

fn empty() -> Error {
    Error::new(ErrorKind::OutOfFuel, "filters")
}

/// How long this thread has had a processor.
pub(super) fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_more_than_is_left_is_refused_and_so_is_all_when_the_time_is_over() {
        let meter = Meter::new();
        assert!(meter.pay(PURSE - 10).is_ok());
        assert!(meter.pay(11).is_err() && meter.pay(10).is_ok() && meter.pay(1).is_err());
        assert!(meter.weigh(&Value::from("x"), 1).is_err(), "there is nothing to pay with");
        let late = Meter(Arc::new(Counts { left: AtomicU64::new(PURSE), written: AtomicU64::new(0), until: worked() }));
        assert!(late.pay(0).is_err() && late.writes().is_err());
    }
}
