//! What a drill has shown, as a table for people and as one JSON object for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::audit::Verdict;
use super::course::Course;
use super::record::Resident;
use super::schedule::Fault;

/// All of it.
#[derive(Debug)]
pub struct Report {
    /// What chance came from.
    pub seed: u64,
    /// What was crashed.
    pub course: Course,
    /// How long it was crashed for.
    pub minutes: f64,
    /// The bug that was switched on.
    pub plant: Option<String>,
    /// What the auditor says.
    pub verdict: Verdict,
    /// How often each fault was done.
    pub faults: BTreeMap<Fault, u64>,
    /// How often it was planned.
    pub planned: BTreeMap<Fault, usize>,
    /// What could not be done, and why.
    pub failed: Vec<String>,
    /// How often the provider did what.
    pub provider: Vec<(&'static str, u64)>,
    /// The memory of each process.
    pub resident: BTreeMap<String, Resident>,
    /// How often the ordered subscriber had to ask anew, because the next message was missing.
    pub holes: u64,
    /// The processes that did not end in order when they were told to, in the end.
    pub undrained: Vec<String>,
    /// How long it took in all, from the first fault on.
    pub seconds: f64,
}

impl Report {
    /// Whether every promise was kept, every kind of fault was done, and everything ended in order.
    pub fn holds(&self) -> bool {
        self.verdict.holds && self.undone().is_empty() && self.undrained.is_empty()
    }

    /// What repeats it.
    pub fn arguments(&self) -> String {
        let mut text = format!("--seed {} --minutes {}", self.seed, self.minutes);
        // Writing to a string does not fail.
        if self.course != Course::default() {
            let _ = write!(text, " --course {}", self.course.name());
        }
        if let Some(plant) = &self.plant {
            let _ = write!(text, " --plant {plant}");
        }
        text
    }

    /// The kinds that were planned, and not done even once.
    fn undone(&self) -> Vec<&'static str> {
        self.planned.keys().filter(|fault| !self.faults.contains_key(fault)).map(|fault| fault.name()).collect()
    }

    /// As a table.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(String::new());
        for (fault, count) in &self.faults {
            line(format!("{count:>8}  {}", fault.name()));
        }
        for (name, count) in &self.provider {
            line(format!("{count:>8}  provider calls: {name}"));
        }
        line(format!(
            "{:>8}  times that a subscriber was given a later message than the next, and asked anew",
            self.holes
        ));
        for (name, count) in &self.verdict.counts {
            line(format!("{count:>8}  {name}"));
        }
        for failed in &self.failed {
            line(format!("          could not be done or undone: {failed}"));
        }
        for undone in self.undone() {
            line(format!("          never done: {undone}"));
        }
        for undrained in &self.undrained {
            line(format!("          did not end in order: {undrained}"));
        }
        for (name, Resident { most, last, .. }) in &self.resident {
            line(format!("{:>8}  MiB at most, {} MiB in the end: {name}", most >> 20, last >> 20));
        }
        line(String::new());
        for finding in &self.verdict.invariants {
            let verdict = if finding.holds() { "holds" } else { "BROKEN" };
            line(format!("{:<4}{verdict:<8}{:>8} checked  {}", finding.name, finding.checked, finding.promise));
            for (name, figure) in &finding.figures {
                line(format!("            {figure:>8} {name}"));
            }
            for breach in &finding.breaches {
                line(format!("            ! {breach}"));
            }
            let told = u64::try_from(finding.breaches.len()).unwrap_or(u64::MAX);
            if finding.breached > told {
                line(format!("            ! and {} more", finding.breached - told));
            }
        }
        let verdict = match self.verdict.first_breach() {
            None if self.holds() => "every promise was kept".to_owned(),
            None if self.undone().is_empty() => "not every process ended in order".to_owned(),
            None => "not every fault was done".to_owned(),
            Some(finding) => format!("{} is broken", finding.name),
        };
        line(format!("\n{verdict}, seed {}, {:.0} s", self.seed, self.seconds));
        text
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let named: BTreeMap<&str, u64> = self.faults.iter().map(|(fault, count)| (fault.name(), *count)).collect();
        let provider: BTreeMap<&str, u64> = self.provider.iter().copied().collect();
        let mib = |resident: &Resident| json!({ "most": resident.most >> 20, "last": resident.last >> 20 });
        let resident: BTreeMap<&str, Value> =
            self.resident.iter().map(|(name, resident)| (name.as_str(), mib(resident))).collect();
        json!({
            "holds": self.holds(),
            "seed": self.seed,
            "course": self.course.name(),
            "minutes": self.minutes,
            "plant": self.plant,
            "first_breach": self.verdict.first_breach().map(|finding| finding.name),
            "faults": named,
            "faults_failed": self.failed,
            "faults_never_done": self.undone(),
            "holes": self.holes,
            "undrained": self.undrained,
            "resident_mib": resident,
            "provider": provider,
            "counts": self.verdict.counts,
            "invariants": self.verdict.invariants,
            "seconds": self.seconds,
        })
    }
}
