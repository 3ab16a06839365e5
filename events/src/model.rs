//! The words in which a model is spoken of and to: providers, parameters, messages. Shared by the contexts that speak to
//! models; it has no events of its own.

mod limits;
mod parameters;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::refusal::Fault;

pub use limits::{Limits, reasons};
pub use parameters::Parameters;

/// The providers that a prompt may name. `echo` needs no key and no model: it answers with the rendered prompt.
pub const PROVIDERS: [&str; 7] = ["openai", "anthropic", "groq", "deepseek", "openrouter", "ollama", "echo"];

/// The most characters of a model's name.
pub const MODEL_CHARS: usize = 100;

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
    faults.extend(parameters.check(provider));
    faults
}
