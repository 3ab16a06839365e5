//! Chat models, through genai: the wire forms of `OpenAI` (chat completions, which groq, deepseek, openrouter and many
//! others speak too), Anthropic (messages) and Ollama.
//!
//! The form follows from the provider's name, never from the model's; genai's own reading of model names (`::`, and
//! efforts as `-high` at the end) is switched off, so that what is sent is what the log says. Texts are taken as they
//! came. Anthropic has no seed: it is not sent there.

use std::time::Duration;

use events::{
    execution::{FailureClass, Request, Usage},
    model::{Parameters, Role},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use genai::{
    Client, ModelIden, ServiceTarget,
    adapter::AdapterKind,
    chat::{ChatMessage, ChatOptions, ChatRequest, ChatResponse, ReasoningEffort, StopReason},
    resolver::{AuthData, Endpoint},
};
use serde_json::{Value, json};
use service::config::Secret;

use super::{
    Completion, Error, Failure, LlmProvider,
    address::{self, Form},
    failure::Who,
};
use crate::config;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// What tells one provider from another.
struct Kind {
    name: &'static str,
    adapter: AdapterKind,
    key_variable: Option<&'static str>,
    url_variable: &'static str,
    url: &'static str,
    form: Form,
}

static KINDS: [Kind; 6] = [
    Kind {
        name: "openai",
        adapter: AdapterKind::OpenAI,
        key_variable: Some("OPENAI_API_KEY"),
        url_variable: "OPENAI_BASE_URL",
        url: "https://api.openai.com/v1",
        form: Form::Default("/v1"),
    },
    Kind {
        name: "anthropic",
        adapter: AdapterKind::Anthropic,
        key_variable: Some("ANTHROPIC_API_KEY"),
        url_variable: "ANTHROPIC_BASE_URL",
        url: "https://api.anthropic.com",
        form: Form::Suffix("/v1"),
    },
    Kind {
        name: "groq",
        adapter: AdapterKind::Groq,
        key_variable: Some("GROQ_API_KEY"),
        url_variable: "GROQ_BASE_URL",
        url: "https://api.groq.com/openai/v1",
        form: Form::Default("/openai/v1"),
    },
    Kind {
        name: "deepseek",
        adapter: AdapterKind::DeepSeek,
        key_variable: Some("DEEPSEEK_API_KEY"),
        url_variable: "DEEPSEEK_BASE_URL",
        url: "https://api.deepseek.com/v1",
        form: Form::Default("/v1"),
    },
    Kind {
        name: "openrouter",
        adapter: AdapterKind::OpenRouter,
        key_variable: Some("OPENROUTER_API_KEY"),
        url_variable: "OPENROUTER_BASE_URL",
        url: "https://openrouter.ai/api/v1",
        form: Form::Default("/api/v1"),
    },
    Kind {
        name: "ollama",
        adapter: AdapterKind::Ollama,
        key_variable: None,
        url_variable: "OLLAMA_BASE_URL",
        url: "http://localhost:11434",
        form: Form::Root(&["/v1", "/api"]),
    },
];

/// One provider of chat models.
pub(super) struct Chat {
    kind: &'static Kind,
    base_url: Endpoint,
    key: Option<Secret>,
    /// None where it could not be made, as on a machine without root certificates: then nobody can be asked.
    client: Option<Client>,
}

/// All of them, with these keys and addresses.
pub(super) fn all(config: &config::Providers) -> Result<Vec<Chat>, Error> {
    let client = client().inspect_err(|error| tracing::error!(%error, "no provider but echo can be asked")).ok();
    KINDS
        .iter()
        .map(|kind| {
            let (key, url) = match kind.name {
                "openai" => (&config.openai_api_key, &config.openai_base_url),
                "anthropic" => (&config.anthropic_api_key, &config.anthropic_base_url),
                "groq" => (&config.groq_api_key, &config.groq_base_url),
                "deepseek" => (&config.deepseek_api_key, &config.deepseek_base_url),
                "openrouter" => (&config.openrouter_api_key, &config.openrouter_base_url),
                _ => (&None, &config.ollama_base_url),
            };
            let url = url.as_deref().filter(|url| !url.trim().is_empty()).unwrap_or(kind.url);
            let base_url = address::base(url, kind.form).ok_or(Error::Address { variable: kind.url_variable })?;
            let key = key.as_ref().map(|key| key.expose().trim().to_owned()).filter(|key| !key.is_empty());
            let client = client.clone();
            Ok(Chat { kind, base_url: Endpoint::from_owned(base_url), key: key.map(Secret::from), client })
        })
        .collect()
}

fn client() -> Result<Client, Box<dyn std::error::Error>> {
    // A redirect would take the key in its header to somebody else.
    let http = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    Ok(Client::builder().with_reqwest(http).build()?)
}

impl Chat {
    pub(super) fn name(&self) -> &'static str {
        self.kind.name
    }

    async fn ask(&self, request: &Request) -> Result<Completion, Failure> {
        let Kind { name: provider, adapter, key_variable, url_variable, .. } = *self.kind;
        let key = self.key.as_ref().map_or("", Secret::expose);
        if let Some(variable) = key_variable
            && key.is_empty()
        {
            return Err(Failure::unconfigured(variable));
        }
        let Some(client) = &self.client else {
            let detail = format!("{provider} cannot be asked: this machine has no usable root certificates");
            return Err(Failure::new(FailureClass::Misconfigured, "provider_misconfigured", detail));
        };
        let (model, extra_body) = model_of(adapter, &request.model);
        let target = ServiceTarget {
            endpoint: self.base_url.clone(),
            auth: AuthData::from_single(key),
            model: ModelIden::new(adapter, model),
        };
        let options = options(&request.parameters, extra_body);
        let who = Who { provider, key, key_variable, url_variable };
        match client.exec_chat(target, conversation(request), Some(&options)).await {
            Ok(response) => completion(provider, &response),
            Err(error) => Err(Failure::of(&error, &who)),
        }
    }
}

