//! How long one call of a provider may take, as far as a prompt says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{policy::MAX_DEADLINE_SECONDS, refusal::Fault};

/// The longest silence that a prompt may allow, in seconds.
pub const MAX_SILENCE_SECONDS: u32 = 3_600;

/// How long one call may take; what is none is as the worker has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// How long the first byte of the answer may take, in seconds, 1 to `MAX_SILENCE_SECONDS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_seconds: Option<u32>,
    /// How long nothing may come in the middle of the answer, in seconds, 1 to `MAX_SILENCE_SECONDS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u32>,
    /// How long the call may take in all, in seconds, 1 to [`MAX_DEADLINE_SECONDS`], and no longer than the deadline of the
    /// whole execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_seconds: Option<u32>,
}

impl Limits {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Vec<Fault> {
        let fields = [
            ("first_byte_seconds", self.first_byte_seconds, MAX_SILENCE_SECONDS),
            ("idle_seconds", self.idle_seconds, MAX_SILENCE_SECONDS),
            ("total_seconds", self.total_seconds, MAX_DEADLINE_SECONDS),
        ];
        let beyond = fields.into_iter().filter(|(_, said, most)| said.is_some_and(|said| !(1..=*most).contains(&said)));
        beyond.map(|(name, _, most)| Fault::new(place(name), format!("is not between 1 and {most}"))).collect()
    }

    /// What is wrong with them beside a deadline of the whole execution: a longer limit would never hold.
    pub fn check_deadline(&self, deadline_seconds: u32) -> Option<Fault> {
        let longer = self.total_seconds.is_some_and(|total| total > deadline_seconds);
        let detail = || format!("is longer than the policy's deadline_seconds, {deadline_seconds}: raise that, too");
        longer.then(|| Fault::new(place("total_seconds"), detail()))
    }
}

fn place(name: &str) -> String {
    format!("/parameters/limits/{name}")
}

/// Whether this model is known to think before it answers, often for minutes and without a sign of life. By the name alone, in
/// whatever case, and behind whatever vendor's name before a slash.
pub fn reasons(model: &str) -> bool {
    let model = model.to_ascii_lowercase();
    let name = model.rsplit('/').next().unwrap_or_default();
    // What is one of these has the name, or goes on behind it with something that no name goes on with.
    let begins = |family: &str| name.strip_prefix(family).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    // As a word anywhere in the name, as the distilled and the served ones have it.
    let has = |word: &str| name.split(|c: char| !c.is_alphanumeric()).any(|part| part == word);
    let chat = has("chat");
    (FAMILIES.iter().any(|family| begins(family)) && !chat) || WORDS.iter().any(|word| has(word))
}

/// Families of models that reason, but for those of them that are called `chat`.
const FAMILIES: [&str; 8] = ["o1", "o3", "o4", "gpt-5", "gpt-6", "gpt-oss", "qwq", "magistral"];
/// What is in the names of models that reason.
const WORDS: [&str; 7] = ["thinking", "reasoner", "reasoning", "think", "r1", "qwq", "magistral"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_reason_are_known_by_their_names() {
        for model in [
            "o1",
            "o1-pro",
            "o3",
            "o3-mini-2025-01-31",
            "o4-mini",
            "openai/o3",
            "gpt-5",
            "GPT-5-mini",
            "gpt-5.2",
            "openai/gpt-5:online",
            "gpt-oss:20b",
            "deepseek-reasoner",
            "deepseek-r1",
            "deepseek-r1:70b",
            "deepseek/deepseek-r1-0528:free",
            "deepseek-r1-distill-llama-70b",
            "qwen3-235b-a22b-thinking-2507",
            "kimi-k2-thinking",
            "qwq",
            "qwq:32b",
            "qwen/qwq-32b",
            "qwen-qwq-32b",
            "magistral-medium-latest",
            "magistral:24b",
            "grok-4-fast-reasoning",
            "phi-4-reasoning-plus",
        ] {
            assert!(reasons(model), "{model}");
        }
        for model in [
            "gpt-4o",
            "gpt-4o-mini",
            "o10",
            "gpt-50",
            "gpt-5-chat-latest",
            "deepseek-chat",
            "llama3.1",
            "claude-sonnet-4-5",
            "r10",
            "",
        ] {
            assert!(!reasons(model), "{model}");
        }
    }

    #[test]
    fn limits_are_bounded_and_a_call_is_no_longer_than_its_execution() {
        let limits = Limits { first_byte_seconds: Some(0), idle_seconds: Some(3_601), total_seconds: Some(86_401) };
        let pointers: Vec<_> = limits.check().into_iter().map(|fault| fault.pointer).collect();
        assert_eq!(pointers, ["first_byte_seconds", "idle_seconds", "total_seconds"].map(place));
        let limits = Limits { first_byte_seconds: Some(3_600), idle_seconds: Some(1), total_seconds: Some(900) };
        assert_eq!((limits.check(), limits.check_deadline(900)), (Vec::new(), None));
        let fault = limits.check_deadline(899).unwrap();
        assert_eq!(fault.pointer, "/parameters/limits/total_seconds");
    }
}
