//! An event of the log as it is answered, alone and as a message of a stream.

use std::sync::OnceLock;

use bytes::Bytes;
use events::Recorded;
use poem_openapi::Object;
use serde::Serialize;
use serde_json::Value;
use service::http::Problem;
use uuid::Uuid;

use crate::{sse, time::Time};

/// An event.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[expect(clippy::struct_field_names, reason = "the words of the contract")]
pub struct Event {
    /// Its place in the log.
    pub position: i64,
    /// Its own id.
    pub event_id: Uuid,
    /// The stream in the log, as `execution`.
    pub stream: String,
    /// The thing that it happened to.
    pub id: Uuid,
    /// Its place in the thing's own history, from 1.
    pub version: i32,
    /// What happened, as `execution_requested`.
    pub kind: String,
    /// The tenant that owns the thing; null is the shared catalogue.
    pub scope: Option<Uuid>,
    /// All about it; its form depends on `kind`.
    pub data: Value,
    /// When it was recorded.
    pub recorded_at: Time,
}

impl TryFrom<Recorded> for Event {
    type Error = Problem;

    fn try_from(event: Recorded) -> Result<Self, Problem> {
        Ok(Self {
            position: event.position,
            event_id: event.event_id,
            stream: event.stream,
            id: event.id,
            version: event.version,
            data: serde_json::from_str(&event.data).map_err(Problem::internal)?,
            kind: event.kind,
            scope: event.scope,
            recorded_at: Time(event.recorded_at),
        })
    }
}

/// An event on its way to many: written once, when the first of them wants it.
#[derive(Debug)]
pub struct Told {
    /// The event.
    pub recorded: Recorded,
    message: OnceLock<Option<Bytes>>,
}

impl Told {
    /// An event that nobody has asked for yet.
    pub fn new(recorded: Recorded) -> Self {
        Self { recorded, message: OnceLock::new() }
    }

    /// The event as a message of a stream; none if its data cannot be read.
    pub fn message(&self) -> Option<Bytes> {
        let write = || {
            let event = Event::try_from(self.recorded.clone()).ok()?;
            let data = serde_json::to_string(&event).ok()?;
            Some(sse::message(event.position, &event.kind, &data))
        };
        self.message.get_or_init(write).clone()
    }
}
