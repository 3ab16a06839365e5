//! The words in which a model is spoken of and to: providers, parameters, messages. Shared by the contexts that speak to
//! models; it has no events of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::refusal::Fault;

/// The providers that a prompt may name. `echo` needs no key and no model: it answers with the rendered prompt.
pub const PROVIDERS: [&str; 7] = ["openai", "anthropic", "groq", "deepseek", "openrouter", "ollama", "echo"];

/// The most characters of a model's name.
pub const MODEL_CHARS: usize = 100;

/// How the model is to be called; what is none is left to the provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parameters {
    /// A message before the prompt, as the provider's system role. Not a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The most tokens of an answer, 1 to 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// For providers that can repeat an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts at which an answer stops, at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One message of those sent to the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What it says.
    pub content: String,
}

/// All that is wrong with a choice of model.
pub fn check(provider: &str, model: &str, parameters: &Parameters) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !PROVIDERS.contains(&provider) {
        faults.push(Fault::new("/llm_provider", format!("is not one of {}", PROVIDERS.join(", "))));
    }
    let printable = model.chars().all(|c| !c.is_control()) && !model.trim().is_empty();
    let length = model.chars().count();
    // echo takes any: there is no model.
    if provider != "echo" && (!printable || length > MODEL_CHARS) {
        faults.push(Fault::new("/model", format!("is not 1 to {MODEL_CHARS} printable characters")));
    }
    if parameters.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
        faults.push(Fault::new("/parameters/temperature", "is not between 0 and 2"));
    }
    if parameters.top_p.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
        faults.push(Fault::new("/parameters/top_p", "is not between 0 and 1"));
    }
    if parameters.max_tokens.is_some_and(|n| !(1..=1_000_000).contains(&n)) {
        faults.push(Fault::new("/parameters/max_tokens", "is not between 1 and 1000000"));
    }
    if parameters.stop.len() > 4 {
        faults.push(Fault::new("/parameters/stop", "has more than 4 texts"));
    }
    faults
}
