//! Histories to project: whatever can happen to users, the catalogue, prompts and executions, in any order.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use events::{
    CONTEXTS, Fact, Meta, Patch, Recorded,
    catalog::{SpecialtyChanges, SpecialtyEvent, SubSpecialtyChanges, SubSpecialtyEvent},
    execution::{self, Answer, Bill, FailureClass, Function, Redrive, Request, Resolution, ToolCall, Usage, Wire},
    identity,
    item::{self, ItemChanges},
    model::{Message, Parameters, Role},
    policy::Policy,
    prompt::{self, Revision},
    store::{Append, New, Store},
};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

/// What drives a history: for each event which thing it is about and which of its possible events it is.
pub type Script = Vec<(u8, u8)>;

/// Scripts of up to `most` events.
pub fn scripts(most: usize) -> impl Strategy<Value = Script> {
    prop::collection::vec((any::<u8>(), any::<u8>()), 1..most)
}

/// Ways to cut a history into batches.
pub fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..20_usize, 1..40)
}

/// `events` in batches of these sizes, over and over.
pub fn cut<'a>(events: &'a [Arc<Recorded>], sizes: &[usize]) -> Vec<&'a [Arc<Recorded>]> {
    let mut batches = Vec::new();
    let mut rest = events;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            return batches;
        }
        let (now, later) = rest.split_at((*size).min(rest.len()));
        batches.push(now);
        rest = later;
    }
    batches
}

/// A history by a script, positions from 1.
pub fn history(script: &[(u8, u8)]) -> Vec<Arc<Recorded>> {
    let mut things: Vec<Thing> = Vec::new();
    let mut events = Vec::new();
    for (position, (which, what)) in (1_i64..).zip(script) {
        let known = usize::from(*which) % 24;
        if known >= things.len() {
            things.push(Thing::new(things.len(), *what));
        }
        let index = known.min(things.len() - 1);
        let mut new = things[index].next(*what);
        if new.is_none() {
            // It has ended: another one begins.
            things[index] = Thing::new(usize::try_from(position).unwrap() + 100, *what);
            new = things[index].next(*what);
        }
        let (thing, new) = (&things[index], new.unwrap());
        events.push(Arc::new(Recorded {
            position,
            epoch: 1,
            event_id: new.event_id,
            stream: thing.stream.to_owned(),
            id: thing.id,
            version: thing.version,
            kind: new.kind.to_owned(),
            schema: new.schema,
            scope: None,
            data: new.data,
            meta: meta(),
            recorded_at: start() + TimeDelta::microseconds(position * 1_234_567),
        }));
    }
    events
}

/// Puts a history by a script into a real log, and reads it from there.
pub async fn record(store: &Store, script: &[(u8, u8)]) -> Vec<Arc<Recorded>> {
    record_others(store, script, 0).await
}

/// The same about other things, which are numbered from `first` on.
pub async fn record_others(store: &Store, script: &[(u8, u8)], first: u128) -> Vec<Arc<Recorded>> {
    for event in history(script) {
        let mut event = (*event).clone();
        event.id = Uuid::from_u128(event.id.as_u128() + first);
        event.event_id = Uuid::from_u128(event.event_id.as_u128() + first);
        let stream = CONTEXTS.stream(&event.stream).unwrap();
        let kind = stream.kinds.iter().find(|kind| **kind == event.kind).unwrap();
        append(store, stream.name, &event, kind).await;
    }
    let head = usize::try_from(store.head().await.unwrap()).unwrap();
    store.after(0, head).await.unwrap().into_iter().map(Arc::new).collect()
}

/// Appends one event as it is to a real log.
pub async fn append(store: &Store, stream: &'static str, event: &Recorded, kind: &'static str) {
    let new = New { event_id: event.event_id, kind, schema: event.schema, data: event.data.clone() };
    append_all(store, stream, event.id, event.version - 1, vec![new]).await;
}

/// Appends events to the thing `id`, which has so many.
pub async fn append_all(store: &Store, stream: &'static str, id: Uuid, expected: i32, events: Vec<New>) {
    let append = Append {
        stream,
        id,
        expected,
        scope: None,
        events,
        meta: meta(),
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
        key: None,
    };
    store.append(append).await.unwrap().unwrap();
}

fn meta() -> Meta {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    Meta { actor: None, correlation_id: Uuid::from_u128(7), causation_id: None, traceparent: Some(traceparent) }
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_763_662_980, 0).unwrap()
}

