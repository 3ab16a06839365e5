//! Chat models over HTTP, asked for streams: one call, within its limits. The wire forms are in [`super::wire`].

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use events::execution::{FailureClass, Request};
use futures_util::{FutureExt as _, future::BoxFuture};
use reqwest::{Client, RequestBuilder, Response, header::HeaderName};
use service::config::Secret;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Draft, Ending, Error, Failure, LlmProvider, Told, address,
    failure::{self, Who},
    kind::{KINDS, Kind},
    wire::{Habits, Reading, Tally, Wire, Wrong},
};
use crate::config::{self, Limits};

/// The most bytes of an error's body that are read.
const MAX_ERROR: usize = 64 << 10;
/// How long the end of the connection may come after the end of the answer, so that the connection can be used again.
const FAREWELL: Duration = Duration::from_millis(50);

/// How long more may come of an answer that has said why it ended: its usage, its end marker.
const REST: Duration = Duration::from_secs(5);
/// The most models whose habits are remembered.
const MODELS: usize = 1_000;

/// One provider of chat models.
pub(super) struct Chat {
    kind: &'static Kind,
    /// The header that has the key by itself, in place of the form's own.
    key_header: Option<HeaderName>,
    /// What its models were found not to take, by their names.
    habits: Mutex<HashMap<String, Habits>>,
    url: String,
    key: Option<Secret>,
    limits: Limits,
    /// None where it could not be made, as on a machine without root certificates: then nobody can be asked.
    client: Option<Client>,
}

/// All of them, with these keys and addresses.
pub(super) fn all(config: &config::Providers) -> Result<Vec<Chat>, Error> {
    let client = client(config.limits.connect_timeout);
    let client = client.inspect_err(|error| tracing::error!(%error, "no provider but echo can be asked")).ok();
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
            let url = address::of(url, kind.form, kind.wire.path());
            let url = url.ok_or(Error::Address { variable: kind.url_variable })?;
            let key_header = match config.openai_key_header.as_deref().map(str::trim) {
                Some(name) if kind.name == "openai" && !name.is_empty() => {
                    let own = name.eq_ignore_ascii_case("authorization");
                    let name = name.parse().map_err(|_| Error::Header { variable: "OPENAI_KEY_HEADER" })?;
                    (!own).then_some(name)
                }
                _ if kind.wire == Wire::OpenAi && address::is_azure(&url) => Some(HeaderName::from_static("api-key")),
                _ => None,
            };
            let key = key.as_ref().map(|key| key.expose().trim().to_owned()).filter(|key| !key.is_empty());
            Ok(Chat {
                kind,
                key_header,
                habits: Mutex::default(),
                url,
                key: key.map(Secret::from),
                limits: config.limits.clone(),
                client: client.clone(),
            })
        })
        .collect()
}

fn client(connect: Duration) -> Result<Client, reqwest::Error> {
    // A redirect would take the key in its header to somebody else.
    let client = Client::builder().connect_timeout(connect).tcp_nodelay(true);
    client.redirect(reqwest::redirect::Policy::none()).build()
}

impl LlmProvider for Chat {
    fn answer<'a>(&'a self, request: &'a Request, draft: &'a Draft) -> BoxFuture<'a, Result<Ending, Failure>> {
        self.ask(request, draft).boxed()
    }
}

