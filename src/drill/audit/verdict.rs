//! What the auditor says.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many breaches of one invariant are told; of the rest only their number.
const TOLD: usize = 10;
/// How much of one breach is told, in characters.
const LENGTH: usize = 600;

/// What was found about one invariant.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// `I1` to `I12`.
    pub name: &'static str,
    /// What is promised.
    pub promise: &'static str,
    /// How many things were held against it. None at all is no proof: it counts as a breach.
    pub checked: u64,
    /// How many breaches there are.
    pub breached: u64,
    /// The first of them, in words.
    pub breaches: Vec<String>,
    /// Figures beside it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<&'static str, u64>,
    /// No waiting could mend it.
    #[serde(skip)]
    pub is_final: bool,
}

impl Finding {
    /// One about which nothing is known yet.
    pub fn new(name: &'static str, promise: &'static str) -> Self {
        Self { name, promise, checked: 0, breached: 0, breaches: Vec::new(), figures: BTreeMap::new(), is_final: false }
    }

    /// Whether the promise was kept, and put to the test at all.
    pub fn holds(&self) -> bool {
        self.checked > 0 && self.breached == 0
    }

    /// Tells of a breach that may pass.
    pub fn breach(&mut self, what: impl Into<String>) {
        self.breached += 1;
        if self.breaches.len() < TOLD {
            let what: String = what.into();
            self.breaches.push(what.chars().take(LENGTH).collect());
        }
    }

    /// Tells of a breach that nothing can mend.
    pub fn lasting(&mut self, what: impl Into<String>) {
        self.is_final = true;
        self.breach(what);
    }

    /// Tells of `what` as a breach unless `holds`, and counts it as checked in any case.
    pub fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.breach(what());
        }
    }

    /// Counts further things as checked.
    pub fn seen(&mut self, count: usize) {
        self.checked += count as u64;
    }

    /// Puts a figure beside it.
    pub fn figure(&mut self, name: &'static str, value: u64) {
        self.figures.insert(name, value);
    }

    /// Says so where there was nothing to check.
    pub(super) fn closed(mut self) -> Self {
        if self.checked == 0 {
            self.breach("nothing was there to be checked, so nothing is proved");
        }
        self
    }
}

/// All findings, in the order of the invariants.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Whether every invariant holds.
    pub holds: bool,
    /// One finding for each invariant.
    pub invariants: Vec<Finding>,
    /// What there was: events by kind, executions by status, commands by answer.
    pub counts: BTreeMap<String, u64>,
}

impl Verdict {
    /// The first invariant that does not hold.
    pub fn first_breach(&self) -> Option<&Finding> {
        self.invariants.iter().find(|finding| !finding.holds())
    }
}
