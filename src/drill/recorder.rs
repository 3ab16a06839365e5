//! Where everybody who takes part writes down what they saw.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::record::{Outage, Part, Record};

/// A record that many write to.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Record>);

impl Recorder {
    /// The record, for a moment: never across an await.
    pub fn note(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that something was down from then until now.
    pub fn outage(&self, part: Part, fault: &str, process: Option<&str>, is_silent: bool, from: Instant) {
        let (fault, process) = (fault.to_owned(), process.map(str::to_owned));
        self.note().outages.push(Outage { part, fault, process, silent: is_silent, from, to: Instant::now() });
    }

    /// All of it; what is written later starts anew.
    pub fn take(&self) -> Record {
        std::mem::take(&mut *self.note())
    }
}