impl Chat {
    pub(super) fn name(&self) -> &'static str {
        self.kind.name
    }

    /// Asks as the model is known to want it, and again where the server says that it does not know a name that was sent: each
    /// once, and then that is known.
    async fn ask(&self, request: &Request, draft: &Draft) -> Result<Ending, Failure> {
        let mut habits = self.known(&request.model);
        loop {
            let failure = match self.call(request, habits, draft).await {
                Err(failure) if draft.is_empty() => failure,
                ended => return ended,
            };
            let Some(learned) = habits.learn(self.kind.wire, request, &failure.detail) else { return Err(failure) };
            tracing::info!(
                provider = self.kind.name,
                model = request.model,
                detail = failure.detail,
                "asked otherwise"
            );
            habits = learned;
            self.remember(&request.model, habits);
        }
    }

    fn known(&self, model: &str) -> Habits {
        let habits = self.habits.lock().unwrap_or_else(PoisonError::into_inner);
        habits.get(model).copied().unwrap_or_default()
    }

    fn remember(&self, model: &str, learned: Habits) {
        let mut habits = self.habits.lock().unwrap_or_else(PoisonError::into_inner);
        if habits.len() >= MODELS {
            habits.clear();
        }
        habits.insert(model.to_owned(), learned);
    }

    async fn call(&self, request: &Request, habits: Habits, draft: &Draft) -> Result<Ending, Failure> {
        let Kind { name: provider, wire, key_variable, url_variable, .. } = *self.kind;
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
        let who = Who { provider, key, key_variable, url_variable };
        let limits = self.limits.of(request);
        let first = Instant::now() + limits.first_byte_timeout;
        let call = match &self.key_header {
            Some(header) => client.post(&self.url).header(header, key),
            None => credentials(client.post(&self.url), wire, key),
        };
        let asked = call.json(&wire.question(request, habits)).send();
        let response = timeout_at(first, asked).await.map_err(|_| self.silent(&limits))?;
        let response = response.map_err(|error| Failure::of(&error, &who))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let body = self.refusal(response).await;
            return Err(Failure::of_status(status, &body, &headers, &who));
        }
        self.read(response, &who, first, &limits, draft).await.map_err(|failure| Failure {
            provider_status: Some(status.as_u16()),
            request_id: failure::request_id(&headers),
            ..failure
        })
    }

    /// Reads an answer as it comes. Holds no more of it than a line, beside the text.
    async fn read(
        &self,
        mut response: Response,
        who: &Who<'_>,
        first: Instant,
        limits: &Limits,
        draft: &Draft,
    ) -> Result<Ending, Failure> {
        let mut reading = Reading::new(self.kind.wire, draft);
        let mut wait = timeout_at(first, response.chunk()).await.map_err(|_| self.silent(limits));
        let broken = loop {
            let piece = match wait {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => break None,
                Ok(Err(error)) => break Some(Failure::of(&error, who)),
                Err(silence) => break Some(silence),
            };
            if let Err(wrong) = reading.push(&piece) {
                return Err(failed(wrong, &reading, who));
            }
            if reading.is_over() {
                let _ = timeout(FAREWELL, response.chunk()).await;
                break None;
            }
            let idle = if reading.has_reason() { limits.idle_timeout.min(REST) } else { limits.idle_timeout };
            wait = timeout(idle, response.chunk()).await.map_err(|_| Failure::silent(who.provider, "more", idle));
        };
        match (reading.end(), broken) {
            // What said why it ended is whole, however its connection ends.
            (Ok(tally), _) => Tally::ending(tally, who.provider, draft),
            (Err(Wrong::Cut | Wrong::Malformed(_)), Some(broken)) => Err(with_told(broken, &reading)),
            (Err(wrong), _) => Err(failed(wrong, &reading, who)),
        }
    }

    /// What an answer that is an error says, as far as it comes in time.
    async fn refusal(&self, mut response: Response) -> String {
        let mut body = Vec::new();
        while let Ok(Ok(Some(piece))) = timeout(self.limits.idle_timeout, response.chunk()).await {
            body.extend_from_slice(&piece[..piece.len().min(MAX_ERROR - body.len())]);
            if body.len() == MAX_ERROR {
                break;
            }
        }
        String::from_utf8_lossy(&body).into_owned()
    }

    fn silent(&self, limits: &Limits) -> Failure {
        Failure::silent(self.kind.name, "", limits.first_byte_timeout)
    }
}

/// The failure with what the provider has told of its usage all the same.
fn failed(wrong: Wrong, reading: &Reading<'_>, who: &Who<'_>) -> Failure {
    with_told(wrong.failure(who), reading)
}

fn with_told(failure: Failure, reading: &Reading<'_>) -> Failure {
    let Told { usage, cost, .. } = reading.told();
    Failure { usage: Box::new(usage), cost, ..failure }
}

/// With the key where this form has it.
fn credentials(call: RequestBuilder, wire: Wire, key: &str) -> RequestBuilder {
    match wire {
        Wire::OpenAi => call.bearer_auth(key),
        Wire::Anthropic => call.header("x-api-key", key).header("anthropic-version", "2023-06-01"),
        Wire::Ollama => call,
    }
}