impl LlmProvider for Chat {
    fn answer<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Completion, Failure>> {
        self.ask(request).boxed()
    }
}

/// The name to give to genai so that it finds nothing to interpret, and the body that puts the whole name back.
fn model_of(adapter: AdapterKind, model: &str) -> (String, Option<Value>) {
    if adapter == AdapterKind::Ollama {
        // Here it interprets only `::`, once.
        return (if model.contains("::") { format!("::{model}") } else { model.to_owned() }, None);
    }
    let mut bare = model;
    while let (Some(_), shorter) = ReasoningEffort::from_model_name(bare) {
        bare = shorter;
    }
    (bare.to_owned(), Some(json!({ "model": model })))
}

/// The messages are all that is sent: the system's are among them.
fn conversation(request: &Request) -> ChatRequest {
    let messages = request.messages.iter().map(|message| match message.role {
        Role::System => ChatMessage::system(message.content.as_str()),
        Role::User => ChatMessage::user(message.content.as_str()),
        Role::Assistant => ChatMessage::assistant(message.content.as_str()),
    });
    ChatRequest::from_messages(messages.collect())
}

fn options(parameters: &Parameters, extra_body: Option<Value>) -> ChatOptions {
    ChatOptions {
        temperature: parameters.temperature,
        max_tokens: parameters.max_tokens,
        top_p: parameters.top_p,
        seed: parameters.seed,
        stop_sequences: parameters.stop.clone(),
        capture_raw_body: Some(true),
        extra_body,
        ..ChatOptions::default()
    }
}

fn completion(provider: &str, response: &ChatResponse) -> Result<Completion, Failure> {
    let raw = response.captured_raw_body.as_ref().unwrap_or(&Value::Null);
    let usage = usage(response, raw);
    if let Some(refusal) = raw.pointer("/choices/0/message/refusal").and_then(Value::as_str) {
        return Err(Failure::refused(provider, refusal, usage));
    }
    if let Some(StopReason::ContentFilter(reason)) = &response.stop_reason {
        return Err(Failure::refused(provider, reason, usage));
    }
    let finish_reason = response.stop_reason.as_ref().map(|reason| reason.raw().to_owned());
    let response_id = raw.get("id").and_then(Value::as_str).map(str::to_owned);
    // genai trims the text of this form.
    let text = match raw.pointer("/choices/0/message/content").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => response.content.texts().concat(),
    };
    if text.is_empty() && finish_reason.is_none() {
        return Err(Failure {
            usage: Box::new(usage),
            ..Failure::malformed(provider, "without a text and without a reason for it")
        });
    }
    Ok(Completion { text, usage, finish_reason, response_id })
}

fn usage(response: &ChatResponse, raw: &Value) -> Usage {
    let count = |tokens: Option<i32>| tokens.and_then(|tokens| u64::try_from(tokens).ok());
    let usage = &response.usage;
    let cached = usage.prompt_tokens_details.as_ref().and_then(|details| count(details.cached_tokens));
    Usage {
        input_tokens: count(usage.prompt_tokens),
        output_tokens: count(usage.completion_tokens),
        // DeepSeek's own name for it.
        cached_input_tokens: cached.or_else(|| raw.pointer("/usage/prompt_cache_hit_tokens")?.as_u64()),
        reasoning_tokens: usage.completion_tokens_details.as_ref().and_then(|d| count(d.reasoning_tokens)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genai_finds_nothing_to_interpret_in_a_models_name() {
        for (model, bare) in [("gpt-5-mini", "gpt-5-mini"), ("glm-high", "glm"), ("a-low-max", "a"), ("x::y", "x::y")] {
            let (given, body) = model_of(AdapterKind::OpenAI, model);
            assert_eq!(given, bare);
            assert_eq!(body, Some(json!({ "model": model })));
        }
        assert_eq!(model_of(AdapterKind::Ollama, "x::y-high"), ("::x::y-high".to_owned(), None));
    }

    #[test]
    fn every_provider_that_a_prompt_may_name_is_there() {
        let mut here: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        here.push("echo");
        assert_eq!(here, events::model::PROVIDERS);
    }
}
