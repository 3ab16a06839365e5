//! The wire forms in which providers stream: `OpenAI`'s chat completions (which groq, deepseek, openrouter and many others
//! speak too) and Anthropic's messages as server-sent events, Ollama's chat as lines of JSON.
//!
//! Pure code from bytes to text: nothing here knows how they came, and nothing holds more than one line or event of them. A
//! provider that answers with one JSON body although it was asked for a stream is understood as well.

mod anthropic;
mod beside;
mod json;
mod lines;
mod ollama;
mod openai;
mod parameters;
mod said;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use events::execution::{Request, Usage};
use serde_json::Value;

use super::{Draft, Ending, Failure, Told, TooLarge, failure::Who};
use beside::Beside;
use json::{Json, first_value};
use lines::{BOM, Events, Lines, MAX_LINE, Unreadable};
use said::Reason;

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
    pub(super) fn question(self, request: &Request, habits: Habits) -> Value {
        match self {
            Self::OpenAi => openai::question(request, habits),
            Self::Anthropic => anthropic::question(request),
            Self::Ollama => ollama::question(request),
        }
    }
}

impl Wire {
    /// The most tokens that come back of what is sent, under whatever name that says it, and of all the answers that are asked
    /// for; none where nothing says it.
    pub(super) fn longest(self, request: &Request) -> Option<u64> {
        // The limit is not among the messages, which may be long.
        let bare = Request { messages: Vec::new(), variables: Value::Null, ..request.clone() };
        let sent = self.question(&bare, Habits::default());
        let number = |place: &str| json::count(sent.pointer(place));
        let limits = ["/max_tokens", "/max_completion_tokens", "/max_output_tokens", "/options/num_predict"];
        let most = limits.iter().filter_map(|place| number(place)).max()?;
        Some(most.saturating_mul(number("/n").unwrap_or(1).max(1)))
    }
}

/// What is peculiar to a server that speaks `OpenAI`'s form, and a model behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Habits {
    /// It can be asked for the usage of a stream.
    pub(super) stream_options: bool,
    /// Whether it wants `max_completion_tokens` in place of `max_tokens`; none where the model's name says so.
    pub(super) completion_tokens: Option<bool>,
}

impl Default for Habits {
    fn default() -> Self {
        Self { stream_options: true, completion_tokens: None }
    }
}

impl Habits {
    /// What a server has said by refusing what was sent to it with these words: how it may be asked instead. None where they say
    /// nothing of it, or where it has been asked so already.
    pub(super) fn learn(self, wire: Wire, request: &Request, words: &str) -> Option<Self> {
        if wire != Wire::OpenAi {
            return None;
        }
        let words = words.to_ascii_lowercase();
        if self.stream_options && (words.contains("stream_options") || words.contains("include_usage")) {
            return Some(Self { stream_options: false, ..self });
        }
        let newer = openai::sends_newer(request, self)?;
        let other = if newer { "max_completion_tokens" } else { "max_tokens" };
        // What it says of the value of the one is nothing against its name.
        if ["too large", "too small", "at most", "at least", "less than", "greater than", "exceed"]
            .iter()
            .any(|complaint| words.contains(complaint))
        {
            return None;
        }
        // One that wants the other name names both, or only the one that it does not know.
        let named = words.contains(other) && (newer || words.contains("max_completion_tokens"));
        (named && self.completion_tokens.is_none()).then_some(Self { completion_tokens: Some(!newer), ..self })
    }
}

