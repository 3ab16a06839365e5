//! Who answers prompts: one trait, [`LlmProvider`], and who implements it.
//!
//! A provider answers one request once, piece by piece into a [`Draft`]. How long it may take in all, what a failure leads to
//! and what an answer costs is decided elsewhere.

mod address;
mod chat;
mod draft;
mod echo;
mod failure;
mod kind;
mod limits;
mod wait;
mod wire;

use std::{collections::HashMap, time::Duration};

use events::execution::{FailureClass, Request, ToolCall, Usage};
use futures_util::future::BoxFuture;
use rust_decimal::Decimal;

use crate::config;

pub use draft::{Draft, MOST, TooLarge};
pub use failure::Failure;

/// What a provider has told of what a call used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Tokens by kind, where it counted them.
    pub usage: Usage,
    /// What it bills for them, in USD, where it says that.
    pub cost: Option<Decimal>,
    /// How much has come beside the text, in bytes: what the model thought, and the tools that it calls.
    pub beside: usize,
    /// More of the answer has come since it counted the tokens of it.
    pub outdated: bool,
}

/// What a provider answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// The text as it came, but for U+0000, which no database keeps: it became U+FFFD.
    pub text: String,
    /// Tokens by kind, where the provider counted them.
    pub usage: Usage,
    /// What the provider bills, in USD, where it says that.
    pub cost: Option<Decimal>,
    /// Why it ended, in the provider's word.
    pub finish_reason: Option<String>,
    /// The provider's own id of its answer.
    pub response_id: Option<String>,
    /// What the model thought before it answered, as far as the provider shows that and it is kept.
    pub reasoning: Option<String>,
    /// The tools that the model wants to be called.
    pub tool_calls: Vec<ToolCall>,
}

/// What there is to say of an answer when its text is whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// Tokens by kind, where the provider counted them.
    pub usage: Usage,
    /// What the provider bills, in USD, where it says that.
    pub cost: Option<Decimal>,
    /// Why it ended, in the provider's word.
    pub finish_reason: Option<String>,
    /// The provider's own id of its answer.
    pub response_id: Option<String>,
    /// What the model thought before it answered, as far as the provider shows that and it is kept.
    pub reasoning: Option<String>,
    /// The tools that the model wants to be called.
    pub tool_calls: Vec<ToolCall>,
}

/// Someone who answers prompts.
pub trait LlmProvider: Send + Sync {
    /// Answers once, without retries; the text goes into `draft` as it comes. A future that is dropped ends the call: its
    /// connection is closed.
    fn answer<'a>(&'a self, request: &'a Request, draft: &'a Draft) -> BoxFuture<'a, Result<Ending, Failure>>;
}

/// Every provider that a prompt can name.
pub struct Providers {
    by_name: HashMap<&'static str, Box<dyn LlmProvider>>,
    limits: config::Limits,
}

impl Providers {
    /// The providers with these keys and addresses. One without its key is there all the same, and says so when asked.
    /// An address that cannot be is an error.
    pub fn new(config: &config::Providers) -> Result<Self, Error> {
        let mut by_name: HashMap<&'static str, Box<dyn LlmProvider>> = HashMap::new();
        for chat in chat::all(config)? {
            by_name.insert(chat.name(), Box::new(chat));
        }
        by_name.insert("echo", Box::new(echo::Echo));
        Ok(Self { by_name, limits: config.limits.clone() })
    }

    /// How long the call of `request` may take in all, where others may take `usual`.
    pub fn time(&self, request: &Request, usual: Duration) -> Duration {
        self.limits.total(request, usual)
    }

    /// Answers with the provider that the request names, whatever its model is called. `draft` has the text as it comes.
    pub async fn answer(&self, request: &Request, draft: &Draft) -> Result<Completion, Failure> {
        let Some(provider) = self.by_name.get(request.llm_provider.as_str()) else {
            let detail = format!("this worker knows no provider {}", request.llm_provider);
            return Err(Failure::new(FailureClass::Permanent, "unknown_provider", detail));
        };
        let Ending { usage, cost, finish_reason, response_id, reasoning, tool_calls } =
            provider.answer(request, draft).await?;
        Ok(Completion {
            text: draft.text(),
            usage,
            cost,
            finish_reason: finish_reason.map(|reason| failure::bounded(&reason)),
            response_id: response_id.map(|id| failure::bounded(&id)),
            reasoning,
            tool_calls,
        })
    }
}

/// The most tokens that an answer to `request` may have, as the provider is told; none where it is told nothing of it.
pub(crate) fn longest(request: &Request) -> Option<u64> {
    let kind = kind::KINDS.iter().find(|kind| kind.name == request.llm_provider)?;
    kind.wire.longest(request)
}

/// Providers cannot be called at all with what is configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name of a header is none.
    #[error("{variable} is not the name of a header")]
    Header {
        /// The variable that has it.
        variable: &'static str,
    },
    /// A base URL is not one.
    #[error("{variable} is not an http or https URL")]
    Address {
        /// The variable that has it.
        variable: &'static str,
    },
}
