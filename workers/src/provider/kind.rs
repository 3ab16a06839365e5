//! What tells one provider of chat models from another. The form follows from the provider's name, never from the model's.

use super::{address::Form, wire::Wire};

/// A kind of provider.
pub(super) struct Kind {
    pub name: &'static str,
    pub wire: Wire,
    pub key_variable: Option<&'static str>,
    pub url_variable: &'static str,
    pub url: &'static str,
    pub form: Form,
}

pub(super) static KINDS: [Kind; 6] = [
    Kind {
        name: "openai",
        wire: Wire::OpenAi,
        key_variable: Some("OPENAI_API_KEY"),
        url_variable: "OPENAI_BASE_URL",
        url: "https://api.openai.com/v1",
        form: Form::Default("/v1"),
    },
    Kind {
        name: "anthropic",
        wire: Wire::Anthropic,
        key_variable: Some("ANTHROPIC_API_KEY"),
        url_variable: "ANTHROPIC_BASE_URL",
        url: "https://api.anthropic.com",
        form: Form::Suffix("/v1"),
    },
    Kind {
        name: "groq",
        wire: Wire::OpenAi,
        key_variable: Some("GROQ_API_KEY"),
        url_variable: "GROQ_BASE_URL",
        url: "https://api.groq.com/openai/v1",
        form: Form::Default("/openai/v1"),
    },
    Kind {
        name: "deepseek",
        wire: Wire::OpenAi,
        key_variable: Some("DEEPSEEK_API_KEY"),
        url_variable: "DEEPSEEK_BASE_URL",
        url: "https://api.deepseek.com/v1",
        form: Form::Default("/v1"),
    },
    Kind {
        name: "openrouter",
        wire: Wire::OpenAi,
        key_variable: Some("OPENROUTER_API_KEY"),
        url_variable: "OPENROUTER_BASE_URL",
        url: "https://openrouter.ai/api/v1",
        form: Form::Default("/api/v1"),
    },
    Kind {
        name: "ollama",
        wire: Wire::Ollama,
        key_variable: None,
        url_variable: "OLLAMA_BASE_URL",
        url: "http://localhost:11434",
        form: Form::Root(&["/v1", "/api"]),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_that_a_prompt_may_name_is_there() {
        let mut here: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        here.push("echo");
        assert_eq!(here, events::model::PROVIDERS);
    }
}
