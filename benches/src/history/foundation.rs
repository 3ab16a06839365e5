//! What is there before the first execution: users, a catalogue, prompts.

use std::sync::Arc;

use events::{
    Meta,
    catalog::{SpecialtyEvent, SubSpecialtyEvent},
    identity,
    model::Parameters,
    prompt::{self, Revision},
};
use serde_json::json;
use uuid::Uuid;

use super::{Draft, id, new};

const USERS: u64 = 20;
const SPECIALTIES: u64 = 5;
const SUB_SPECIALTIES: u64 = 20;
const PROMPTS: u64 = 50;

/// What ids are of.
const USER: u64 = 1;
const SPECIALTY: u64 = 2;
const SUB_SPECIALTY: u64 = 3;
const PROMPT: u64 = 4;
const EVENT: u64 = 5;

/// The events of all that, one after another.
#[derive(Debug)]
pub(super) struct Foundation {
    given: u64,
    meta: Arc<Meta>,
}

impl Foundation {
    pub(super) fn new() -> Self {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
        let meta = Meta {
            actor: Some(id(USER, 0)),
            correlation_id: id(EVENT, 1 << 20),
            causation_id: None,
            traceparent: Some(traceparent),
        };
        Self { given: 0, meta: Arc::new(meta) }
    }

    pub(super) fn next(&mut self) -> anyhow::Result<Option<Draft>> {
        let n = self.given;
        let (stream, id, scope, new) = if n < USERS {
            let (email, username) = (format!("user{n}@example.org"), format!("user{n}"));
            let event = identity::Event::UserRegistered { email, username, roles: Vec::new() };
            ("user", id(USER, n), Some(id(USER, n)), new(&event, EVENT, n)?)
        } else if let Some(nth) = within(n, USERS, SPECIALTIES) {
            let (name, description) = (format!("Specialty {nth}"), "All that belongs to it".to_owned());
            let event = SpecialtyEvent::SpecialtyCreated { name, description, icon_url: None };
            ("specialty", id(SPECIALTY, nth), None, new(&event, EVENT, n)?)
        } else if let Some(nth) = within(n, USERS + SPECIALTIES, SUB_SPECIALTIES) {
            let (name, description) = (format!("Part {nth}"), "A part of it".to_owned());
            let specialty_id = id(SPECIALTY, nth % SPECIALTIES);
            let event = SubSpecialtyEvent::SubSpecialtyCreated { specialty_id, name, description };
            ("sub_specialty", id(SUB_SPECIALTY, nth), None, new(&event, EVENT, n)?)
        } else if let Some(nth) = within(n, USERS + SPECIALTIES + SUB_SPECIALTIES, PROMPTS) {
            let user_id = id(USER, nth % USERS);
            let event = prompt::Event::PromptCreated { user_id, revision: Box::new(revision(nth)) };
            ("prompt", id(PROMPT, nth), Some(user_id), new(&event, EVENT, n)?)
        } else {
            return Ok(None);
        };
        self.given += 1;
        Ok(Some(Draft { stream, id, version: 1, scope, new, meta: self.meta.clone() }))
    }
}

/// The user and the prompt of an execution with this number.
pub(super) fn behind(n: u64) -> (Uuid, Uuid) {
    (id(USER, n % USERS), id(PROMPT, n % PROMPTS))
}

/// How far `n` is into `count` things that come after the first `before`.
fn within(n: u64, before: u64, count: u64) -> Option<u64> {
    n.checked_sub(before).filter(|nth| *nth < count)
}

fn revision(nth: u64) -> Revision {
    Revision {
        sub_specialty_id: id(SUB_SPECIALTY, nth % SUB_SPECIALTIES),
        title: format!("Prompt {nth}"),
        content: "Explain {{ topic }} in a {{ tone }} way.".to_owned(),
        variables: json!({
            "type": "object",
            "properties": { "topic": { "type": "string" }, "tone": { "type": "string" } },
            "required": ["topic"]
        }),
        llm_provider: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        parameters: Parameters::default(),
        is_public: true,
        policy: events::policy::Policy::default(),
    }
}
