//! The wire forms in which providers stream: `OpenAI`'s chat completions (which groq, deepseek, openrouter and many others
//! speak too) and Anthropic's messages as server-sent events, Ollama's chat as lines of JSON.
//!
//! Pure code from bytes to text: nothing here knows how they came, and nothing holds more than one line or event of them. A
//! provider that answers with one JSON body although it was asked for a stream is understood as well.

mod anthropic;
mod beside;
mod lines;
mod ollama;
mod openai;
mod parameters;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use events::execution::{Request, Usage};
use serde::Deserialize;
use serde_json::Value;

use super::{Draft, Ending, Failure, TooLarge, failure::Who};
use beside::Beside;
use lines::{Events, Lines, MAX_LINE, Unreadable};

/// The most bytes of an answer, whatever is in them: 128,000 tokens, each in an event of 500 bytes.
const MAX_ANSWER: usize = 64_000_000;

/// A wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    OpenAi,
    Anthropic,
    Ollama,
}

impl Wire {
    /// The path of its chats, after the base URL.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "chat/completions",
            Self::Anthropic => "messages",
            Self::Ollama => "api/chat",
        }
    }

    /// What is sent. The messages are all that is sent: the system's are among them.
    pub(super) fn question(self, request: &Request) -> Value {
        match self {
            Self::OpenAi => openai::question(request),
            Self::Anthropic => anthropic::question(request),
            Self::Ollama => ollama::question(request),
        }
    }
}

/// What has come of an answer, but for its text.
#[derive(Debug, Default)]
pub(super) struct Tally {
    usage: Usage,
    finish_reason: Option<String>,
    response_id: Option<String>,
    refusal: Option<String>,
    beside: Beside,
    /// Its end marker has come.
    over: bool,
}

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not what was asked for; what it is instead.
    Malformed(&'static str),
    /// It is longer than it may be.
    TooLarge,
    /// It ended before its end.
    Cut,
    /// The provider said in the middle of it that something went wrong.
    Said { kind: Option<String>, status: Option<u16>, message: String },
}

impl From<TooLarge> for Wrong {
    fn from(_: TooLarge) -> Self {
        Self::TooLarge
    }
}

impl From<Unreadable> for Wrong {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::TooLong => Self::TooLarge,
            Unreadable::NoStream => Self::Malformed("something that is neither JSON nor a stream of events"),
        }
    }
}

impl Wrong {
    pub(super) fn failure(self, who: &Who<'_>) -> Failure {
        match self {
            Self::Malformed(what) => Failure::malformed(who.provider, what),
            Self::TooLarge => Failure::too_large(who.provider),
            Self::Cut => Failure::cut(who.provider),
            Self::Said { kind, status, message } => Failure::of_said(kind.as_deref(), status, &message, who),
        }
    }
}

/// The body of an answer.
enum Body {
    Events(Lines, Events),
    Lines(Lines),
    /// One JSON body, although a stream was asked for.
    Whole(Vec<u8>),
}

/// An answer as its bytes come.
pub(super) struct Reading<'a> {
    wire: Wire,
    body: Body,
    tally: Tally,
    draft: &'a Draft,
    bytes: usize,
}

impl<'a> Reading<'a> {
    /// An answer of this form and content type; its text goes into `draft`.
    pub(super) fn new(wire: Wire, content_type: Option<&str>, draft: &'a Draft) -> Self {
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let body = match wire {
            Wire::Ollama => Body::Lines(Lines::default()),
            _ if kind.eq_ignore_ascii_case("application/json") => Body::Whole(Vec::new()),
            Wire::OpenAi | Wire::Anthropic => Body::Events(Lines::default(), Events::default()),
        };
        Self { wire, body, tally: Tally::default(), draft, bytes: 0 }
    }

