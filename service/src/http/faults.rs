//! Faults of a request body, gathered so that a client hears of all at once.

use std::ops::RangeInclusive;

use event_store::refusal::Fault;

use super::Problem;

/// As many as are told; a body of a megabyte can have a hundred thousand.
const MOST: usize = 64;

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more, at a JSON pointer. Never with the value: bodies carry passwords.
    pub fn push(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        let fault = Fault::new(pointer, detail);
        if self.0.len() < MOST && !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }

    /// One more unless `holds`.
    pub fn check(&mut self, holds: bool, pointer: impl Into<String>, detail: impl Into<String>) {
        if !holds {
            self.push(pointer, detail);
        }
    }

    /// A text that says nothing is at fault.
    pub fn not_blank(&mut self, pointer: impl Into<String>, text: &str) {
        self.check(!text.trim().is_empty(), pointer, "must not be blank");
    }

    /// A text whose length in UTF-8 bytes is outside `range` is at fault.
    pub fn bytes(&mut self, pointer: impl Into<String>, text: &str, range: RangeInclusive<usize>) {
        let said = format!("must have {} to {} bytes", range.start(), range.end());
        self.check(range.contains(&text.len()), pointer, said);
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// 422 with all of them, if there is one.
    pub fn into_result(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::invalid(self.0)) }
    }
}