/// What has come of an answer, but for its text.
#[derive(Debug, Default)]
pub(super) struct Tally {
    told: Told,
    finish_reason: Option<String>,
    response_id: Option<String>,
    refusal: Option<String>,
    beside: Beside,
    /// Which of several answers is read: the first that came.
    index: Option<u64>,
    /// What was no part of an answer, and may have been an error.
    odd: Option<String>,
    /// The tokens of the answer have just been counted.
    counted: bool,
    /// It comes in pieces, and not as one body that is whole when it can be read.
    pieces: bool,
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

/// The body of an answer. What it is, its first bytes say, as the content type of many is wrong.
enum Body {
    Unknown(Vec<u8>),
    Events(Lines, Events),
    Lines(Lines),
    /// One JSON body, although a stream was asked for, or several without a frame.
    Whole(Vec<u8>),
}

impl Body {
    /// What these first bytes are the beginning of; none as long as they do not say.
    fn of(wire: Wire, begun: &[u8]) -> Option<Self> {
        let unmarked = begun.strip_prefix(BOM).unwrap_or(begun).trim_ascii_start();
        match (wire, unmarked.first()?) {
            // A line of it begins like a body that is one; but only a body breaks the line there.
            (Wire::Ollama, b'{') => match unmarked.get(1)? {
                b'\n' | b'\r' => Some(Self::Whole(Vec::new())),
                _ => Some(Self::Lines(Lines::default())),
            },
            (Wire::Ollama, b'd' | b'e' | b':') => Some(Self::Events(Lines::default(), Events::default())),
            (Wire::Ollama, _) => Some(Self::Lines(Lines::default())),
            (_, b'{' | b'[') => Some(Self::Whole(Vec::new())),
            _ if BOM.starts_with(begun) => None,
            _ => Some(Self::Events(Lines::default(), Events::default())),
        }
    }
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
    /// An answer of this form; its text goes into `draft`.
    pub(super) fn new(wire: Wire, draft: &'a Draft) -> Self {
        Self { wire, body: Body::Unknown(Vec::new()), tally: Tally::default(), draft, bytes: 0 }
    }