    /// Takes more bytes of it, cut anywhere.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        self.bytes += bytes.len();
        if self.bytes > MAX_ANSWER {
            return Err(Wrong::TooLarge);
        }
        let Self { wire, body, tally, draft, .. } = self;
        match body {
            Body::Events(lines, events) => {
                let pushed = lines.push(bytes, |line| events.line(line, |data| take(*wire, tally, draft, data)));
                // No end of a line in all of this: an event, or bytes that are none?
                pushed.map_err(|wrong| match wrong {
                    Wrong::TooLarge if lines.is_other_than(b"data:") && !events.have_come() => {
                        Unreadable::NoStream.into()
                    }
                    wrong => wrong,
                })
            }
            Body::Lines(lines) => lines.push(bytes, |line| take(*wire, tally, draft, line)).map_err(|wrong| {
                if wrong == Wrong::TooLarge && lines.is_other_than(b"{") { Unreadable::NoStream.into() } else { wrong }
            }),
            Body::Whole(all) if all.len() + bytes.len() > MAX_LINE => Err(Wrong::TooLarge),
            Body::Whole(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Whether its end marker has come.
    pub(super) fn is_over(&self) -> bool {
        self.tally.over
    }

    /// How many bytes of it are held that are not in the draft.
    #[cfg(test)]
    fn held(&self) -> usize {
        match &self.body {
            Body::Events(lines, events) => lines.held() + events.held(),
            Body::Lines(lines) => lines.held(),
            Body::Whole(all) => all.len(),
        }
    }

    /// There are no more bytes.
    pub(super) fn end(self) -> Result<Tally, Wrong> {
        let Self { wire, body, mut tally, draft, .. } = self;
        match body {
            Body::Events(lines, mut events) => {
                // Not by the book, but an event without the empty line after it is whole all the same, if it can be read.
                let mut each = |data: &[u8]| take(wire, &mut tally, draft, data).map_err(cut);
                let rest = lines.rest();
                if !Events::may_become_one(&rest) {
                    events.line(&rest, &mut each)?;
                }
                events.line(b"", each)?;
            }
            Body::Lines(lines) => {
                let rest = lines.rest();
                let taken = take(wire, &mut tally, draft, &rest);
                if rest.starts_with(b"{") { taken.map_err(cut)? } else { taken? }
            }
            Body::Whole(all) => {
                take(wire, &mut tally, draft, &all)?;
                return if all.is_empty() { Err(Wrong::Cut) } else { Ok(tally) };
            }
        }
        // Some never send the marker, but no provider gives a reason for its end before the end.
        if tally.over || tally.finish_reason.is_some() { Ok(tally) } else { Err(Wrong::Cut) }
    }
}

/// What cannot be read because there is no more of it.
fn cut(wrong: Wrong) -> Wrong {
    if matches!(wrong, Wrong::Malformed(_)) { Wrong::Cut } else { wrong }
}

/// Takes one event, line or body of an answer.
fn take(wire: Wire, tally: &mut Tally, draft: &Draft, data: &[u8]) -> Result<(), Wrong> {
    let data = data.trim_ascii();
    if data.is_empty() || tally.over {
        return Ok(());
    }
    match wire {
        Wire::OpenAi => openai::take(tally, draft, data),
        Wire::Anthropic => anthropic::take(tally, draft, data),
        Wire::Ollama => ollama::take(tally, draft, data),
    }
}

/// Reads JSON of a form that is known.
fn json<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Wrong> {
    serde_json::from_slice(data).map_err(|error| {
        Wrong::Malformed(match error.classify() {
            _ if !matches!(data.first(), Some(b'{')) => "something that is not JSON",
            serde_json::error::Category::Data => "JSON of another form",
            _ => "JSON that is broken",
        })
    })
}

impl Tally {
    /// The first that is told counts.
    fn id(&mut self, id: Option<Cow<'_, str>>) {
        if self.response_id.is_none() {
            self.response_id = id.map(Cow::into_owned);
        }
    }

    fn reason(&mut self, reason: Option<Cow<'_, str>>) {
        if let Some(reason) = reason {
            self.finish_reason = Some(reason.into_owned());
        }
    }

    /// What there is to say of the answer; a refusal is none.
    pub(super) fn ending(self, provider: &str, draft: &Draft) -> Result<Ending, Failure> {
        let Self { usage, finish_reason, response_id, refusal, beside, .. } = self;
        let filtered = finish_reason.as_deref().filter(|reason| matches!(*reason, "content_filter" | "refusal"));
        if let Some(why) = refusal.as_deref().or(filtered) {
            return Err(Failure::refused(provider, why, usage));
        }
        if draft.is_empty() && finish_reason.is_none() {
            let failure = Failure::malformed(provider, "without a text and without a reason for it");
            return Err(Failure { usage: Box::new(usage), ..failure });
        }
        let (reasoning, tool_calls) = beside.end();
        Ok(Ending { usage, finish_reason, response_id, reasoning, tool_calls })
    }
}
