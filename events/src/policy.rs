//! How hard an execution is tried: what a prompt says of it, and what a request may change. Shared by the contexts that speak
//! of it, as [`crate::model`] is; it has no events of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::refusal::Fault;

/// The most attempts that a policy may allow.
pub const MAX_ATTEMPTS: u32 = 20;
/// The longest deadline, in seconds: a day.
pub const MAX_DEADLINE_SECONDS: u32 = 86_400;

const ATTEMPTS: u32 = 5;
const DEADLINE_SECONDS: u32 = 600;

/// What becomes of an execution whose worker was lost after the provider had been called: nobody knows whether that was
/// billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// It is called once more; after a second time it fails.
    #[default]
    RetryOnce,
    /// It waits for a person.
    Hold,
    /// It fails.
    Fail,
}

impl OnUnknown {
    /// Every policy, by the name that it has outside.
    pub const NAMES: [(&'static str, Self); 3] =
        [("retry_once", Self::RetryOnce), ("hold", Self::Hold), ("fail", Self::Fail)];

    /// The policy of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, policy)| policy)
    }

    /// Its name as the outside sees it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RetryOnce => "retry_once",
            Self::Hold => "hold",
            Self::Fail => "fail",
        }
    }
}

/// How hard an execution is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// The most attempts, 1 to [`MAX_ATTEMPTS`]; 5 if nothing was said.
    #[serde(default = "attempts")]
    pub max_attempts: u32,
    /// How long all of it may take, waiting included, in seconds, 1 to [`MAX_DEADLINE_SECONDS`]; 600 if nothing was said.
    #[serde(default = "deadline_seconds")]
    pub deadline_seconds: u32,
    /// What to do when nobody knows whether a call was billed.
    #[serde(default)]
    pub outcome_unknown: OnUnknown,
}

const fn attempts() -> u32 {
    ATTEMPTS
}

const fn deadline_seconds() -> u32 {
    DEADLINE_SECONDS
}

impl Default for Policy {
    fn default() -> Self {
        Self { max_attempts: ATTEMPTS, deadline_seconds: DEADLINE_SECONDS, outcome_unknown: OnUnknown::default() }
    }
}

impl Policy {
    /// Whether it says nothing but what holds anyway.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// All that is wrong with it, as a field of this name.
    pub fn check(&self, pointer: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !(1..=MAX_ATTEMPTS).contains(&self.max_attempts) {
            faults.push(Fault::new(format!("{pointer}/max_attempts"), format!("is not between 1 and {MAX_ATTEMPTS}")));
        }
        faults.extend(check_deadline(self.deadline_seconds, &format!("{pointer}/deadline_seconds")));
        faults
    }
}

/// What is wrong with a deadline, as a field of this name.
pub fn check_deadline(seconds: u32, pointer: &str) -> Option<Fault> {
    let why = || format!("is not between 1 and {MAX_DEADLINE_SECONDS}");
    (!(1..=MAX_DEADLINE_SECONDS).contains(&seconds)).then(|| Fault::new(pointer, why()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default_and_what_cannot_be_is_named() {
        assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
        let odd = Policy { max_attempts: 0, deadline_seconds: 86_401, outcome_unknown: OnUnknown::Hold };
        let pointers: Vec<_> = odd.check("/policy").into_iter().map(|fault| fault.pointer).collect();
        assert_eq!(pointers, ["/policy/max_attempts", "/policy/deadline_seconds"]);
        assert!(Policy { max_attempts: 20, deadline_seconds: 86_400, ..odd }.check("").is_empty());
        for (name, policy) in OnUnknown::NAMES {
            assert_eq!(serde_json::to_value(policy).unwrap(), name);
            assert_eq!(OnUnknown::named(name), Some(policy));
            assert_eq!(policy.name(), name);
        }
    }
}