    /// Takes more bytes of it, cut anywhere.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        self.bytes += bytes.len();
        if self.bytes > MAX_ANSWER {
            return Err(Wrong::TooLarge);
        }
        let Body::Unknown(begun) = &mut self.body else { return self.take(bytes) };
        begun.extend_from_slice(bytes);
        if let Some(body) = Body::of(self.wire, begun) {
            let begun = std::mem::take(begun);
            self.body = body;
            return self.take(begun.strip_prefix(BOM).unwrap_or(&begun));
        }
        // Blank lines keep a connection alive, and say nothing.
        if begun.trim_ascii().is_empty() {
            begun.clear();
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let Self { wire, body, tally, draft, .. } = self;
        match body {
            Body::Events(lines, events) => {
                let pushed =
                    lines.push(bytes, |line| events.line(line, |name, data| take(*wire, tally, draft, name, data)));
                // No end of a line in all of this: an event, or bytes that are none?
                pushed.map_err(|wrong| match wrong {
                    Wrong::TooLarge if lines.is_other_than(b"data:") && !events.have_come() => {
                        Unreadable::NoStream.into()
                    }
                    wrong => wrong,
                })
            }
            Body::Lines(lines) => lines.push(bytes, |line| take(*wire, tally, draft, "", line)).map_err(|wrong| {
                if wrong == Wrong::TooLarge && lines.is_other_than(b"{") { Unreadable::NoStream.into() } else { wrong }
            }),
            Body::Whole(all) | Body::Unknown(all) if all.len() + bytes.len() > MAX_LINE => Err(Wrong::TooLarge),
            Body::Whole(all) | Body::Unknown(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Whether its end marker has come.
    pub(super) fn is_over(&self) -> bool {
        self.tally.over
    }

    /// Whether it has said why it ends, by a word that is known.
    pub(super) fn has_reason(&self) -> bool {
        self.tally.has_reason()
    }

    /// How many bytes of it are held that are not in the draft.
    #[cfg(test)]
    fn held(&self) -> usize {
        match &self.body {
            Body::Events(lines, events) => lines.held() + events.held(),
            Body::Lines(lines) => lines.held(),
            Body::Whole(all) | Body::Unknown(all) => all.len(),
        }
    }

    /// What the provider has told so far of what it used.
    pub(super) fn told(&self) -> Told {
        self.tally.told
    }

    /// There are no more bytes.
    pub(super) fn end(&mut self) -> Result<Tally, Wrong> {
        let Self { wire, body, tally, draft, .. } = self;
        match std::mem::replace(body, Body::Unknown(Vec::new())) {
            Body::Events(lines, mut events) => {
                // Not by the book, but an event without the empty line after it is whole all the same, if it can be read.
                let mut each = |name: &str, data: &[u8]| take(*wire, tally, draft, name, data).map_err(cut);
                let rest = lines.rest();
                if !Events::may_become_one(&rest) {
                    events.line(&rest, &mut each)?;
                }
                events.line(b"", each)?;
            }
            Body::Lines(lines) => {
                let rest = lines.rest();
                let taken = take(*wire, tally, draft, "", &rest);
                if rest.starts_with(b"{") { taken.map_err(cut)? } else { taken? }
            }
            Body::Whole(all) => {
                whole(*wire, tally, draft, &all)?;
                tally.over |= !tally.pieces;
            }
            Body::Unknown(_) => {}
        }
        // Some never send the marker, but no provider gives a reason that is known before the end.
        let reason = tally.finish_reason.as_deref().map_or(Reason::Unknown, Reason::of);
        // The marker alone is the end of what went well, as far as that can be told.
        if let (Reason::Unknown, Some(odd)) = (reason, tally.odd.take()) {
            return Err(said::plain(odd.as_bytes()));
        }
        if tally.over || matches!(reason, Reason::Good | Reason::Refused) {
            Ok(std::mem::take(tally))
        } else {
            Err(Wrong::Cut)
        }
    }
}

/// Takes the values of a body. What follows the end of an answer is none of it.
fn whole(wire: Wire, tally: &mut Tally, draft: &Draft, all: &[u8]) -> Result<(), Wrong> {
    let mut rest = all.trim_ascii();
    while !rest.is_empty() {
        let (value, more) = rest.split_at(first_value(rest).unwrap_or(rest.len()));
        if tally.finish_reason.is_some() && !value.starts_with(b"{") {
            break;
        }
        let taken = take(wire, tally, draft, "", value);
        // Of pieces, the last may have been cut.
        if tally.pieces {
            taken.map_err(cut)?;
        } else {
            taken?;
        }
        rest = more.trim_ascii();
    }
    Ok(())
}

/// What cannot be read because there is no more of it.
fn cut(wrong: Wrong) -> Wrong {
    if matches!(wrong, Wrong::Malformed(_)) { Wrong::Cut } else { wrong }
}

/// Takes one event, line or body of an answer. What cannot be read after a good reason makes no other answer of it.
fn take(wire: Wire, tally: &mut Tally, draft: &Draft, name: &str, data: &[u8]) -> Result<(), Wrong> {
    match take_strictly(wire, tally, draft, name, data) {
        Err(Wrong::Malformed(_)) if tally.has_reason() => Ok(()),
        taken => taken,
    }
}

fn take_strictly(wire: Wire, tally: &mut Tally, draft: &Draft, name: &str, data: &[u8]) -> Result<(), Wrong> {
    let data = data.trim_ascii();
    if tally.over {
        return Ok(());
    }
    if let Some(wrong) = said::named(name, data) {
        return Err(wrong);
    }
    if data.is_empty() {
        return Ok(());
    }
    if is_done(data) {
        tally.over = true;
        return Ok(());
    }
    let json = match Json::read(data) {
        Ok(json) => json,
        // Events without the empty line between them are one, of which each line is one.
        Err(_) if are_events(data) => {
            return data.split(|byte| *byte == b'\n').try_for_each(|line| take(wire, tally, draft, name, line));
        }
        Err(wrong) => return Err(said::unframed(data).unwrap_or(wrong)),
    };
    let objects = match &json.value {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    let before = tally.came(draft);
    let taken = objects.iter().try_for_each(|object| match (wire, object) {
        (Wire::OpenAi, Value::Object(object)) => openai::take(tally, draft, &json, object),
        (Wire::Anthropic, Value::Object(object)) => anthropic::take(tally, draft, &json, object, name),
        (Wire::Ollama, Value::Object(object)) => ollama::take(tally, draft, object),
        (_, Value::Null) => Ok(()),
        _ => Err(said::unframed(data).unwrap_or(Wrong::Malformed("JSON of another form"))),
    });
    tally.account(draft, before);
    taken
}

/// Whether this is the end marker, in a form that was seen.
fn is_done(data: &[u8]) -> bool {
    let bare = data.strip_prefix(b"\"").and_then(|data| data.strip_suffix(b"\"")).unwrap_or(data);
    bare.eq_ignore_ascii_case(b"[DONE]")
}

/// Whether these are several lines, and each can be read by itself.
fn are_events(data: &[u8]) -> bool {
    let mut lines = data.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    data.contains(&b'\n') && lines.all(|line| is_done(line) || Json::read(line).is_ok())
}

impl Tally {
    /// The first that is told counts.
    fn id(&mut self, id: Option<Cow<'_, str>>) {
        if self.response_id.is_none() {
            self.response_id = id.map(Cow::into_owned);
        }
    }

    /// The last that is told counts. One that is empty is none.
    fn reason(&mut self, reason: Option<&Value>) -> Result<(), Wrong> {
        // SGLang has more to say of it.
        let reason = reason.and_then(|reason| reason.get("type").unwrap_or(reason).as_str()).map(str::trim);
        match reason.filter(|reason| !matches!(*reason, "" | "null")) {
            Some(reason) if Reason::of(reason) == Reason::Failed => Err(said::of_reason(reason)),
            Some(reason) => {
                self.finish_reason = Some(reason.to_owned());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether it has said why it ends, by a word that is known to be good.
    fn has_reason(&self) -> bool {
        self.finish_reason.as_deref().is_some_and(|reason| Reason::of(reason) == Reason::Good)
    }

    /// What it says now takes the place of what it said, as far as it says something. Zeros say nothing.
    fn told(&mut self, now: &Told) {
        let newer = |now: Option<u64>, before: Option<u64>| now.filter(|now| *now > 0).or(before).or(now);
        let (now, before) = (now.usage, self.told.usage);
        self.told.usage = Usage {
            input_tokens: newer(now.input_tokens, before.input_tokens),
            output_tokens: newer(now.output_tokens, before.output_tokens),
            cached_input_tokens: newer(now.cached_input_tokens, before.cached_input_tokens),
            reasoning_tokens: newer(now.reasoning_tokens, before.reasoning_tokens),
        };
        self.counted |= now.output_tokens.is_some();
    }

    /// How much of the answer has come, in bytes: its text, and what is beside it.
    fn came(&self, draft: &Draft) -> (usize, usize) {
        (draft.len(), self.beside.came())
    }

    /// Keeps in the draft what was told, after something was taken before which so much had come.
    fn account(&mut self, draft: &Draft, before: (usize, usize)) {
        let now = self.came(draft);
        let counted = std::mem::take(&mut self.counted);
        self.told.outdated = !counted && (self.told.outdated || now != before);
        self.told.beside = now.1;
        draft.tell(self.told);
    }

    /// What was told of a whole answer. No question has no tokens, and no answer that is there: such counts are none, and neither is
    /// one after which more came.
    fn counts(&self, draft: &Draft) -> Usage {
        let usage = self.told.usage;
        let may_be_none = self.came(draft) == (0, 0) && usage.input_tokens > Some(0);
        Usage {
            input_tokens: usage.input_tokens.filter(|tokens| *tokens > 0),
            output_tokens: usage.output_tokens.filter(|tokens| (*tokens > 0 || may_be_none) && !self.told.outdated),
            ..usage
        }
    }

    /// More of why it refuses. More of it than a detail shows need not be kept.
    fn refuse(&mut self, why: &str) {
        if !why.is_empty() {
            let all = self.refusal.get_or_insert_default();
            if all.len() < 4096 {
                all.push_str(why);
            }
        }
    }

    /// What there is to say of the answer; a refusal is none.
    pub(super) fn ending(self, provider: &str, draft: &Draft) -> Result<Ending, Failure> {
        let usage = self.counts(draft);
        let Self { told: Told { cost, .. }, finish_reason, response_id, refusal, beside, .. } = self;
        let filtered = finish_reason.as_deref().filter(|reason| Reason::of(reason) == Reason::Refused);
        if let Some(why) = refusal.as_deref().or(filtered) {
            return Err(Failure { cost, ..Failure::refused(provider, why, usage) });
        }
        if draft.is_empty() && finish_reason.is_none() && beside.came() == 0 {
            let failure = Failure::malformed(provider, "without a text and without a reason for it");
            return Err(Failure { usage: Box::new(usage), cost, ..failure });
        }
        let (reasoning, tool_calls) = beside.end();
        Ok(Ending { usage, cost, finish_reason, response_id, reasoning, tool_calls })
    }
}