/// One thing with a history of its own.
struct Thing {
    stream: &'static str,
    number: u32,
    id: Uuid,
    version: i32,
    attempt: u32,
    ended: bool,
}

impl Thing {
    fn new(number: usize, what: u8) -> Self {
        // Executions and prompts have the longer histories.
        let stream = ["user", "specialty", "sub_specialty", "prompt", "prompt", "execution", "execution", "item"]
            [usize::from(what) % 8];
        let number = u32::try_from(number).unwrap();
        let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number));
        Self { stream, number, id, version: 0, attempt: 0, ended: false }
    }

    fn next(&mut self, what: u8) -> Option<New> {
        if self.ended {
            return None;
        }
        self.version += 1;
        let number = u128::from(self.number);
        let event_id = Uuid::from_u128((number << 64) + u128::from(self.version.unsigned_abs()));
        let new = match self.stream {
            "user" => {
                self.ended = true;
                let roles =
                    if what.is_multiple_of(3) { vec!["admin".to_owned(), "it's".to_owned()] } else { Vec::new() };
                let (email, username) = (format!("{number}@example.org"), format!("User {number}"));
                of(&identity::Event::UserRegistered { email, username, roles }, event_id)
            }
            "specialty" if self.version > 1 => of(&self.specialty(what), event_id),
            "sub_specialty" if self.version > 1 => of(&self.sub_specialty(what), event_id),
            "item" => of(&self.item(what), event_id),
            "specialty" => {
                let icon_url = what.is_multiple_of(2).then(|| "https://example.org/heart.png".to_owned());
                let (name, description) = (format!("Name {number}"), "About \"it\"".to_owned());
                of(&SpecialtyEvent::SpecialtyCreated { name, description, icon_url }, event_id)
            }
            "sub_specialty" => {
                let (name, description) = (format!("Part {number}"), String::new());
                let specialty_id = Uuid::from_u128(u128::from(what));
                of(&SubSpecialtyEvent::SubSpecialtyCreated { specialty_id, name, description }, event_id)
            }
            "prompt" => {
                self.ended = self.version > 1 && what % 11 == 10;
                of(&self.prompt(what), event_id)
            }
            _ => of(&self.execution(what), event_id),
        };
        Some(new)
    }

    fn specialty(&mut self, what: u8) -> SpecialtyEvent {
        self.ended = what % 11 == 10;
        if self.ended {
            return SpecialtyEvent::SpecialtyArchived {};
        }
        SpecialtyEvent::SpecialtyChanged(SpecialtyChanges {
            name: patch(what & 1 > 0, format!("Name {what}")),
            description: patch(what & 2 > 0, format!("About {what}")),
            icon_url: patch(what & 4 > 0, (what & 8 > 0).then(|| format!("https://example.org/{what}"))),
        })
    }

    fn sub_specialty(&mut self, what: u8) -> SubSpecialtyEvent {
        self.ended = what % 11 == 10;
        if self.ended {
            return SubSpecialtyEvent::SubSpecialtyArchived {};
        }
        let changes = SubSpecialtyChanges {
            name: patch(what & 1 > 0, format!("Part {what}")),
            description: patch(what & 2 > 0, format!("About {what}")),
        };
        SubSpecialtyEvent::SubSpecialtyChanged { specialty_id: Uuid::from_u128(1), changes }
    }

    fn item(&mut self, what: u8) -> item::Event {
        let (tenant_id, note) = (Uuid::from_u128(1), (what & 8 > 0).then(|| format!("Note {what}")));
        if self.version == 1 {
            return item::Event::ItemCreated { tenant_id, name: format!("Item {}", self.number), note };
        }
        self.ended = what % 11 == 10;
        if self.ended {
            return item::Event::ItemArchived {};
        }
        let name = patch(what & 1 > 0, format!("Item {what}"));
        item::Event::ItemChanged { tenant_id, changes: ItemChanges { name, note: patch(what & 2 > 0, note) } }
    }

    fn prompt(&self, what: u8) -> prompt::Event {
        let revision = Box::new(Revision {
            sub_specialty_id: Uuid::from_u128(u128::from(what)),
            title: format!("Title {what}"),
            content: format!("{{{{ name }}}} is {what}, \\ and \u{1F600}"),
            variables: json!({ "type": "object", "properties": { "name": { "type": "string" } } }),
            llm_provider: "echo".to_owned(),
            model: String::new(),
            parameters: Parameters { temperature: (what > 100).then_some(0.7), ..Parameters::default() },
            is_public: what.is_multiple_of(2),
            policy: Policy::default(),
        });
        let user_id = Uuid::from_u128(1);
        if self.version == 1 {
            prompt::Event::PromptCreated { user_id, revision }
        } else if self.ended {
            prompt::Event::PromptArchived {}
        } else {
            prompt::Event::PromptRevised { user_id, revision }
        }
    }

    fn execution(&mut self, what: u8) -> execution::Event {
        use execution::Event;

        if self.version == 1 {
            let request = Box::new(Request {
                user_id: Uuid::from_u128(1),
                prompt_id: Uuid::from_u128(u128::from(what)),
                prompt_version: 3,
                variables: json!({ "b": 1, "a": [0.1, null, "x"] }),
                messages: vec![Message { role: Role::User, content: "Hello".to_owned() }],
                llm_provider: "openai".to_owned(),
                model: "gpt-4o".to_owned(),
                parameters: Parameters::default(),
                retry_of: what.is_multiple_of(2).then(|| Uuid::from_u128(9)),
                policy: (what > 9).then(Policy::default),
                redrive: (what > 200).then(Redrive::default),
            });
            return Event::ExecutionRequested { request };
        }
        let attempt = self.attempt.max(1);
        let code = "provider_unavailable".to_owned();
        let detail = "no".to_owned();
        let class = FailureClass::Retryable;
        let (wire, bill) = (Wire::default(), bill(what));
        let max_cost = (what > 100).then(|| "0.25".parse().unwrap());
        match what % 16 {
            0 | 1 => {
                self.attempt += 1;
                let token = Uuid::from_u128(u128::from(what));
                Event::ExecutionStarted { attempt: self.attempt, worker: "w".to_owned(), token, lease_ms: 15_000 }
            }
            8 => Event::ProviderCallStarted { attempt, request_hash: "h".to_owned(), max_cost },
            2 => Event::ExecutionAttemptFailed { attempt, class, code, detail, wire, bill, retry_in_ms: 1_000 },
            3 => Event::ExecutionCancelRequested { by: Uuid::from_u128(1), reason: None },
            9 => Event::ExecutionRetryDue { attempt: attempt + 1 },
            10 => Event::ExecutionOutcomeUnknown { attempt, max_cost },
            11 => Event::ExecutionResolved {
                attempt,
                by: Uuid::from_u128(1),
                resolution: Resolution::Retry,
                reason: None,
                cost: bill.cost,
                max_cost,
                deadline_seconds: Some(60),
            },
            12 => Event::ProviderAnsweredLate {
                attempt,
                result: None,
                finish_reason: None,
                reasoning: None,
                tool_calls: Vec::new(),
                code: None,
                max_cost,
                bill,
            },
            13 => Event::ExecutionDiscarded { by: None, reason: "old".to_owned() },
            outcome => {
                self.ended = true;
                match outcome {
                    4 => Event::ExecutionFailed { attempt, class, code, detail, wire, bill, dead: what > 100 },
                    5 => Event::ExecutionTimedOut { attempt, limit_ms: 60_000, deadline: what > 100, bill },
                    6 => Event::ExecutionCancelled { attempt: self.attempt, bill },
                    _ => {
                        let function = Function {
                            name: "f".to_owned(),
                            arguments: format!("{{\"n\": {what}.0,\t\"s\": \"\\n\"}}"),
                        };
                        let call = ToolCall { id: None, kind: "function".to_owned(), function };
                        let answer = Answer {
                            result: format!("The answer {what}\n"),
                            finish_reason: Some("stop".to_owned()),
                            reasoning: (what > 100).then(|| format!("Hm,\t{what}\\")),
                            tool_calls: if what > 150 { vec![call] } else { Vec::new() },
                        };
                        Event::ExecutionSucceeded { attempt, answer, bill }
                    }
                }
            }
        }
    }
}

fn patch<T>(is_said: bool, value: T) -> Patch<T> {
    if is_said { Patch::Set(value) } else { Patch::default() }
}

fn bill(what: u8) -> Bill {
    if what > 200 {
        return Bill::default();
    }
    Bill {
        estimated: false,
        usage: Usage {
            input_tokens: Some(u64::from(what)),
            output_tokens: Some(20),
            cached_input_tokens: None,
            reasoning_tokens: Some(3),
        },
        cost: Some("0.000315".parse().unwrap()),
        price_table: Some("2026-11".to_owned()),
        duration_ms: 1234,
        first_chunk_ms: Some(200),
        response_id: Some("resp_1".to_owned()),
    }
}

fn of<E: Fact>(event: &E, event_id: Uuid) -> New {
    New::of(event, event_id).unwrap()
}
